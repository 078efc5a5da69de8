//! `blindtally load`: synthetic traffic like that of the field, sent to a server at a set rate, and
//! an independent count to hold the server's figures against.
//!
//! A record is a pure function of the seed and of its number (`traffic`), written straight into a
//! buffer (`record`, `spelling`). Threads make bodies (`feed`), connections send them on an
//! open-loop schedule (`send`), and the `oracle` counts facts while they are made.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod check;
mod client;
mod devices;
mod feed;
mod fleet;
mod oracle;
mod random;
mod record;
mod report;
mod schedule;
mod send;
mod setup;
mod spelling;
mod text;
mod traffic;

#[cfg(test)]
mod rehearsal;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{HumanBytes, HumanCount, ProgressBar};

use self::client::{Bearer, Endpoint};
use self::feed::{Body, Encoding, Feed, Generator};
use self::fleet::Fleet;
use self::oracle::Oracle;
use self::schedule::Schedule;
use self::send::{Route, Score};
use self::setup::{Access, Control};
use self::traffic::{AGE_DAYS_MAX, Plan, Traffic};
use crate::model::ids::SiteId;
use crate::model::limits::BATCH_RECORDS_MAX;
use crate::model::time::{DAY_MS, Timestamp};

/// Send synthetic traffic, and check the server's counts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server (plain HTTP)
    #[arg(long, env = "BLINDTALLY_URL", default_value = "http://127.0.0.1:8080")]
    url: Endpoint,
    /// A producer token; the sites exist already
    #[arg(long, env = "BLINDTALLY_TOKEN", hide_env_values = true)]
    token: Option<Bearer>,
    /// A billing token, for --check and --usage with --token
    #[arg(long, env = "BLINDTALLY_BILLING_TOKEN", hide_env_values = true)]
    billing_token: Option<Bearer>,
    /// A file with an operator token: makes the sites and short-lived tokens through the API
    #[arg(long, value_name = "FILE")]
    operator_token_file: Option<PathBuf>,

    /// How many records, duplicates included
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    records: u64,
    /// How many sites, of very unequal size
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=9_999))]
    sites: u32,
    /// How the ids of the sites begin
    #[arg(long, value_name = "TEXT", default_value = "load")]
    site_prefix: String,
    /// How many users, over all sites
    #[arg(long, value_name = "N", default_value_t = 200_000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(fleet::USERS_MAX)))]
    users: u32,
    /// Same seed and options, same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The present, to which all times are relative (RFC 3339) [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    now: Option<Timestamp>,
    /// The days before now over which records spread, those that are late apart
    #[arg(long, value_name = "DAYS", default_value_t = 0.25)]
    spread_days: f64,
    /// The share of records sent before, half of them in whole batches
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    duplicates: f64,
    /// The share of records that are hours to days late
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    late: f64,
    /// The share of records without a usable user id
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    sentinels: f64,
    /// The share of license requests that fail
    #[arg(long, value_name = "RATE", default_value_t = 0.02)]
    failures: f64,

    /// Records in a request
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u32).range(1..=BATCH_RECORDS_MAX as i64))]
    batch: u32,
    /// How many connections send
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: usize,
    /// Records per second on an open-loop schedule; 0 is full speed
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate: u64,
    /// The coding of the bodies
    #[arg(long, value_enum, default_value_t = Encoding::Identity)]
    encoding: Encoding,
    /// Threads that make bodies while others are sent
    #[arg(long, value_name = "N", default_value_t = 1)]
    generators: usize,
    /// Make all bodies before the first is sent
    #[arg(long)]
    pregenerate: bool,
    /// Send the lines of a file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "write"])]
    read: Option<PathBuf>,
    /// Write the records as NDJSON instead of sending them (- is the standard output)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "usage"])]
    write: Option<PathBuf>,

    /// Compare the server's counts with an exact count of what was sent; needs fresh sites
    #[arg(long)]
    check: bool,
    /// Print the figures of each site at the end
    #[arg(long)]
    usage: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Options(String),
    #[error("{doing}: {source}")]
    File { doing: &'static str, source: io::Error },
    #[error(transparent)]
    Zone(#[from] oracle::UnknownZone),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("{doing}: the server said {status} {detail}")]
    Refused { doing: &'static str, status: u16, detail: String },
    #[error("{doing}: the server's answer is not what the contract says")]
    Answer { doing: &'static str },
}

impl Error {
    /// What the server said, in the words of its problem document.
    fn refused(doing: &'static str, answer: &client::Answer) -> Self {
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let detail = said["detail"].as_str().or(said["title"].as_str()).unwrap_or_default();
        Self::Refused { doing, status: answer.status.as_u16(), detail: detail.to_owned() }
    }

    /// The exit code: 64 for what the caller can mend on the command line (`sysexits.h`).
    fn code(&self) -> ExitCode {
        match self {
            Self::Options(_) => ExitCode::from(64),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs the command. Exit code 0: all sent, and with `--check` all equal; 1: not so; 64: the
/// options do not fit together.
pub fn run(args: Args) -> ExitCode {
    match drive(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("blindtally load: {error}");
            error.code()
        }
    }
}

fn drive(args: &Args) -> Result<bool, Error> {
    let traffic = Arc::new(traffic(args)?);
    let bar = report::bar(args.records, args.quiet);
    if let Some(path) = &args.write {
        let written = feed::write(path, &traffic, |records| bar.inc(u64::from(records)));
        bar.finish_and_clear();
        let bytes = written.map_err(|source| Error::File { doing: "writing", source })?;
        eprintln!("{} records, {}", HumanCount(args.records), HumanBytes(bytes));
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::File { doing: "starting threads", source })?;
    let mut control = Control::new(args.url.clone());
    let access = runtime.block_on(access(args, &mut control, &traffic.fleet))?;
    let outcome = run_with(args, &runtime, &mut control, &access, &traffic, &bar);
    // Also after a failure, and after the outcome is known, whose error matters more.
    if let Err(error) = runtime.block_on(control.revoke(&access)) {
        eprintln!("blindtally load: {error}");
    }
    outcome
}

fn run_with(
    args: &Args,
    runtime: &tokio::runtime::Runtime,
    control: &mut Control,
    access: &Access,
    traffic: &Arc<Traffic>,
    bar: &ProgressBar,
) -> Result<bool, Error> {
    let zones = runtime.block_on(zones(args, control, access, &traffic.fleet))?;
    let mut oracle = match args.check {
        true => Some(Oracle::new(&zones, traffic.plan.now_ms)?),
        false => None,
    };
    let route = Route {
        endpoint: args.url.clone(),
        bearer: access.producer.clone(),
        encoding: args.encoding,
        schedule: Schedule::new(args.batch, args.rate),
        connections: args.concurrency,
    };
    let send = |feed: Feed| runtime.block_on(send::send(route, Arc::new(feed), bar));
    let mut records = args.records;
    let (score, cut) = if let Some(bodies) = bodies(args, traffic, oracle.as_mut())? {
        records = bodies.iter().map(|body| u64::from(body.records)).sum();
        bar.set_length(records);
        bar.reset();
        send(feed::ready(bodies))?
    } else {
        let ahead = 2 * args.concurrency;
        let (generator, feed) =
            Generator::start(traffic, oracle.as_ref(), args.encoding, args.generators, ahead);
        let sent = send(feed)?;
        let joined = generator.join(oracle.as_mut());
        joined.map_err(|source| Error::File { doing: "making records", source })?;
        sent
    };
    bar.finish_and_clear();
    print!("{}", report::report(&score, args.encoding));
    if let Some(error) = cut {
        return Err(error);
    }
    if score.records < records {
        println!("cut short   {} records were not sent", HumanCount(records - score.records));
        return Ok(false);
    }
    let equal = match (&oracle, &access.billing) {
        (Some(oracle), Some(billing)) => {
            runtime.block_on(check(control, billing, &traffic.fleet, oracle, &score))?
        }
        _ => true,
    };
    if let (true, Some(billing)) = (args.usage, &access.billing) {
        runtime.block_on(print_usage(control, billing, traffic, &zones))?;
    }
    Ok(equal)
}

fn traffic(args: &Args) -> Result<Traffic, Error> {
    let rates = [args.duplicates, args.late, args.sentinels, args.failures];
    if rates.iter().any(|rate| !(0.0..=1.0).contains(rate)) {
        return Err(Error::Options("a rate is a share from 0 to 1".to_owned()));
    }
    if !(0.0..=f64::from(AGE_DAYS_MAX)).contains(&args.spread_days) {
        return Err(Error::Options(format!("--spread-days is at most {AGE_DAYS_MAX}")));
    }
    if SiteId::parse(format!("{}-0001", args.site_prefix).as_bytes()).is_none() {
        return Err(Error::Options("--site-prefix does not fit a site id".to_owned()));
    }
    let clock = || jiff::Timestamp::now().as_millisecond();
    let plan = Plan {
        seed: args.seed,
        now_ms: args.now.map_or_else(clock, |now| now.0),
        records: args.records,
        batch: args.batch,
        spread_ms: (args.spread_days * DAY_MS as f64) as i64,
        duplicates: args.duplicates,
        late: args.late,
        sentinels: args.sentinels,
        failures: args.failures,
    };
    let fleet = Fleet::new(args.seed, &args.site_prefix, args.sites, args.users);
    Ok(Traffic::new(plan, fleet))
}

/// The tokens of the run: those given, or new ones for new sites.
async fn access(args: &Args, control: &mut Control, fleet: &Fleet) -> Result<Access, Error> {
    if let Some(path) = &args.operator_token_file {
        let doing = "reading the operator token";
        let token = std::fs::read_to_string(path);
        let token = token.map_err(|source| Error::File { doing, source })?;
        let operator: Bearer = token.parse().map_err(|no: &str| Error::Options(no.to_owned()))?;
        return control.make(operator, fleet, args.check).await;
    }
    let Some(producer) = args.token.clone() else {
        let hint = "give --token, --operator-token-file or --write";
        return Err(Error::Options(format!("no token: {hint}")));
    };
    if (args.check || args.usage) && args.billing_token.is_none() {
        let hint = "--check and --usage need --billing-token, or --operator-token-file";
        return Err(Error::Options(hint.to_owned()));
    }
    control.probe(&producer).await?;
    Ok(Access::given(producer, args.billing_token.clone()))
}

/// The zones of the sites: asked for only where they matter and are not this run's own choice.
async fn zones(
    args: &Args,
    control: &mut Control,
    access: &Access,
    fleet: &Fleet,
) -> Result<Vec<String>, Error> {
    match &access.billing {
        Some(billing) if !access.is_own() && (args.check || args.usage) => {
            control.zones(billing, fleet).await
        }
        _ => Ok(oracle::own_zones(fleet)),
    }
}

/// All bodies, where they are made or read before the first is sent.
fn bodies(
    args: &Args,
    traffic: &Arc<Traffic>,
    oracle: Option<&mut Oracle>,
) -> Result<Option<Vec<Body>>, Error> {
    let bodies = match &args.read {
        Some(path) => feed::read(path, args.batch, args.encoding),
        None if args.pregenerate => feed::pregenerate(traffic, oracle, args.encoding),
        None => return Ok(None),
    };
    bodies.map(Some).map_err(|source| Error::File { doing: "making the bodies", source })
}

/// Holds every figure of the server against the oracle's, and prints each difference.
async fn check(
    control: &mut Control,
    billing: &Bearer,
    fleet: &Fleet,
    oracle: &Oracle,
    score: &Score,
) -> Result<bool, Error> {
    let mut figures = 0;
    let mut different = 0;
    let mut say = |place: &str, difference: &str| {
        different += 1;
        println!("DIFFERENT   {place}: {difference}");
    };
    let duplicates = oracle.duplicates();
    if score.rejected > 0 {
        say("answers", &format!("{} records rejected, expected none", score.rejected));
    }
    if !(duplicates..=duplicates + score.doubtful).contains(&score.duplicates) {
        say("answers", &format!("{} duplicates, expected {duplicates}", score.duplicates));
    }
    let expected = oracle.expected();
    for month in &expected {
        let Some(site) = fleet.sites.get(month.site as usize) else {
            continue;
        };
        let usage = control.usage(billing, &site.id, month.month).await?;
        figures += month.figures.len();
        for difference in check::differences(month, &usage, score.doubtful) {
            say(&format!("{} {}", site.id, month.month), &difference);
        }
    }
    let months = expected.len();
    println!("check       {figures} figures of {months} sites and months, {different} different");
    Ok(different == 0)
}

async fn print_usage(
    control: &mut Control,
    billing: &Bearer,
    traffic: &Traffic,
    zones: &[String],
) -> Result<(), Error> {
    println!("{}", report::USAGE_HEAD);
    for (site, zone) in traffic.fleet.sites.iter().zip(zones) {
        for month in oracle::month_names(zone, traffic.plan.now_ms)? {
            let usage = control.usage(billing, &site.id, month).await?;
            println!("{}", report::usage_line(&site.id, &usage));
        }
    }
    Ok(())
}

fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text.as_bytes()).ok_or("not a time such as 2026-11-22T04:16:00Z")
}
