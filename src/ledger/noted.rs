//! What the entries say of the vaults of keys, so that keys that are older than the ledger are
//! refused: they would open what the ledger says is destroyed, and give numbers a second time.
//!
//! A write of a register is noted before it happens, and may fail right after. That it happened is
//! certain when the next one is noted as its successor, or when the destruction that it was a part
//! of has a result. Only what is certain is asked for, so that a cut is never taken for a fraud.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::words::{Keys, Phase, Vault, Verification};
use crate::keys::witness::Known;

/// A state of a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stand {
    generation: u64,
    vek_epoch: u64,
}

/// What is known of one vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The newest write that happened for certain.
    sure: Stand,
    /// The last one that was noted.
    last: Stand,
    /// The last one that began a VEK epoch, and the keys that went with it.
    turn: (Stand, Keys),
    /// Above every number that a key was given.
    next_key: u64,
}

/// What is known of all vaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted(BTreeMap<[u8; 16], Seen>);

/// A line, as far as it matters here.
#[derive(Deserialize)]
struct Line<F> {
    fields: F,
}

#[derive(Deserialize)]
struct Write {
    vault: Vault,
    generation: u64,
    vek_epoch: u64,
    made: Keys,
    gone: Keys,
}

#[derive(Deserialize)]
struct Ended {
    keys: Keys,
    vek_after: u64,
    verification: Verification,
}

impl Noted {
    /// The next line. One that cannot be read is skipped: whoever reads all of a line finds that
    /// out.
    pub(super) fn read(&mut self, (kind, phase): (&str, Phase), line: &[u8]) {
        match (kind, phase) {
            ("register_written", Phase::Done) => {
                if let Ok(Line { fields }) = serde_json::from_slice(line) {
                    self.written(fields);
                }
            }
            ("destruction", Phase::Result) => {
                if let Ok(Line { fields }) = serde_json::from_slice(line) {
                    self.ended(&fields);
                }
            }
            // Put back from a backup, in the open: writes after it are lost, destructions are not.
            ("restore", Phase::Intent) => {
                self.0.values_mut().for_each(|seen| seen.sure.generation = 0);
            }
            _ => {}
        }
    }

    fn written(&mut self, write: Write) {
        let seen = self.0.entry(write.vault.0).or_default();
        let now = Stand { generation: write.generation, vek_epoch: write.vek_epoch };
        // It says that the register is at the one before.
        if seen.last.generation.checked_add(1) == Some(now.generation) {
            seen.sure = seen.last;
        }
        if now.vek_epoch > seen.last.vek_epoch {
            seen.turn = (now, write.gone);
        }
        seen.last = now;
        let next = write.made.ranges().last().map_or(0, |(_, last)| last.saturating_add(1));
        seen.next_key = seen.next_key.max(next);
    }

    /// The result of a destruction: the turn-over that its keys went with happened. It does not
    /// name the vault; the keys and the epoch tell which one it is.
    fn ended(&mut self, end: &Ended) {
        if !end.verification.passed || end.keys.count() == 0 {
            return;
        }
        for seen in self.0.values_mut() {
            let (turn, gone) = &seen.turn;
            if turn.vek_epoch == end.vek_after && gone.shares(&end.keys) {
                seen.sure = if turn.generation > seen.sure.generation { *turn } else { seen.sure };
            }
        }
    }

    /// Whether a register was ever written: then there are keys somewhere.
    pub fn knows_keys(&self) -> bool {
        !self.0.is_empty()
    }

    /// What the register of a vault must be at, at least.
    pub fn of(&self, vault: &[u8; 16]) -> Known {
        let Some(seen) = self.0.get(vault) else { return Known::default() };
        let Stand { generation, vek_epoch } = seen.sure;
        Known { generation, vek_epoch, next_key: seen.next_key }
    }
}
