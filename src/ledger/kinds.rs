//! The kinds of operations, each with its fields. To add one: a row here, and a row in
//! `docs/FORMATS.md`; nothing else. A kind is never changed once it was released: old entries must
//! stay readable, so another set of fields is another kind.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words::{
    Alarm, Bucket, Credential, Digest, Epoch, Keys, Note, Phase, Vault, Verification, Word, maybe,
    text, texts,
};
use crate::model::ids::SiteId;
use crate::model::time::{Day, Month, Timestamp};

/// Declares the events: variant, kind as it is written, phase, fields in the order of writing.
macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $name:ident $kind:literal $phase:ident {
            $($(#[$about:meta])* $field:ident : $type:ty,)*
        }
    )*) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        #[allow(missing_docs, reason = "the field of most kinds says what it is by its name")]
        pub enum Event {$(
            $(#[$doc])*
            $name {$($(#[$about])* $field: $type,)*},
        )*}

        impl Event {
            /// Every kind and phase, as they are written.
            pub const KINDS: &'static [(&'static str, Phase)] = &[$(($kind, Phase::$phase),)*];

            /// The kind as it is written; intent and result of an operation share it.
            pub fn kind(&self) -> &'static str {
                match self {$(Self::$name { .. } => $kind,)*}
            }

            /// Whether it is a whole operation, its beginning or its end.
            pub fn phase(&self) -> Phase {
                match self {$(Self::$name { .. } => Phase::$phase,)*}
            }

            /// The event of a kind and a phase from its fields; `None` for an unknown kind and for
            /// fields of another form.
            pub(super) fn read(kind: &str, phase: Phase, fields: Value) -> Option<Self> {
                match (kind, phase) {
                    $(($kind, Phase::$phase) => {
                        #[derive(Deserialize)]
                        #[serde(deny_unknown_fields)]
                        struct Fields {$($(#[$about])* $field: $type,)*}
                        let Fields { $($field,)* } = serde_json::from_value(fields).ok()?;
                        Some(Self::$name { $($field,)* })
                    })*
                    _ => None,
                }
            }
        }
    };
}

#[rustfmt::skip]
kinds! {
    /// The server started.
    ServerStarted "server_started" Done {
        version: Word,
    }
    /// The key register, or that of the holds, is about to be written.
    RegisterWritten "register_written" Done {
        vault: Vault,
        generation: u64,
        vek_epoch: u64,
        made: Keys,
        gone: Keys,
    }
    /// A destruction begins.
    DestructionIntent "destruction" Intent {
        profile: Word,
        buckets: Vec<Bucket>,
        keys: Keys,
        /// SHA-256 over number (8 bytes, big-endian) and commitment of each key, in their order.
        commitments: Digest,
    }
    /// A destruction has ended.
    DestructionResult "destruction" Result {
        buckets: u64,
        records: u64,
        keys: Keys,
        vek_before: u64,
        vek_after: u64,
        verification: Verification,
    }
    /// Data is kept beyond its time.
    HoldOpened "hold_opened" Done {
        hold: u64,
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "texts")] months: Vec<Month>,
        classes: Vec<Word>,
        ground: Word,
        #[serde(with = "text")] review_at: Timestamp,
        /// Nothing is written here any more: what somebody wrote freely is in the hold's row.
        reason: Option<Note>,
    }
    /// Somebody looked at a hold, and it stays until it is looked at again.
    HoldReviewed "hold_reviewed" Done {
        hold: u64,
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] review_at: Timestamp,
    }
    /// The first of two people wants a hold to end.
    HoldReleaseRequested "hold_release_requested" Done {
        hold: u64,
        #[serde(with = "text")] site: SiteId,
        reason: Option<Note>,
    }
    /// The second of two people ended a hold.
    HoldReleased "hold_released" Done {
        hold: u64,
        #[serde(with = "text")] site: SiteId,
        requested_by: Credential,
    }
    /// What is on hold was copied to hold storage, because the rest of it is destroyed.
    HoldMoved "hold_moved" Done {
        hold: u64,
        #[serde(with = "text")] site: SiteId,
        class: Word,
        epoch: Epoch,
        records: Option<u64>,
    }
    /// Records that a hold keeps are lost: they were moved after the backup that was put back.
    HoldLost "hold_lost" Done {
        hold: u64,
        #[serde(with = "text")] site: SiteId,
        class: Word,
        epoch: Epoch,
    }
    /// A hold, or its release, was refused.
    HoldRefused "hold_refused" Done {
        hold: Option<u64>,
        #[serde(with = "text")] site: SiteId,
        why: Word,
    }
    /// A site's collection has ended.
    SiteTerminated "site_terminated" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] terminated_at: Timestamp,
        /// Nothing is written here any more.
        reason: Option<Note>,
    }
    /// The first of two people wants a site's collection to end; that of the end is the second.
    TerminationRequested "termination_requested" Done {
        #[serde(with = "text")] site: SiteId,
    }
    /// A site's own period of records is to be another one. One that keeps them longer holds from
    /// the first month on that begins thirty days later, any other from the next month on.
    SiteRetention "site_retention" Done {
        #[serde(with = "text")] site: SiteId,
        /// `null` for that of the policy.
        records_days: Option<u32>,
    }
    /// The first of two people wants a month to be removed before it is due.
    RemovalRequested "removal_requested" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] month: Month,
        reason: Word,
        /// Whether records of the month that come later are to be refused.
        late_refused: bool,
    }
    /// The second of two people wants it too; the intent of the destruction follows.
    RemovalConfirmed "removal_confirmed" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] month: Month,
        reason: Word,
        requested_by: Credential,
    }
    /// A retention policy is in force, whole: data that is put back takes it from here.
    PolicyAdopted "policy_adopted" Done {
        digest: Digest,
        profile: Word,
        #[serde(with = "text")] published: Day,
        #[serde(with = "text")] effective: Day,
        material: bool,
        c2_months: Option<u32>,
        c3_objection_days: Option<u32>,
        c7_months: Option<u32>,
        /// From when on it holds: its effective day, or when its notice was over.
        #[serde(with = "text")] in_force_from: Day,
    }
    /// A retention policy was taken up, as builds before `policy_adopted` said it.
    PolicyLoaded "policy_loaded" Done {
        digest: Digest,
        profile: Word,
        #[serde(with = "text")] published: Day,
        #[serde(with = "text")] effective: Day,
    }
    /// The first of two people says that a jump of the clock is right; `clock_confirmed` is the
    /// second.
    ClockConfirmationRequested "clock_confirmation_requested" Done {
        #[serde(with = "text")] from: Timestamp,
        #[serde(with = "text")] to: Timestamp,
    }
    /// A jump of the clock was confirmed.
    ClockConfirmed "clock_confirmed" Done {
        #[serde(with = "text")] from: Timestamp,
        #[serde(with = "text")] to: Timestamp,
    }
    /// A backup begins.
    BackupIntent "backup" Intent {
        register_generation: u64,
    }
    /// A backup has ended.
    BackupResult "backup" Result {
        /// `made`, `failed` or `cut`.
        outcome: Word,
        #[serde(with = "maybe")] barrier: Option<Timestamp>,
        /// SHA-256 of its manifest.
        manifest: Option<Digest>,
        files: u64,
        bytes: u64,
    }
    /// Data that was put back from a backup is taken over.
    RestoreIntent "restore" Intent {
        /// The number of the backup's intent.
        backup: u64,
        /// What was acknowledged from then on is not in the data.
        #[serde(with = "text")] lost_from: Timestamp,
        /// The server ran at least until then.
        #[serde(with = "text")] lost_until: Timestamp,
    }
    /// Data that was put back is like any other now.
    RestoreResult "restore" Result {
        /// Lots whose destruction was done again.
        lots: u64,
        tokens_revoked: u64,
        sites_terminated: u64,
        holds: u64,
    }
    /// The erasure of one person begins; who it is stands nowhere.
    ErasureIntent "erasure" Intent {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "texts")] months: Vec<Month>,
        ground: Word,
        /// Whether later records of the person are not kept either.
        suppressed: bool,
    }
    /// The erasure of one person has ended.
    ErasureResult "erasure" Result {
        #[serde(with = "text")] site: SiteId,
        /// `erased`, `nothing`, `cut` or `repeated`.
        outcome: Word,
        blocks: u64,
        records: u64,
        keys: Keys,
    }
    /// A backfill was made; its number is that of this entry.
    BackfillMade "backfill_made" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] from: Timestamp,
        #[serde(with = "text")] to: Timestamp,
        /// Always the same words: what somebody wrote freely is in the backfill's row.
        reason: Note,
    }
    /// A backfill is about to be counted.
    BackfillCloseIntent "backfill_closed" Intent {
        backfill: u64,
        #[serde(with = "text")] site: SiteId,
    }
    /// A backfill was counted, or was not.
    BackfillCloseResult "backfill_closed" Result {
        backfill: u64,
        /// `counted` or `cut`.
        outcome: Word,
        accepted: u64,
        duplicates: u64,
        corrected: u64,
        not_retained: u64,
        too_old: u64,
    }
    /// A backfill will not be counted, and its records go.
    BackfillAbandonIntent "backfill_abandoned" Intent {
        backfill: u64,
        #[serde(with = "text")] site: SiteId,
        /// `operator`, `expired`, `site_terminated`, `restored` or `due`.
        why: Word,
    }
    /// The records of an abandoned backfill are gone, or it was not abandoned.
    BackfillAbandonResult "backfill_abandoned" Result {
        backfill: u64,
        /// `destroyed` or `cut`.
        outcome: Word,
        records: u64,
        keys: Keys,
    }
    /// A statement was signed.
    StatementIssued "statement_issued" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] month: Month,
        version: u32,
        digest: Digest,
    }
    /// The statements of a site's month were removed, because they are due.
    StatementRemoved "statement_removed" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] month: Month,
        /// The last version; those before it go with it.
        version: u32,
    }
    /// The figures of a month of these sites were removed, because they are due.
    FiguresRemoved "figures_removed" Done {
        #[serde(with = "text")] month: Month,
        #[serde(with = "texts")] sites: Vec<SiteId>,
    }
    /// The row of a site that ended was removed, because it is due.
    SiteRemoved "site_removed" Done {
        #[serde(with = "text")] site: SiteId,
    }
    /// A customer's list was compared with a statement; counts that were not told are not here.
    StatementChallenged "statement_challenged" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] month: Month,
        /// Distinct users on the list.
        listed: u64,
        counted: Option<u64>,
        counted_not_listed: Option<u64>,
    }
    /// The same of a version that bills who came after the close.
    RestatementChallenged "restatement_challenged" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] month: Month,
        version: u32,
        /// Distinct users on the list.
        listed: u64,
        counted: Option<u64>,
        counted_not_listed: Option<u64>,
        /// Listed users among those who came late.
        counted_late: Option<u64>,
    }
    /// A list was refused, because the budget of the month is spent.
    ChallengeRefused "challenge_refused" Done {
        #[serde(with = "text")] site: SiteId,
        #[serde(with = "text")] month: Month,
        /// Lists that were answered before.
        answered: u64,
    }
    /// A certificate of a destruction was signed.
    CertificateIssued "certificate_issued" Done {
        destruction: u64,
        digest: Digest,
    }
    /// Somebody read what few may read.
    PrivilegedRead "privileged_read" Done {
        route: Word,
        #[serde(with = "maybe")] site: Option<SiteId>,
    }
    /// A question about a person was refused, because the site had asked too many that day.
    OverBudget "over_budget" Done {
        route: Word,
        #[serde(with = "text")] site: SiteId,
        limit: u64,
    }
    /// Evidence was handed out: a statement of what is kept, by its SHA-256.
    EvidenceExported "evidence_exported" Done {
        digest: Digest,
        all_sites: bool,
    }
    /// A token was made.
    TokenIssued "token_issued" Done {
        token: Credential,
        role: Word,
        all_sites: bool,
        #[serde(with = "texts")] sites: Vec<SiteId>,
        #[serde(with = "text")] expires_at: Timestamp,
    }
    /// A token was revoked.
    TokenRevoked "token_revoked" Done {
        token: Credential,
    }
    /// An endpoint will be told of events. Its address may hold a secret; its host does not.
    WebhookMade "webhook_made" Done {
        webhook: u64,
        host: Note,
        events: Vec<Word>,
        all_sites: bool,
        #[serde(with = "texts")] sites: Vec<SiteId>,
    }
    /// An endpoint got a new secret.
    WebhookSecretReplaced "webhook_secret_replaced" Done {
        webhook: u64,
    }
    /// An endpoint is told nothing more.
    WebhookRemoved "webhook_removed" Done {
        webhook: u64,
    }
    /// Somebody should look.
    Alarm "alarm" Done {
        reason: Alarm,
    }
}
