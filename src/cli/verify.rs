//! `blindtally verify`: what was checked, what was not, and what does not agree.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{EXIT_FAILED, environment, failed};
use crate::app::pack;
use crate::app::verify::{Report, Request, run as check};
use crate::config::{self, EXIT_BAD_CONFIG, Flags};

/// Where everything lies. What is not named lies where the server would look for it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file of the server (TOML), for its places.
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
    /// The ledger's public key, as you have it from elsewhere.
    #[arg(long)]
    key: Option<PathBuf>,
    /// The second copy of the checkpoints.
    #[arg(long)]
    second: Option<PathBuf>,
    /// Count again what the statements say, from the stored sets; needs the root key, and the
    /// server stopped.
    #[arg(long)]
    recount: bool,
    /// Check an evidence pack instead: its folder.
    #[arg(long, conflicts_with_all = ["config", "data", "keys", "ledger", "second", "recount"])]
    pack: Option<PathBuf>,
}

/// Checks, and says what came of it.
pub fn run(args: Args) -> ExitCode {
    let Args { config, data, keys, ledger, key, second, recount, pack } = args;
    if let Some(pack) = pack {
        return say(&pack::run(&pack, key.as_deref()));
    }
    let keys_named = keys.is_some();
    let flags = Flags { config, data, keys, ledger, listen: Vec::new() };
    let settings = match config::load(&flags, environment()) {
        Ok(settings) => settings,
        Err(sentence) => return failed(&sentence.to_string(), ExitCode::from(EXIT_BAD_CONFIG)),
    };
    say(&check(&settings, &Request { key, second, keys_named, recount }))
}

fn say(report: &Report) -> ExitCode {
    for (head, sentences) in [
        ("Checked", &report.checked),
        ("Not checked", &report.unchecked),
        ("Finding", &report.findings),
    ] {
        for sentence in sentences {
            println!("{head}: {sentence}.");
        }
    }
    if report.findings.is_empty() {
        println!("Everything that was checked agrees.");
        return ExitCode::SUCCESS;
    }
    println!(
        "{} findings: something was changed, lost or exchanged. Keep what was checked as it is and \
         take a copy of it; what to put back, and when nothing may be, says docs/OPERATING.md \
         under \"When verify finds something\".",
        report.findings.len()
    );
    ExitCode::from(EXIT_FAILED)
}
