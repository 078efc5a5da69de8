//! The command line: the server, the load generator, and a client verb for each route. A client
//! never opens the database; it asks the server like everyone else.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod backfill;
mod backup;
pub(crate) mod client;
pub(crate) mod evidence;
mod export;
mod figures;
mod retention;
mod statement;
mod verify;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use hyper::Method;

use crate::app::App;
use crate::config::{self, EXIT_BAD_CONFIG, Flags};
use crate::load;
use crate::model::time::SystemClock;
use crate::observe::logs;
use backfill::BackfillVerb;
use backup::{BackupVerb, RestoreVerb};
use client::{Ask, Target};
use export::ExportVerb;
use retention::{CertificateVerb, HoldVerb, RetentionVerb};
use statement::StatementVerb;
use webhooks::WebhookVerb;

/// The exit status of a request that the server refused, or that did not reach it.
const EXIT_FAILED: u8 = 1;

/// Counts who is active without knowing who they are.
#[derive(Debug, Parser)]
#[command(name = "blindtally", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server.
    Serve(Serve),
    /// Send synthetic traffic and report the throughput.
    Load(load::Args),
    /// Print the version.
    Version,
    /// Make, change and read sites.
    Site {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: SiteVerb,
    },
    /// Make, list and revoke tokens.
    Token {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: TokenVerb,
    },
    /// See what is kept until when, and destroy what is due.
    Retention {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: RetentionVerb,
    },
    /// Open, list and release holds.
    Hold {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: HoldVerb,
    },
    /// Read and check certificates of destruction.
    Certificate {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: CertificateVerb,
    },
    /// Make, list and check backups of the data.
    Backup {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: BackupVerb,
    },
    /// Put data or key register back, with the server stopped.
    Restore {
        #[command(subcommand)]
        verb: RestoreVerb,
    },
    /// Make, list, close and abandon backfills.
    Backfill {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: BackfillVerb,
    },
    /// Make, list, test and remove webhooks.
    Webhook {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: WebhookVerb,
    },
    /// Read the usage of a site's month.
    Usage {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        args: figures::UsageArgs,
    },
    /// Read what arrived from whom, by the hour.
    Reconciliation {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        args: figures::ReconciliationArgs,
    },
    /// Export figures for billing systems, or the usage of a range.
    Export {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: ExportVerb,
    },
    /// Read, restate and check statements.
    Statement {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: StatementVerb,
    },
    /// Read the ledger.
    Ledger {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        verb: LedgerVerb,
    },
    /// See who used which route on a day, as counts.
    Access {
        #[command(flatten)]
        target: Target,
        /// The UTC day, YYYY-MM-DD; today without it.
        #[arg(long)]
        day: Option<String>,
    },
    /// Export the evidence of retention and destruction as a folder that can be checked offline.
    Evidence {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        args: evidence::Args,
    },
    /// Check ledger, keys and data directory offline; exit 0 if all agrees, 1 if anything does not.
    Verify(verify::Args),
}

#[derive(Debug, Args)]
struct Serve {
    /// The configuration file (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
    /// The data directory.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The keys directory; the default is the data directory's name with "-keys".
    #[arg(long)]
    keys: Option<PathBuf>,
    /// The directory of the ledger; the default is the data directory's name with "-ledger".
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// An address to listen on, ip:port; may be given more than once.
    #[arg(long)]
    listen: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum SiteVerb {
    /// Make or change a site; what is not given keeps its value.
    Put {
        /// The site's id.
        site: String,
        /// Its settings as a JSON object, e.g. '{"time_zone":"Asia/Seoul"}'.
        #[arg(default_value = "{}")]
        settings: String,
    },
    /// Read a site.
    Get {
        /// The site's id.
        site: String,
    },
    /// List the sites.
    List,
    /// End a site's collection at once; what is left is due within six months.
    Terminate {
        /// The site's id.
        site: String,
        /// What to say about it; never a person's name.
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum TokenVerb {
    /// Make a token and print it, this one time.
    Create(TokenCreate),
    /// List the tokens, without secrets.
    List,
    /// End a token at once.
    Revoke {
        /// The public part of the token.
        key_id: String,
    },
}

#[derive(Debug, Subcommand)]
enum LedgerVerb {
    /// Print the last signed checkpoint.
    Head,
    /// List entries.
    List {
        /// The number of the first entry.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many, at most 1000.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Print an entry with its proof.
    Proof {
        /// The number of the entry.
        index: u64,
    },
}

#[derive(Debug, Args)]
struct TokenCreate {
    /// producer, billing, privacy, auditor, operator or custodian.
    #[arg(long)]
    role: String,
    /// A site of the token, or "*" for all; may be given more than once.
    #[arg(long = "site", required = true)]
    sites: Vec<String>,
    /// How long it is valid, days.
    #[arg(long, default_value_t = 90)]
    expires_in_days: u32,
    /// The holder, for people.
    #[arg(long)]
    name: String,
    /// The producer name of the credential; the default is the name.
    #[arg(long)]
    producer: Option<String>,
    /// A further producer name that records may carry; may be given more than once.
    #[arg(long = "allow-producer")]
    producers: Vec<String>,
}

/// Reads the arguments and does what they say.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is the reader's wish. Help and version are answers, all else is not.
            let _ = error.print();
            let status = if error.use_stderr() { EXIT_BAD_CONFIG } else { 0 };
            return ExitCode::from(status);
        }
    };
    match cli.verb {
        Verb::Serve(serve) => run_server(serve),
        Verb::Load(args) => load::run(args),
        Verb::Version => {
            println!("blindtally {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Verb::Site { target, verb } => ask(&target, &site(verb)),
        Verb::Token { target, verb } => ask(&target, &token(verb)),
        Verb::Retention { target, verb } => ask(&target, &retention::retention(verb)),
        Verb::Hold { target, verb } => ask(&target, &retention::hold(verb)),
        Verb::Certificate { target, verb } => match retention::certificate(verb) {
            Ok(question) => ask(&target, &question),
            Err(ended) => ended,
        },
        Verb::Backup { target, verb } => backup::run(&target, verb),
        Verb::Restore { verb } => backup::restore(verb),
        Verb::Backfill { target, verb } => ask(&target, &backfill::backfill(verb)),
        Verb::Webhook { target, verb } => ask(&target, &webhooks::webhook(verb)),
        Verb::Statement { target, verb } => match statement::statement(verb) {
            Ok(question) => ask(&target, &question),
            Err(ended) => ended,
        },
        Verb::Usage { target, args } => ask(&target, &args.question()),
        Verb::Reconciliation { target, args } => ask(&target, &args.question()),
        Verb::Ledger { target, verb } => ask(&target, &ledger(&verb)),
        Verb::Access { target, day } => ask(&target, &access(day.as_deref())),
        Verb::Export { target, verb } => export::run(&target, verb),
        Verb::Evidence { target, args } => evidence_pack(&target, &args),
        Verb::Verify(args) => verify::run(args),
    }
}

fn run_server(serve: Serve) -> ExitCode {
    let Serve { config, data, keys, ledger, listen } = serve;
    let flags = Flags { config, data, keys, ledger, listen };
    let settings = match config::load(&flags, environment()) {
        Ok(settings) => settings,
        Err(sentence) => return failed(&sentence.to_string(), ExitCode::from(EXIT_BAD_CONFIG)),
    };
    logs::start(settings.logs);
    logs::silence_panics();
    // Paths and numbers only: secrets are never settings.
    tracing::debug!(?settings, "the settings in force");
    let runtime = match runtime(true) {
        Ok(runtime) => runtime,
        Err(sentence) => return failed(&sentence, ExitCode::FAILURE),
    };
    let served =
        runtime.block_on(async { App::start(settings, Arc::new(SystemClock)).await?.run().await });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_configuration() => {
            failed(&format!("{error}."), ExitCode::from(EXIT_BAD_CONFIG))
        }
        Err(error) => failed(&format!("{error}."), ExitCode::FAILURE),
    }
}

/// The reason of an end goes to standard error as a sentence: the reader is a person.
fn failed(sentence: &str, status: ExitCode) -> ExitCode {
    eprintln!("{sentence}");
    status
}

/// The variables whose name and value are text; others cannot be settings.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn runtime(threads: bool) -> Result<tokio::runtime::Runtime, String> {
    use tokio::runtime::Builder;
    let mut builder = match threads {
        true => Builder::new_multi_thread(),
        false => Builder::new_current_thread(),
    };
    builder.enable_all().build().map_err(|error| format!("The runtime cannot start: {error}."))
}

/// Asks once; the status and the body of the answer, or why there is none.
fn asked(target: &Target, ask: &Ask) -> Result<client::Answered, String> {
    // From the environment only: arguments are visible to every user of the machine.
    let token = std::env::var("BLINDTALLY_TOKEN").unwrap_or_default();
    runtime(false).and_then(|runtime| {
        runtime.block_on(client::send(target, &token, ask)).map_err(|error| error.to_string())
    })
}

/// The same with the head of the answer.
fn asked_whole(target: &Target, ask: &Ask) -> Result<client::Whole, String> {
    let token = std::env::var("BLINDTALLY_TOKEN").unwrap_or_default();
    runtime(false).and_then(|runtime| {
        runtime.block_on(client::send_whole(target, &token, ask)).map_err(|error| error.to_string())
    })
}

fn ask(target: &Target, ask: &Ask) -> ExitCode {
    match asked(target, ask) {
        Ok((status, body)) => {
            let good = status.is_success();
            // A closed pipe is the reader's wish, not an error of ours.
            let _ = client::print(&body, good);
            if good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
        }
        Err(sentence) => failed(&sentence, ExitCode::from(EXIT_FAILED)),
    }
}

fn evidence_pack(target: &Target, args: &evidence::Args) -> ExitCode {
    let token = std::env::var("BLINDTALLY_TOKEN").unwrap_or_default();
    let exported = runtime(false).and_then(|runtime| {
        let export = evidence::export(target, &token, args);
        runtime.block_on(export).map_err(|error| error.to_string())
    });
    match exported {
        Ok((sentences, good)) => {
            sentences.iter().for_each(|sentence| println!("{sentence}."));
            if good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
        }
        Err(sentence) => failed(&sentence, ExitCode::from(EXIT_FAILED)),
    }
}

fn site(verb: SiteVerb) -> Ask {
    match verb {
        SiteVerb::Put { site, settings } => {
            let path = format!("/v1/sites/{}", escape(&site));
            Ask { method: Method::PUT, body: settings, ..Ask::get(path) }
        }
        SiteVerb::Get { site } => Ask::get(format!("/v1/sites/{}", escape(&site))),
        SiteVerb::List => Ask::get("/v1/sites".to_owned()),
        SiteVerb::Terminate { site, reason } => retention::terminate(&site, reason.as_ref()),
    }
}

fn token(verb: TokenVerb) -> Ask {
    match verb {
        TokenVerb::Create(create) => Ask {
            method: Method::POST,
            body: create_body(&create),
            ..Ask::get("/v1/tokens".to_owned())
        },
        TokenVerb::List => Ask::get("/v1/tokens".to_owned()),
        TokenVerb::Revoke { key_id } => {
            let path = format!("/v1/tokens/{}", escape(&key_id));
            Ask { method: Method::DELETE, ..Ask::get(path) }
        }
    }
}

fn ledger(verb: &LedgerVerb) -> Ask {
    Ask::get(match verb {
        LedgerVerb::Head => "/v1/ledger/head".to_owned(),
        LedgerVerb::List { from, limit } => format!("/v1/ledger?from={from}&limit={limit}"),
        LedgerVerb::Proof { index } => format!("/v1/ledger/{index}/proof"),
    })
}

fn access(day: Option<&str>) -> Ask {
    let query = day.map_or_else(String::new, |day| format!("?day={}", escape(day)));
    Ask::get(format!("/v1/access{query}"))
}

fn create_body(create: &TokenCreate) -> String {
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| quote(text)).collect();
        format!("[{}]", quoted.join(","))
    };
    let mut body = format!(
        "{{\"role\":{},\"sites\":{},\"expires_in_days\":{},\"name\":{}",
        quote(&create.role),
        list(&create.sites),
        create.expires_in_days,
        quote(&create.name)
    );
    if let Some(producer) = &create.producer {
        body.push_str(&format!(",\"producer\":{}", quote(producer)));
    }
    if !create.producers.is_empty() {
        body.push_str(&format!(",\"producers\":{}", list(&create.producers)));
    }
    body.push('}');
    body
}

/// A text as a JSON string (RFC 8259 §7).
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if u32::from(c) < 0x20 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A text as one segment of a path (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
        let serve = Cli::try_parse_from([
            "blindtally",
            "serve",
            "--data",
            "d",
            "--keys",
            "k",
            "--listen",
            "a",
            "--listen",
            "b",
        ]);
        let Ok(Cli { verb: Verb::Serve(serve) }) = serve else { panic!("serve is not read") };
        assert_eq!(serve.listen, ["a", "b"]);
        assert!(Cli::try_parse_from(["blindtally"]).is_err());
    }

    #[test]
    fn a_day_of_the_access_log_is_asked_for() {
        assert_eq!(access(None).path, "/v1/access");
        assert_eq!(access(Some("2026-11-26&x")).path, "/v1/access?day=2026-11-26%26x");
    }

    #[test]
    fn a_token_request_is_json() {
        let create = TokenCreate {
            role: "producer".to_owned(),
            sites: vec!["A\"B\n".to_owned(), "*".to_owned()],
            expires_in_days: 9,
            name: "licence \\ 1".to_owned(),
            producer: Some("p".to_owned()),
            producers: vec!["q".to_owned()],
        };
        let body: toml::Value = {
            // JSON of this kind is TOML inline syntax but for the colons.
            let text = create_body(&create).replace("\":", "\"=");
            toml::from_str::<toml::Table>(&format!("x = {text}")).unwrap()["x"].clone()
        };
        assert_eq!(body["sites"][0].as_str(), Some("A\"B\n"));
        assert_eq!(body["expires_in_days"].as_integer(), Some(9));
        assert_eq!(body["name"].as_str(), Some("licence \\ 1"));
        assert_eq!(body["producers"][0].as_str(), Some("q"));
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape("A.b-c_d"), "A.b-c_d");
        assert_eq!(escape("a/../b?c"), "a%2F..%2Fb%3Fc");
    }
}
