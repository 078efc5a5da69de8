//! What the ledger tells of the past: every policy that was taken up, and how often few read what
//! few may read, by route. A statement says both as of one entry. The ledger has all of it, and to
//! read all of it for each statement would take longer with every year. So what was read is kept,
//! with the root that the ledger had there; a run reads on, and a statement only what came since.

use super::{DeskError, Inner};
use crate::ledger::{Checkpoint, Digest, Event, Ledger, LedgerError, Recorded};
use crate::wire::retention::rows::{PolicyTold, ToldRow};

/// The row's name.
pub(super) const ROW: &str = "told";
/// Entries that are read from the ledger at once.
const READ_ENTRIES: u64 = 1_000;
/// Entries after which the row is written anew. A start reads no more of the ledger than these and
/// what came since the last run.
const WRITE_ENTRIES: u64 = if cfg!(test) { 50 } else { 1_000 };
/// Most entries that one run reads on, so that the first one over an old ledger ends.
const RUN_ENTRIES_MAX: u64 = 100_000;
/// What a line of the ledger about a policy, or about a read, has in it.
const LINES: [&str; 3] =
    ["\"kind\":\"policy_adopted\"", "\"kind\":\"policy_loaded\"", "\"kind\":\"privileged_read\""];

/// What is known; locked while somebody reads on.
#[derive(Default)]
pub(super) struct Past(tokio::sync::Mutex<Known>);

#[derive(Default)]
struct Known {
    told: Option<ToldRow>,
    /// Up to which entry the row has it.
    written: u64,
}

impl Inner {
    /// What all entries tell that the ledger has, and the checkpoint over them.
    pub(super) async fn told(&self) -> Result<(Checkpoint, ToldRow), DeskError> {
        let mut known = self.past.0.lock().await;
        self.read_on(&mut known, u64::MAX).await
    }

    /// Reads on, so that a statement has little to read.
    pub(super) async fn keep_told(&self) -> Result<(), DeskError> {
        let mut known = self.past.0.lock().await;
        self.read_on(&mut known, RUN_ENTRIES_MAX).await.map(|_| ())
    }

    /// Reads at most so many entries more.
    async fn read_on(
        &self,
        known: &mut Known,
        most: u64,
    ) -> Result<(Checkpoint, ToldRow), DeskError> {
        let told = match known.told.take() {
            Some(told) => told,
            None => {
                let row = self.vault.load_rows(ROW)?.into_iter().find(|(name, _)| name == ROW);
                let row = row.map(|(_, bytes)| ToldRow::parse(&bytes)).transpose()?;
                known.written = row.as_ref().map_or(0, |row| row.entries);
                row.unwrap_or_default()
            }
        };
        let (head, told, fits) = self.ask(move |ledger| read_more(ledger, told, most)).await?;
        if !fits || told.entries.saturating_sub(known.written) >= WRITE_ENTRIES {
            self.vault.put_row(ROW.to_owned(), told.to_bytes()?).await?;
            known.written = told.entries;
        }
        known.told = Some(told.clone());
        Ok((head, told))
    }
}

/// Adds what the next entries tell; whether what was there before was of this ledger.
fn read_more(
    ledger: &Ledger,
    told: ToldRow,
    most: u64,
) -> Result<(Checkpoint, ToldRow, bool), LedgerError> {
    let head = ledger.head()?;
    // Of another past, where the data was put back beside another ledger: then it is read anew.
    let fits =
        told.entries == 0 || told.entries <= head.size && ledger.root(told.entries)? == told.root.0;
    let mut told = if fits { told } else { ToldRow::default() };
    let until = head.size.min(told.entries.saturating_add(most));
    while told.entries < until {
        let lines = ledger.read(told.entries, READ_ENTRIES.min(until - told.entries))?;
        for (line, entry) in lines.iter().zip(told.entries..) {
            if LINES.iter().any(|kind| line.contains(kind)) {
                let read = Recorded::decode(line.as_bytes());
                add(&mut told, read.map_err(|_| LedgerError::Changed { entry })?);
            }
        }
        told.entries += lines.len().max(1) as u64;
    }
    told.root = Digest(ledger.root(told.entries)?);
    Ok((head, told, fits))
}

fn add(told: &mut ToldRow, read: Recorded) {
    let (entry, at) = (read.number, read.time);
    match read.event {
        Event::PrivilegedRead { route, .. } => {
            *told.reads.entry(route.to_string()).or_insert(0) += 1;
        }
        Event::PolicyLoaded { digest, profile, published, effective }
        | Event::PolicyAdopted { digest, profile, published, in_force_from: effective, .. } => {
            let said = [profile.to_string(), published.to_string(), effective.to_string()];
            told.policies.push(PolicyTold { entry, at, said, digest });
        }
        _ => {}
    }
}
