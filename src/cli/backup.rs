//! The verbs of backups. Making one is asked of the server; checking needs none, and putting back
//! needs it stopped.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;

use super::client::{self, Ask, Target};
use super::{EXIT_FAILED, ask, asked, environment, escape, failed, quote};
use crate::backup::restore::{self, Places, PutBack};
use crate::config::{self, EXIT_BAD_CONFIG, Flags, Settings};
use crate::keys;
use crate::model::time::Timestamp;

/// Between two looks at a backup that is being made.
const LOOK: Duration = Duration::from_millis(500);

/// Backups.
#[derive(Debug, Subcommand)]
pub enum BackupVerb {
    /// Make a backup of the running server's data, and wait for its end.
    Create {
        /// Its name; the server names it by the time without one.
        name: Option<String>,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
    /// List the backups.
    List,
    /// Check every file of a backup, without a server.
    Check {
        /// The backup's directory.
        backup: PathBuf,
    },
}

/// Putting back.
#[derive(Debug, Subcommand)]
pub enum RestoreVerb {
    /// Put a backup back into an empty data directory.
    Data {
        /// The backup's directory.
        backup: PathBuf,
        /// When the data was lost, if you know, e.g. 2027-01-01T00:00:00Z.
        #[arg(long)]
        lost_at: Option<String>,
        #[command(flatten)]
        places: PlaceArgs,
    },
    /// Put the key register back from a copy off the host, when both of its files are gone.
    Keys {
        /// The copy.
        copy: PathBuf,
        #[command(flatten)]
        places: PlaceArgs,
    },
}

/// Where everything lies. What is not named lies where the server would look for it.
#[derive(Debug, Args)]
pub struct PlaceArgs {
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
}

/// Does what a verb of backups says.
pub fn run(target: &Target, verb: BackupVerb) -> ExitCode {
    match verb {
        BackupVerb::Create { name, no_wait } => create(target, name.as_deref(), no_wait),
        BackupVerb::List => ask(target, &Ask::get("/v1/backups".to_owned())),
        BackupVerb::Check { backup } => match restore::check(&backup) {
            Ok(manifest) => {
                println!(
                    "Every file of {} is as it was made: {} files, {} bytes, everything that was \
                     acknowledged before {}.",
                    backup.display(),
                    manifest.files.len(),
                    manifest.bytes(),
                    manifest.barrier
                );
                ExitCode::SUCCESS
            }
            Err(error) => failed(&format!("{error}."), ExitCode::from(EXIT_FAILED)),
        },
    }
}

fn create(target: &Target, name: Option<&str>, no_wait: bool) -> ExitCode {
    let body = name.map_or_else(String::new, |name| format!("{{\"name\":{}}}", quote(name)));
    let begin = Ask { method: Method::POST, body, ..Ask::get("/v1/backups".to_owned()) };
    let mut answer = asked(target, &begin);
    let named = match &answer {
        Ok((status, body)) if status.is_success() => member(body, "name"),
        _ => None,
    };
    if let (Some(name), false) = (named, no_wait) {
        let look = Ask::get(format!("/v1/backups/{}", escape(&name)));
        loop {
            answer = asked(target, &look);
            match &answer {
                Ok((status, body)) if status.is_success() && state_is(body, "running") => {
                    std::thread::sleep(LOOK);
                }
                _ => break,
            }
        }
    }
    match answer {
        Ok((status, body)) => {
            let good = status.is_success() && !state_is(&body, "failed");
            // A closed pipe is the reader's wish, not an error of ours.
            let _ = client::print(&body, good);
            if let Some(advice) = member(&body, "why").and_then(|why| advice(&why)) {
                return failed(advice, ExitCode::from(EXIT_FAILED));
            }
            if good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
        }
        Err(sentence) => failed(&sentence, ExitCode::from(EXIT_FAILED)),
    }
}

/// What to do about a backup that failed, by the server's word of why.
fn advice(why: &str) -> Option<&'static str> {
    match why {
        "destruction" => Some(
            "A destruction needed the files to be gone and called the copying off, because what is \
             due waits for nobody. Make the backup again; where that happens each time, it takes \
             longer than from one destruction to the next: put [backup] dir on a faster disk.",
        ),
        "data_disk_full" => Some(
            "The disk of the data directory has too little room for what a backup folds before; \
             make room there, and make the backup again.",
        ),
        "disk_full" => Some(
            "The disk of [backup] dir has too little room for a whole copy; remove old backups or \
             make room, and make the backup again.",
        ),
        "disk" => Some(
            "The directory of [backup] dir could not be written; mount its disk or make it \
             writable for the server's user, and make the backup again. The server's log says what \
             refused.",
        ),
        "engine" => Some(
            "The server could not fold or copy its data; its log says why. Start it again where it \
             stopped, and make the backup again.",
        ),
        _ => None,
    }
}

/// A text of the server's own answer, whose names need no escapes.
fn member(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

fn state_is(body: &[u8], state: &str) -> bool {
    member(body, "state").as_deref() == Some(state)
}

fn settings(places: PlaceArgs) -> Result<Settings, ExitCode> {
    let PlaceArgs { config, data, keys, ledger } = places;
    let flags = Flags { config, data, keys, ledger, listen: Vec::new() };
    config::load(&flags, environment())
        .map_err(|sentence| failed(&sentence.to_string(), ExitCode::from(EXIT_BAD_CONFIG)))
}

/// Does what a verb of putting back says.
pub fn restore(verb: RestoreVerb) -> ExitCode {
    match verb {
        RestoreVerb::Data { backup, lost_at, places } => {
            let lost_at = match lost_at.map(|text| Timestamp::parse(text.as_bytes())) {
                Some(None) => {
                    let sentence = "--lost-at must be a time like 2027-01-01T00:00:00Z.";
                    return failed(sentence, ExitCode::from(EXIT_BAD_CONFIG));
                }
                lost_at => lost_at.flatten(),
            };
            let settings = match settings(places) {
                Ok(settings) => settings,
                Err(ended) => return ended,
            };
            let (data, keys) = (settings.store.data.as_path(), &settings.keys);
            let places = Places { data, keys, ledger: &settings.ledger };
            match restore::restore(&backup, &places) {
                Ok(done) => {
                    sentences(&done, lost_at).iter().for_each(|sentence| println!("{sentence}"));
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&format!("{error}."), ExitCode::from(EXIT_FAILED)),
            }
        }
        RestoreVerb::Keys { copy, places } => {
            let settings = match settings(places) {
                Ok(settings) => settings,
                Err(ended) => return ended,
            };
            match keys::restore(&settings.keys, &copy) {
                Ok(done) => {
                    println!(
                        "The register was put back at generation {}. Keys that were made after it \
                         are lost; the next start says so where the data needs one.",
                        done.generation
                    );
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&format!("{error}."), ExitCode::from(EXIT_FAILED)),
            }
        }
    }
}

/// What a person must know now.
fn sentences(done: &PutBack, lost_at: Option<Timestamp>) -> Vec<String> {
    let (barrier, until) = (done.manifest.barrier, done.alive_until);
    let mut said = vec![
        format!(
            "Put back: {} files, {} bytes, everything that was acknowledged before {barrier}.",
            done.manifest.files.len(),
            done.manifest.bytes()
        ),
        format!(
            "Records acknowledged from {barrier} on are not in it; the ledger was last written at \
             {until}, so the server ran at least until then."
        ),
    ];
    if let Some(lost_at) = lost_at {
        let minutes = (lost_at.0 - barrier.0).max(0) / 60_000;
        said.push(format!(
            "By what you say the data was lost at {lost_at}: {minutes} minutes of records are to \
             be sent again."
        ));
    }
    for lost in &done.lost {
        said.push(format!(
            "Hold h{} keeps {} of {} in {} that were moved to hold storage after this backup was \
             begun. Nothing opens what the backup has of them: they are lost, unless a later \
             backup has them; the start writes into the ledger which are.",
            lost.hold, lost.class, lost.site, lost.epoch
        ));
    }
    if done.register_behind {
        said.push(
            "The key register is older than the backup: the start refuses it if the data needs a \
             key that it lacks."
                .to_owned(),
        );
    }
    said.push(
        "Start the server; it destroys again what the ledger says was destroyed, before it serves. \
         Then have producers send again everything from that time on, and set again what was set \
         after it: sites, their settings, tokens."
            .to_owned(),
    );
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Digest, Vault};
    use crate::wire::backup::Manifest;

    /// The loss is named in full: from when on, until when at least, and how many minutes by what
    /// the operator knows.
    #[test]
    fn a_restore_says_what_is_missing() {
        let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
        let manifest = Manifest {
            format: String::new(),
            operation: 4,
            barrier: at("2026-11-20T10:00:00Z"),
            folded_through: 9,
            vault: Vault([3; 16]),
            register_generation: 7,
            ledger_size: 5,
            ledger_root: Digest([0; 32]),
            files: Vec::new(),
        };
        let alive_until = at("2026-11-20T10:20:00Z");
        let done = PutBack { manifest, alive_until, lost: Vec::new(), register_behind: false };
        let said = sentences(&done, None).join("\n");
        for part in ["before 2026-11-20T10:00:00Z", "from 2026-11-20T10:00:00Z on are not"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(said.contains("written at 2026-11-20T10:20:00Z") && !said.contains("minutes"));
        let said = sentences(&done, Some(at("2026-11-20T11:30:30Z"))).join("\n");
        assert!(said.contains("11:30:30Z: 90 minutes of records"), "{said}");
    }

    #[test]
    fn answers_are_read() {
        let body = br#"{"name":"a-b","operation":3,"state":"running"}"#;
        assert_eq!(member(body, "name").as_deref(), Some("a-b"));
        assert!(state_is(body, "running") && !state_is(body, "made"));
        assert_eq!(member(b"{}", "name"), None);
        for why in ["destruction", "data_disk_full", "disk_full", "disk", "engine"] {
            let said = advice(why).unwrap();
            assert!(said.contains("ake the backup again") && said.ends_with('.'), "{said}");
        }
        assert!(advice("destruction").unwrap().contains("on a faster disk"));
        assert_eq!(advice("made"), None);
    }
}
