//! What people see: a bar while records flow, and a report at the end.

use std::fmt::{self, Write};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::feed::Encoding;
use super::send::Score;

/// A bar over so many records; it draws on the standard error, and only on a terminal.
pub(super) fn bar(records: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(records);
    let template = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} records {per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// The report of a run, in lines.
pub(super) fn report(score: &Score, encoding: Encoding) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    write_report(&mut text, score, encoding).ok();
    text
}

fn write_report(text: &mut String, score: &Score, encoding: Encoding) -> fmt::Result {
    let seconds = score.elapsed.as_secs_f64().max(1e-9);
    let per_second = (score.records as f64 / seconds) as u64;
    let bytes_per_second = (score.wire_bytes as f64 / seconds) as u64;
    let coding = encoding.header().unwrap_or("identity");
    writeln!(
        text,
        "sent        {} records in {} requests, {} ({coding}; {} plain), {seconds:.3} s",
        HumanCount(score.records),
        HumanCount(score.requests),
        HumanBytes(score.wire_bytes),
        HumanBytes(score.plain_bytes),
    )?;
    writeln!(
        text,
        "throughput  {} records/s, {}/s",
        HumanCount(per_second),
        HumanBytes(bytes_per_second)
    )?;
    let at = |quantile| milliseconds(score.latency_us.value_at_quantile(quantile));
    writeln!(
        text,
        "latency     p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        milliseconds(score.latency_us.max()),
    )?;
    writeln!(
        text,
        "answers     accepted {}  duplicates {}  rejected {}",
        HumanCount(score.accepted),
        HumanCount(score.duplicates),
        HumanCount(score.rejected)
    )?;
    if score.corrected > 0 {
        let late = HumanCount(score.corrected);
        writeln!(text, "too late    {late} for a closed month or its retention")?;
    }
    for (code, count) in &score.codes {
        writeln!(text, "            {code} {}", HumanCount(*count))?;
    }
    writeln!(
        text,
        "retries     {} after 429 or 503, {} after a broken connection ({} records in doubt)",
        HumanCount(score.retries.throttled),
        HumanCount(score.retries.broken),
        HumanCount(score.doubtful)
    )
}

fn milliseconds(microseconds: u64) -> String {
    format!("{:.2} ms", Duration::from_micros(microseconds).as_secs_f64() * 1_000.0)
}

/// The headline of the usage table.
pub(super) const USAGE_HEAD: &str =
    "site                 month   time zone              mau   licenses     failed    devices";

/// One line of the usage table.
pub(super) fn usage_line(site: &str, usage: &Value) -> String {
    let text = |name: &str| usage[name].as_str().unwrap_or("-").to_owned();
    let figure = |name: &str| match usage[name].as_u64() {
        Some(figure) => HumanCount(figure).to_string(),
        None => "-".to_owned(),
    };
    format!(
        "{site:<20} {:<7} {:<16} {:>9} {:>10} {:>10} {:>10}",
        text("month"),
        text("time_zone"),
        figure("mau"),
        figure("licenses_issued"),
        figure("licenses_failed"),
        figure("devices"),
    )
}
