//! `blindtally export`: figures for billing systems, and the usage of any range.

use std::process::ExitCode;

use clap::Subcommand;
use hyper::header::LINK;

use super::client::{self, Ask, Target};
use super::{EXIT_FAILED, asked_whole, escape, failed};

/// What is exported.
#[derive(Debug, Subcommand)]
pub enum ExportVerb {
    /// A body for Stripe's meter events (API v1), as a form.
    Stripe(Figure),
    /// A body for Lago's events.
    Lago(Figure),
    /// A body for OpenMeter: a CloudEvent.
    Openmeter(Figure),
    /// The usage of all months of a range, of every site of the token.
    Usage {
        /// The first month, YYYY-MM.
        #[arg(long)]
        from: String,
        /// The last month, YYYY-MM.
        #[arg(long)]
        to: String,
        /// CSV; else one JSON object a page.
        #[arg(long)]
        csv: bool,
    },
}

/// A figure of a closed month's statement.
#[derive(Debug, clap::Args)]
pub struct Figure {
    /// The site's id, or a billing group's name behind a +.
    site: String,
    /// The month, YYYY-MM.
    month: String,
    /// mau or licenses_issued.
    #[arg(long)]
    metric: Option<String>,
    /// total, for meters that take the last value; difference, for meters that add up.
    #[arg(long)]
    amount: Option<String>,
    /// month_end or issued: when it is said to have happened.
    #[arg(long)]
    at: Option<String>,
    /// The version; the last one where none is named.
    #[arg(long)]
    version: Option<u32>,
    /// The meter; that of the server's settings where none is named.
    #[arg(long)]
    event: Option<String>,
    /// The customer; that of the server's settings, or the site, where none is named.
    #[arg(long)]
    customer: Option<String>,
}

/// Exports, and prints what comes.
pub fn run(target: &Target, verb: ExportVerb) -> ExitCode {
    match verb {
        ExportVerb::Stripe(of) => super::ask(target, &figure("stripe", &of)),
        ExportVerb::Lago(of) => super::ask(target, &figure("lago", &of)),
        ExportVerb::Openmeter(of) => super::ask(target, &figure("openmeter", &of)),
        ExportVerb::Usage { from, to, csv } => match usage(target, &from, &to, csv) {
            Ok(good) if good => ExitCode::SUCCESS,
            Ok(_) => ExitCode::from(EXIT_FAILED),
            Err(sentence) => failed(&sentence, ExitCode::from(EXIT_FAILED)),
        },
    }
}

fn figure(format: &str, of: &Figure) -> Ask {
    let (owner, month) = (super::statement::owner(&of.site), escape(&of.month));
    let mut path = format!("{owner}/statements/{month}/export?format={format}");
    let version = of.version.map(|version| version.to_string());
    for (name, value) in [
        ("metric", &of.metric),
        ("amount", &of.amount),
        ("at", &of.at),
        ("version", &version),
        ("event", &of.event),
        ("customer", &of.customer),
    ] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escape(value)));
        }
    }
    // Each form has a media type of its own.
    Ask { accept: Some("*/*"), ..Ask::get(path) }
}

/// Prints page after page; whether all were answered well.
fn usage(target: &Target, from: &str, to: &str, csv: bool) -> Result<bool, String> {
    let mut next = Some(format!("/v1/usage?from={}&to={}&limit=1000", escape(from), escape(to)));
    let mut first = true;
    while let Some(path) = next {
        let answer = asked_whole(target, &Ask { csv, ..Ask::get(path) })?;
        let good = answer.status().is_success();
        let link = answer.headers().get(LINK).and_then(|link| link.to_str().ok());
        next = link.and_then(|link| Some(link.strip_prefix('<')?.split_once('>')?.0.to_owned()));
        let body = answer.into_body();
        let page: &[u8] = match body.iter().position(|byte| *byte == b'\n') {
            // The names of the columns stand there once.
            Some(end) if csv && good && !first => body.get(end + 1..).unwrap_or_default(),
            _ => &body,
        };
        // A closed pipe is the reader's wish, and the end of it.
        if client::print(page, good).is_err() || !good {
            return Ok(good);
        }
        first = false;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_questions() {
        let of = Figure {
            site: "A".to_owned(),
            month: "2026-11".to_owned(),
            metric: None,
            amount: Some("difference".to_owned()),
            at: None,
            version: Some(2),
            event: None,
            customer: Some("cus_1&x".to_owned()),
        };
        let asked = figure("stripe", &of);
        let path =
            "/v1/sites/A/statements/2026-11/export?format=stripe&amount=difference&version=2";
        assert_eq!(asked.path, format!("{path}&customer=cus_1%26x"));
    }
}
