//! The verbs of statements.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;

use super::client::{self, Ask};
use super::{EXIT_FAILED, escape, failed, quote};
use crate::billing;

/// Statements.
#[derive(Debug, Subcommand)]
pub enum StatementVerb {
    /// Print the statement of a closed month, byte for byte.
    Get {
        /// The site's id, or a billing group's name behind a +.
        site: String,
        /// The month, YYYY-MM.
        month: String,
        /// Answer with CSV.
        #[arg(long)]
        csv: bool,
    },
    /// Print all its versions.
    Versions {
        /// The site's id, or a billing group's name behind a +.
        site: String,
        /// The month, YYYY-MM.
        month: String,
    },
    /// Issue a new version with what came after the close.
    Restate {
        /// The site's id, or a billing group's name behind a +.
        site: String,
        /// The month, YYYY-MM.
        month: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Make the page of a saved statement, without a server: HTML for a browser and for paper.
    Page {
        /// The statement's file.
        file: PathBuf,
        /// The ledger's public key; with it a statement that is not genuine has no page.
        #[arg(long)]
        key: Option<PathBuf>,
        /// Where to write the page; standard output where it is not given.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Compare a list of user ids with a closed month: how many were counted, in counts only. Lists
    /// of a month are budgeted.
    Challenge {
        /// The site's id.
        site: String,
        /// The month, YYYY-MM.
        month: String,
        /// The list: a file of lines like {"user_id":"…"}.
        file: PathBuf,
    },
    /// Check a statement, without a server.
    Verify {
        /// The statement's file.
        file: PathBuf,
        /// The ledger's public key: its file `verifier.key`.
        #[arg(long)]
        key: PathBuf,
    },
}

/// The question of a verb, or the end of one that asks nobody.
pub fn statement(verb: StatementVerb) -> Result<Ask, ExitCode> {
    let path = |of: &str, month: &str, rest: &str| {
        format!("{}/statements/{}{rest}", owner(of), escape(month))
    };
    match verb {
        StatementVerb::Get { site, month, csv } => {
            Ok(Ask { csv, ..Ask::get(path(&site, &month, "")) })
        }
        StatementVerb::Versions { site, month } => Ok(Ask::get(path(&site, &month, "/versions"))),
        StatementVerb::Restate { site, month, reason } => {
            let body = format!("{{\"reason\":{}}}", quote(&reason));
            Ok(Ask { method: Method::POST, body, ..Ask::get(path(&site, &month, "/restate")) })
        }
        StatementVerb::Page { file, key, out } => Err(match page(&file, key.as_deref(), out) {
            Ok(()) => ExitCode::SUCCESS,
            Err(sentence) => failed(&sentence, ExitCode::from(EXIT_FAILED)),
        }),
        StatementVerb::Challenge { site, month, file } => {
            let body = std::fs::read_to_string(&file)
                .map_err(|error| failed(&unreadable(&file, &error), ExitCode::from(EXIT_FAILED)))?;
            let media = "application/x-ndjson";
            let asked = Ask::get(path(&site, &month, "/challenge"));
            Ok(Ask { method: Method::POST, body, media, ..asked })
        }
        StatementVerb::Verify { file, key } => Err(match check(&file, &key) {
            Ok(sentence) => {
                println!("{sentence}");
                ExitCode::SUCCESS
            }
            Err(sentence) => failed(&sentence, ExitCode::from(EXIT_FAILED)),
        }),
    }
}

/// The path of a site, or of a billing group, which has a + before its name.
pub(super) fn owner(name: &str) -> String {
    match name.strip_prefix('+') {
        Some(group) => format!("/v1/groups/{}", escape(group)),
        None => format!("/v1/sites/{}", escape(name)),
    }
}

/// Writes the page of a statement's file.
fn page(file: &Path, key: Option<&Path>, out: Option<PathBuf>) -> Result<(), String> {
    if let Some(key) = key {
        check(file, key)?;
    }
    let text = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let page = billing::page_of(&text).map_err(|error| format!("{error}."))?;
    match out {
        Some(out) => std::fs::write(&out, page)
            .map_err(|error| format!("{} cannot be written: {error}.", out.display())),
        None => client::print(&page, true).map_err(|error| format!("{error}.")),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}.", path.display())
}

/// Checks a statement's file; a sentence of what it states, or of why it states nothing.
fn check(file: &Path, key: &Path) -> Result<String, String> {
    let text = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let line = std::fs::read_to_string(key).map_err(|error| unreadable(key, &error))?;
    let body = billing::verify(&text, &line).map_err(|error| format!("{error}."))?;
    let device_users = match body.billable.device_users {
        None | Some(0) => String::new(),
        Some(count) => format!(", {count} devices that stand for users"),
    };
    Ok(format!(
        "Version {} of the statement of {} for {} by ledger {} is genuine: {} users{device_users} \
         and {} licences are billed.",
        body.version,
        body.subject(),
        body.month,
        body.ledger,
        body.billable.mau,
        body.billable.licenses_issued
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_questions() {
        let (site, month) = ("A B".to_owned(), "2026-11".to_owned());
        let reason = "late \"box\"".to_owned();
        let asked = statement(StatementVerb::Restate { site, month, reason }).unwrap();
        assert_eq!(asked.path, "/v1/sites/A%20B/statements/2026-11/restate");
        assert_eq!(asked.body, "{\"reason\":\"late \\\"box\\\"\"}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(&file, "{\"user_id\":\"a\"}\n").unwrap();
        let (site, month) = ("A".to_owned(), "2026-11".to_owned());
        let asked = statement(StatementVerb::Challenge { site, month, file }).unwrap();
        assert_eq!((asked.method, asked.media), (Method::POST, "application/x-ndjson"));
        assert_eq!(asked.path, "/v1/sites/A/statements/2026-11/challenge");
    }

    #[test]
    fn a_file_that_is_no_statement_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("s.json"), folder.path().join("verifier.key"));
        assert!(check(&file, &key).unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "{}").unwrap();
        std::fs::write(&key, "nonsense").unwrap();
        assert!(check(&file, &key).unwrap_err().contains("not a verifier key"));
        assert!(page(&file, None, None).unwrap_err().contains("not a statement"));
        assert!(page(&file, Some(&key), None).unwrap_err().contains("not a verifier key"));
    }
}
