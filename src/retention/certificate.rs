//! Certificates of destruction: made after a passed verification only, and checked offline with
//! nothing but the ledger's public key.
//!
//! A certificate is a body and a proof. The proof shows that the ledger, under a checkpoint signed
//! by its key, has an entry with the SHA-256 of the body; the body holds the proofs of the intent
//! and of the result. So the body is as good as signed, and nobody can issue one without the
//! ledger's knowing.

use super::limits::HELD_WORD;
use super::plan::{committed, digest_of, epoch_of, ground_of, keys_of, word_of_planned};
use super::run::{profile_of, rule_of};
use super::{Desk, DeskError, Inner, removal, sees};
use crate::crypto::sha256;
use crate::ledger::{
    Actor, Bucket, Digest, Entry, Event, Proof, ProofError, Recorded, VerifierKey, verify_proof,
};
use crate::model::caller::Caller;
use crate::wire::retention::certificate::{
    Backups, Body, Certificate, CertifiedLot, Checked, FORMAT, HoldCheck, Method, Vek,
};
use crate::wire::retention::rows::{Reported, RunRow};
use crate::wire::retention::view::{CertificateView, certificates_to_json};

/// Most certificates that are opened for a page of their list.
const PAGE_MAX: usize = if cfg!(test) { 3 } else { 100 };
/// Copies of the register that a search reads.
const COPIES: u64 = 2;
/// Before the names of certificates' rows.
pub(super) const ROWS: &str = "certificate/";
/// Before the name of the row of a body whose entry may not be in the ledger yet.
const DRAFT: &str = "draft/";

/// The name of a draft's row.
pub(super) fn draft_row(operation: u64) -> String {
    format!("{DRAFT}{operation:020}")
}

fn row_of(operation: u64) -> String {
    format!("{ROWS}{operation:020}")
}

/// A certificate's id.
fn id_of(operation: u64) -> String {
    format!("c{operation}")
}

fn operation_of(id: &str) -> Option<u64> {
    let operation = id.strip_prefix('c')?.parse().ok()?;
    (id_of(operation) == id).then_some(operation)
}

/// What a certificate is made of.
pub(super) struct Issue<'a> {
    pub(super) row: &'a RunRow,
    pub(super) reported: &'a Reported,
    /// The number of the intent.
    pub(super) operation: u64,
    /// The number of the result.
    pub(super) result: u64,
}

/// What the key destruction does, in the words of NIST SP 800-88.
const KEYS: &str = "cryptographic erase: the only keys that open the data were destroyed. Their \
    wrapped forms were overwritten with zeros in place in every copy of the register, the rest was \
    wrapped under a new vault epoch key, and the old one was destroyed at its home";
const DATA: &str = "sealed blocks, headers and sets that these keys opened were removed from the \
    tables and their files dropped or rewritten; the promise rests on the keys, not on this";
const MEDIUM: &str = "logical overwrite: what the medium below the file system keeps (remapped \
    sectors, snapshots, journals of the file system) is not known to this program";
const COPIES_FILE: &str = "older copies of the data and of the register open nothing of this with \
    today's root key and VEK home; together with a copy of the VEK home from before the \
    destruction and the root key they would";
const COPIES_DEVICE: &str = "older copies of the data, of the register and of the VEK home open \
    nothing of this by themselves: the root provider that \"home\" names says that it ended the \
    old vault epoch. A copy or a backup of the provider itself (of its token, its storage) from \
    before the destruction would still have it, and this program cannot know whether there is \
    one";
impl Desk {
    /// The certificates whose sites are all the caller's, from the number of an intent on: a page
    /// opens [`PAGE_MAX`] certificates, and shows those of them that are the caller's.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn certificates(&self, caller: &Caller, from: u64) -> Result<Vec<u8>, DeskError> {
        let (mut list, mut from) = (Vec::new(), from);
        for opened in 0.. {
            let Some((operation, row)) = self.0.certificate_from(from)? else { break };
            if opened == PAGE_MAX {
                return Ok(certificates_to_json(&list, Some(operation)));
            }
            let body = Certificate::parse(&row)?.body;
            if body.lots.iter().all(|lot| sees(caller, &lot.site)) {
                let (id, issued_at, lots) = (body.id, body.issued_at, body.lots.len());
                list.push(CertificateView { id, issued_at, operation, lots });
            }
            from = operation.saturating_add(1);
        }
        Ok(certificates_to_json(&list, None))
    }

    /// A certificate, byte for byte as it was issued.
    ///
    /// # Errors
    /// [`DeskError::NotFound`], also for one with a site that is not the caller's.
    pub fn certificate(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, DeskError> {
        let name = row_of(operation_of(id).ok_or(DeskError::NotFound)?);
        let rows = self.0.vault.load_rows(&name)?;
        let (_, row) = rows.into_iter().next().ok_or(DeskError::NotFound)?;
        let body = Certificate::parse(&row)?.body;
        let own = body.lots.iter().all(|lot| sees(caller, &lot.site));
        if own { Ok(row) } else { Err(DeskError::NotFound) }
    }
}

impl Inner {
    /// The first certificate of an intent of this number or a later one: the number and its bytes.
    pub(super) fn certificate_from(
        &self,
        operation: u64,
    ) -> Result<Option<(u64, Vec<u8>)>, DeskError> {
        let Some((name, row)) = self.vault.load_row_from(ROWS, &row_of(operation))? else {
            return Ok(None);
        };
        let number = name.strip_prefix(ROWS).and_then(|number| number.parse().ok());
        Ok(Some((number.ok_or(DeskError::Failed)?, row)))
    }

    /// Issues the certificate of a destruction whose result is in the ledger; its id.
    pub(super) async fn certify(&self, issue: Issue<'_>) -> Result<String, DeskError> {
        let operation = issue.operation;
        if !self.vault.load_rows(&row_of(operation))?.is_empty() {
            return Ok(id_of(operation));
        }
        // The bytes are kept before the ledger has their digest: they would not come out alike.
        let draft = self.vault.load_rows(&draft_row(operation))?.into_iter().next();
        let body = match draft {
            Some((_, bytes)) => Body::parse(&bytes)?,
            None => {
                let body = self.body(&issue).await?;
                self.vault.put_row(draft_row(operation), body.to_bytes()?).await?;
                body
            }
        };
        let digest = Digest(sha256(&[&body.to_bytes()?]));
        let there = self.find(issue.result, move |entry| {
            entry.event == Event::CertificateIssued { destruction: operation, digest }
        });
        let index = match there.await? {
            Some(entry) => entry.number,
            None => {
                let event = Event::CertificateIssued { destruction: operation, digest };
                self.append(Entry::new(body.issued_at, Actor::Server, event)).await?.index
            }
        };
        let issued = self.ask(move |ledger| ledger.proof(index)).await?;
        let certificate = Certificate { body, issued };
        self.vault.put_row(row_of(operation), certificate.to_bytes()?).await?;
        Ok(id_of(operation))
    }

    /// The lots of a certificate.
    fn certified_of(
        &self,
        row: &RunRow,
        reported: &Reported,
    ) -> Result<Vec<CertifiedLot>, DeskError> {
        let (profile, policy) = (profile_of(row)?, self.policy_at(row.begun_at));
        let removal = row.removal.as_deref().and_then(removal::rule_of).map(|(_, ground)| ground);
        let lots = row.lots.iter().enumerate().map(|(at, planned)| CertifiedLot {
            class: word_of_planned(planned).to_owned(),
            site: planned.site.clone(),
            epoch: epoch_of(planned.lot),
            rule: rule_of(row, profile, planned.lot).to_owned(),
            ground: removal.unwrap_or(ground_of(policy, planned.lot)).to_owned(),
            due: planned.due,
            records: reported.records.as_ref().and_then(|records| *records.get(at)?),
            keys: planned.keys.clone(),
            released_holds: planned.released_holds.clone(),
            hold: planned.hold,
            held_by: planned.heirs.clone(),
        });
        Ok(lots.collect())
    }

    async fn body(&self, issue: &Issue<'_>) -> Result<Body, DeskError> {
        let Issue { row, reported, operation, result } = issue;
        let (operation, result) = (*operation, *result);
        let intent = self.ask(move |ledger| ledger.proof(operation)).await?;
        let proof = self.ask(move |ledger| ledger.proof(result)).await?;
        let backups = self.backups_before(operation, self.rows_from(row), self.dead(row)?);
        let (backups, register) = (backups.await?, reported.register.ok_or(DeskError::Failed)?);
        if register.found > 0 {
            return Err(DeskError::Failed);
        }
        let covered = row.lots.iter().filter(|planned| !planned.heirs.is_empty()).count() as u64;
        let check = |open| HoldCheck { checked_at: row.begun_at, open, covered };
        let lots = self.certified_of(row, reported)?;
        let copies = if reported.home_copy_opens { COPIES_FILE } else { COPIES_DEVICE };
        let body = Body {
            format: FORMAT.to_owned(),
            id: id_of(operation),
            ledger: self.ledger.verifier_key().name().to_owned(),
            issued_at: reported.ended_at,
            profile: row.profile.clone(),
            policy: row.policy,
            initiated_by: row.by.clone(),
            requested_by: row.requested_by.clone(),
            begun_at: row.begun_at,
            ended_at: reported.ended_at,
            hold_check: row.open_holds.map(check),
            lots,
            vek: Vek {
                destroyed_epoch: reported.old_epoch,
                new_epoch: reported.new_epoch,
                register_generation: reported.generation,
                home_copy_opens: reported.home_copy_opens,
                home: Some(self.vault.vek_home()),
            },
            backups: Some(backups),
            method: Method {
                keys: KEYS.to_owned(),
                data: DATA.to_owned(),
                medium: MEDIUM.to_owned(),
                copies: copies.to_owned(),
            },
            verification: Checked {
                passed: reported.passed,
                keys_tried: reported.keys_tried,
                files_removed: reported.files_removed,
                bytes_reclaimed: reported.bytes_reclaimed,
                files_searched: Some(reported.files_searched),
                register: Some(register),
            },
            limits: self.limits_of(row, reported)?,
            intent,
            result: proof,
        };
        Ok(if body.hold_check.is_some() { body } else { body.in_format_2() })
    }
}

/// Why a certificate certifies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The key file.
    #[error("the key is not a verifier key of a ledger; take verifier.key of the ledger directory")]
    Key,
    /// Another form, or another spelling.
    #[error(
        "the file is not a certificate in the form that the server issued; get it anew, byte for \
         byte"
    )]
    Form,
    /// Of another ledger.
    #[error(
        "the certificate is of another ledger than the key; take the verifier.key of the server \
         that issued it"
    )]
    OtherLedger,
    /// A proof in it.
    #[error(
        "the {0} that the certificate holds does not prove anything: {1}; fetch the certificate \
         anew, and if it is the same, ask whoever runs the server to verify the ledger"
    )]
    Proof(&'static str, ProofError),
    /// The digest is another.
    #[error(
        "the ledger has another digest of this certificate: something in it was changed; fetch it \
         anew from GET /v1/certificates, and trust no copy that differs"
    )]
    Digest,
    /// It says something else than the ledger.
    #[error(
        "the certificate does not say what the ledger's entries say: {0} differ; it certifies \
         nothing, ask whoever runs the server how it came about"
    )]
    Differs(&'static str),
    /// It says two things.
    #[error(
        "the certificate does not agree with itself: {0} differ; it certifies nothing, ask whoever \
         runs the server how it came about"
    )]
    Itself(&'static str),
    /// Not issued after a passed verification.
    #[error(
        "the destruction's verification did not pass, so this certifies nothing; the next run \
         tries the destruction again and issues a certificate of its own: fetch that one"
    )]
    NotPassed,
}

/// Checks a certificate with nothing but the ledger's public key; what it says.
///
/// # Errors
/// When it certifies nothing.
pub fn verify(text: &[u8], key: &str) -> Result<Body, CertificateError> {
    let key = VerifierKey::parse(key).ok_or(CertificateError::Key)?;
    let certificate = Certificate::parse(text).map_err(|_| CertificateError::Form)?;
    let Certificate { body, issued } = certificate;
    let proven = |what, proof: &Proof| {
        verify_proof(proof, &key).map_err(|error| CertificateError::Proof(what, error))
    };
    let issued = proven("entry of its issue", &issued)?;
    let intent = proven("entry of the intent", &body.intent)?;
    let result = proven("entry of the result", &body.result)?;
    if !body.is_whole() {
        return Err(CertificateError::Form);
    }
    if body.ledger != key.name() {
        return Err(CertificateError::OtherLedger);
    }
    let bytes = body.to_bytes().map_err(|_| CertificateError::Form)?;
    let digest = Digest(sha256(&[&bytes]));
    match issued.event {
        Event::CertificateIssued { destruction, digest: said }
            if destruction == intent.number && said == digest => {}
        _ => return Err(CertificateError::Digest),
    }
    agrees_with_itself(&body, intent.number)?;
    agrees_with_intent(&body, &intent)?;
    agrees_with_result(&body, &intent, &result)?;
    Ok(body)
}

/// What format 3 says twice, or of what nothing may be there.
fn agrees_with_itself(body: &Body, intent: u64) -> Result<(), CertificateError> {
    let held = body.lots.iter().filter(|lot| !lot.held_by.is_empty()).count() as u64;
    let holds = body.hold_check.is_none_or(|check| {
        // A hold may cover many lots, and a lot may be on many holds.
        let any = check.open > 0 || held == 0;
        check.covered == held && any && check.checked_at <= body.begun_at
    });
    let keys: usize = body.lots.iter().map(|lot| lot.keys.len()).sum();
    let register = body.verification.register.is_none_or(|search| {
        let whole = search.copies == COPIES && search.found == 0;
        whole && search.keys == keys as u64 && search.wrapped <= search.keys
    });
    let listed = |backups: &Backups| {
        let covered = backups.covered.as_deref().unwrap_or_default();
        let rising = covered.windows(2).all(|two| two[0].operation < two[1].operation);
        let before = covered.iter().all(|backup| backup.operation < intent);
        // A living key of a hold opens what a backup has of its lot.
        let dead = backups.dead.as_deref();
        let open = dead.is_none_or(|dead| held == 0 || dead.contains(HELD_WORD));
        rising && before && covered.len() as u64 <= backups.made && open
    };
    let backups = body.backups.as_ref().is_none_or(listed);
    for (same, what) in [(holds, "holds"), (register, "keys in the register"), (backups, "backups")]
    {
        if !same {
            return Err(CertificateError::Itself(what));
        }
    }
    Ok(())
}

fn agrees_with_intent(body: &Body, intent: &Recorded) -> Result<(), CertificateError> {
    let Event::DestructionIntent { profile, buckets: said, keys, commitments } = &intent.event
    else {
        return Err(CertificateError::Differs("intent and operation"));
    };
    let own = committed(body.lots.iter().map(|lot| lot.keys.clone()));
    let checks = [
        (body.id == id_of(intent.number), "ids"),
        (body.profile == profile.as_str(), "profiles"),
        (body.initiated_by == intent.actor.to_string(), "initiators"),
        (body.begun_at == intent.time, "times"),
        (lines_of(body) == flat(said), "lots"),
        (keys_of(&own) == *keys, "keys"),
        (digest_of(&own) == *commitments, "commitments"),
    ];
    differing(&checks)
}

fn agrees_with_result(
    body: &Body,
    intent: &Recorded,
    result: &Recorded,
) -> Result<(), CertificateError> {
    let Event::DestructionResult { buckets, records, keys, vek_before, vek_after, verification } =
        &result.event
    else {
        return Err(CertificateError::Differs("result and operation"));
    };
    if !(verification.passed && body.verification.passed) {
        return Err(CertificateError::NotPassed);
    }
    let own: usize = body.lots.iter().map(|lot| lot.keys.len()).sum();
    let own = own as u64;
    let counted: u64 = body.lots.iter().filter_map(|lot| lot.records).sum();
    let checks = [
        (result.operation == intent.number, "operations"),
        (*buckets == body.lots.len() as u64, "lots"),
        (*records == counted, "records"),
        (keys.count() == own, "keys"),
        (verification.opened_none_of == body.verification.keys_tried, "trials"),
        (
            body.verification.files_searched.is_none_or(|own| own == verification.files_searched),
            "searched files",
        ),
        (*vek_before == body.vek.destroyed_epoch && *vek_after == body.vek.new_epoch, "epochs"),
        (result.time == body.ended_at, "times"),
    ];
    differing(&checks)
}

fn differing(checks: &[(bool, &'static str)]) -> Result<(), CertificateError> {
    match checks.iter().find(|(same, _)| !same) {
        Some((_, what)) => Err(CertificateError::Differs(what)),
        None => Ok(()),
    }
}

/// Each lot as one line, in order.
fn lines_of(body: &Body) -> Vec<String> {
    let line = |lot: &CertifiedLot| {
        format!("{} {} {} {} {}", lot.class, lot.epoch, lot.rule, lot.due, lot.site)
    };
    let mut lines: Vec<String> = body.lots.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

/// The lots of an intent likewise.
fn flat(said: &[Bucket]) -> Vec<String> {
    let lines = said.iter().flat_map(|bucket| {
        let Bucket { class, epoch, rule, due, sites } = bucket;
        sites.iter().map(move |site| format!("{class} {epoch} {rule} {due} {site}"))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}
