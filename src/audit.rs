//! The desk of the ledger: what others here do is written down, and an auditor reads it.
//!
//! Invariants: an entry is durable before anything that it says is done or answered, so that
//! nothing is done without its entry (L1; the other way round, an entry may stand for something
//! that failed right after it); a reading of entries is itself an entry. After a failed write the
//! ledger takes nothing more, and the process must stop ([`Audit::failed`]).

#[cfg(test)]
pub mod fake;

use std::sync::Arc;

use tokio::sync::watch;

use crate::ledger::{Actor, Credential, Digest, Entry, Event, Ledger, LedgerError, Receipt, Word};
use crate::model::caller::Caller;
use crate::model::time::Clock;
use crate::wire::ledger::{LedgerHead, LedgerPage};

/// The word of a list of entries in a `privileged_read`.
const LIST: Word = Word::of("ledger");
/// The word of an entry's proof in a `privileged_read`.
const PROOF: Word = Word::of("ledger_proof");

/// Why a question about the ledger has no answer, or something was not written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// There is no such entry.
    #[error("there is no such entry")]
    NotFound,
    /// The ledger could not be written, now or before; the process stops.
    #[error("the ledger cannot be written")]
    Stopped,
    /// What is on the disk is not what was signed, or cannot be read; the log says more.
    #[error("the ledger cannot be read")]
    Failed,
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Audit {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    failure: Arc<watch::Sender<Option<String>>>,
}

impl Audit {
    /// A desk over a ledger and a clock.
    pub fn new(ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Self {
        Self { ledger, clock, failure: Arc::new(watch::Sender::new(None)) }
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Writes down what happens. It waits for the disk: not for the reactor's threads.
    ///
    /// # Errors
    /// When the ledger cannot be written; [`Audit::failed`] then answers.
    pub fn note_now(&self, actor: Actor, event: Event) -> Result<Receipt, AuditError> {
        let entry = Entry::new(self.clock.now(), actor, event);
        self.ledger.append(entry).map_err(|error| self.refused(&error))
    }

    /// The same for the reactor's threads.
    ///
    /// # Errors
    /// As [`Audit::note_now`].
    pub async fn note(&self, actor: Actor, event: Event) -> Result<Receipt, AuditError> {
        self.off_reactor(move |desk| desk.note_now(actor, event)).await
    }

    /// Entries from a number on, at most `limit`, as JSON.
    ///
    /// # Errors
    /// [`AuditError`]; numbers beyond the end are an empty list.
    pub async fn list(
        &self,
        caller: &Caller,
        from: u64,
        limit: u64,
    ) -> Result<Vec<u8>, AuditError> {
        let actor = actor(caller);
        let answer = self.off_reactor(move |desk| {
            desk.note_now(actor, Event::PrivilegedRead { route: LIST, site: None })?;
            let lines = desk.ledger.read(from, limit).map_err(|error| desk.refused(&error))?;
            let size = desk.ledger.head().map_err(|error| desk.refused(&error))?.size;
            Ok(LedgerPage { from, size, lines })
        });
        Ok(answer.await?.to_json())
    }

    /// The last checkpoint.
    ///
    /// # Errors
    /// [`AuditError::Stopped`] after a failed write.
    pub fn head(&self) -> Result<LedgerHead, AuditError> {
        let head = self.ledger.head().map_err(|error| self.refused(&error))?;
        Ok(LedgerHead {
            origin: head.origin.clone(),
            size: head.size,
            root: Digest(head.root).to_string(),
            checkpoint: head.to_string(),
            verifier_key: self.ledger.verifier_key().to_string(),
        })
    }

    /// An entry with its proof under the last checkpoint, as JSON.
    ///
    /// # Errors
    /// [`AuditError::NotFound`] when there is no such entry.
    pub async fn proof(&self, caller: &Caller, index: u64) -> Result<Vec<u8>, AuditError> {
        self.proof_of(caller, index, None).await
    }

    /// The same under the checkpoint of so many entries, which the caller has: it is not in the
    /// answer. So several entries can be proved under one checkpoint.
    ///
    /// # Errors
    /// [`AuditError::NotFound`] when there is no such entry, or there are fewer entries.
    pub async fn proof_under(
        &self,
        caller: &Caller,
        index: u64,
        size: u64,
    ) -> Result<Vec<u8>, AuditError> {
        self.proof_of(caller, index, Some(size)).await
    }

    async fn proof_of(
        &self,
        caller: &Caller,
        index: u64,
        under: Option<u64>,
    ) -> Result<Vec<u8>, AuditError> {
        let actor = actor(caller);
        let answer = self.off_reactor(move |desk| {
            let size = desk.ledger.head().map_err(|error| desk.refused(&error))?.size;
            if under.unwrap_or(size).min(size) <= index || under.is_some_and(|under| under > size) {
                return Err(AuditError::NotFound);
            }
            desk.note_now(actor, Event::PrivilegedRead { route: PROOF, site: None })?;
            let proof = match under {
                None => desk.ledger.proof(index),
                Some(size) => desk.ledger.proof_under(index, size),
            };
            let proof = proof.map_err(|error| desk.refused(&error))?;
            proof.to_json().map_err(|_| AuditError::Failed)
        });
        answer.await.map(String::into_bytes)
    }

    /// Looks after the second copy of the checkpoints; its alarms are entries.
    ///
    /// # Errors
    /// As [`Audit::note_now`].
    pub async fn watch_second_copy(&self) -> Result<(), AuditError> {
        let watch = |desk: &Self| {
            let watched = desk.ledger.watch_second_copy(desk.clock.now());
            watched.map_err(|error| desk.refused(&error))
        };
        self.off_reactor(watch).await
    }

    /// Says that something could not be written down that had to be; the process must end.
    pub fn fail(&self, sentence: &str) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| sentence.to_owned());
            first
        });
    }

    /// Waits until the ledger fails; the sentence says why. The process must then end.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(sentence) => sentence.clone().unwrap_or_default(),
            // The sender lives as long as this desk.
            Err(_) => std::future::pending().await,
        }
    }

    async fn off_reactor<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let desk = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&desk)).await;
        // An error means that the work ended with a panic, which has been logged.
        done.unwrap_or(Err(AuditError::Failed))
    }

    fn refused(&self, error: &LedgerError) -> AuditError {
        match error {
            LedgerError::Beyond { .. } => AuditError::NotFound,
            LedgerError::Failed(_) => {
                self.fail(&error.to_string());
                AuditError::Stopped
            }
            other => {
                tracing::error!(error = %other, "the ledger refused");
                AuditError::Failed
            }
        }
    }
}

/// Who a caller is in the ledger. Every credential's key id has the form of one.
pub fn actor(caller: &Caller) -> Actor {
    Credential::parse(&caller.key_id).map_or(Actor::Server, Actor::Credential)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::caller;
    use crate::ledger::{Recorded, VerifierKey, verify_proof};
    use crate::model::caller::{Role, SiteScope};
    use serde_json::Value;

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[tokio::test]
    async fn a_reading_is_an_entry_and_in_its_own_answer() {
        let (_dir, desk) = fake::audit();
        let auditor = caller(Role::Auditor, SiteScope::All);
        let event = Event::ServerStarted { version: Word::of("1") };
        desk.note(Actor::Server, event.clone()).await.unwrap();
        let page = json(&desk.list(&auditor, 0, 10).await.unwrap());
        assert_eq!((page["size"].as_u64(), page.get("next")), (Some(2), None));
        let items = page["items"].as_array().unwrap();
        let read = |at: usize| Recorded::decode(items[at].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!((items.len(), read(0).event), (2, event));
        assert_eq!(read(1).event, Event::PrivilegedRead { route: LIST, site: None });
        assert_eq!(read(1).actor, actor(&auditor));
        let page = json(&desk.list(&auditor, 1, 1).await.unwrap());
        assert_eq!((page["next"].as_u64(), page["from"].as_u64()), (Some(2), Some(1)));
        let page = json(&desk.list(&auditor, u64::MAX, 1).await.unwrap());
        assert_eq!(page["items"].as_array().map(Vec::len), Some(0));
    }

    #[tokio::test]
    async fn a_proof_stands_alone_and_the_head_is_signed() {
        let (_dir, desk) = fake::audit();
        let auditor = caller(Role::Auditor, SiteScope::All);
        assert_eq!(desk.proof(&auditor, 0).await, Err(AuditError::NotFound));
        assert_eq!(desk.head().unwrap().size, 0, "what is not there is not read");
        let event = Event::ServerStarted { version: Word::of("1") };
        desk.note(Actor::Server, event.clone()).await.unwrap();
        let proof = desk.proof(&auditor, 0).await.unwrap();
        let proof = crate::ledger::Proof::parse(&proof).unwrap();
        // Under that checkpoint, too, when others have come since.
        let under = desk.proof_under(&auditor, 1, proof.size).await.unwrap();
        let under = crate::ledger::Proof::parse(&under).unwrap();
        assert_eq!((under.size, under.checkpoint.as_str()), (2, ""), "the caller has it");
        for (index, size) in [(2, 2), (0, 0), (0, 9), (9, 9)] {
            let refused = desk.proof_under(&auditor, index, size).await;
            assert_eq!(refused, Err(AuditError::NotFound), "{index} {size}");
        }
        let key = VerifierKey::parse(&desk.head().unwrap().verifier_key).unwrap();
        let under = crate::ledger::Proof { checkpoint: proof.checkpoint.clone(), ..under };
        let read = Event::PrivilegedRead { route: PROOF, site: None };
        assert_eq!(verify_proof(&under, &key).unwrap().event, read);
        let head = desk.head().unwrap();
        let key = VerifierKey::parse(&head.verifier_key).unwrap();
        assert_eq!(verify_proof(&proof, &key).unwrap().event, event);
        assert_eq!((head.size, proof.size), (3, 2));
        let note = crate::ledger::Checkpoint::parse(head.checkpoint.as_bytes()).unwrap();
        assert!(note.is_by(&key) && Digest(note.root).to_string() == head.root);
    }

    #[tokio::test]
    async fn a_ledger_that_cannot_be_written_takes_nothing_more_and_says_so() {
        let (dir, desk) = fake::audit();
        drop(desk);
        // Reads as empty, and has no room.
        let entries = dir.path().join("ledger").join(crate::ledger::ENTRIES);
        std::fs::remove_file(&entries).unwrap();
        std::os::unix::fs::symlink("/dev/full", &entries).unwrap();
        let desk = fake::open(dir.path());
        let auditor = caller(Role::Auditor, SiteScope::All);
        assert_eq!(desk.list(&auditor, 0, 1).await, Err(AuditError::Stopped));
        assert!(desk.failed().await.contains("writing the ledger failed"));
        let event = Event::ServerStarted { version: Word::of("1") };
        assert_eq!(desk.note(Actor::Server, event).await.err(), Some(AuditError::Stopped));
        assert!(desk.head().is_err(), "nothing is answered from it");
        assert_eq!(std::fs::metadata("/dev/full").unwrap().len(), 0);
    }
}
