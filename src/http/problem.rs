//! THE table of errors to the outside: kind → type, status, title, retry advice. Constant texts
//! only; what a caller sent never comes back (P1).

use hyper::StatusCode;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};

use super::answer::{Answer, answer, set};
use super::body::BodyError;
use super::inflate;
use crate::admin::{AdminError, AuthError};
use crate::audit::AuditError;
use crate::backfill::BackfillError;
use crate::backup::BackupError;
use crate::billing::BillingError;
use crate::model::site::SiteConflict;
use crate::reconciliation::ReconciliationError;
use crate::retention::DeskError;
use crate::subjects::SubjectError;
use crate::usage::UsageError;
use crate::webhooks::HookError;
use crate::wire::fault::Flaw;
use crate::wire::problem::Problem;

pub use crate::wire::problem::PROBLEM_JSON;

/// Declares the kinds with their name (the last part of the type URI), status, title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $status:ident, $title:literal;)+) => {
        /// Every way in which a request can be refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind,)+ }

        impl Kind {
            /// All kinds.
            #[cfg(test)]
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            const fn row(self) -> (&'static str, StatusCode, &'static str) {
                match self { $(Self::$kind => ($name, StatusCode::$status, $title),)+ }
            }
        }
    };
}

kinds! {
    /// The body as a whole cannot be read.
    Unreadable = "unreadable", BAD_REQUEST, "The body cannot be read.";
    /// No host, or more than one.
    BadHost = "bad-host", BAD_REQUEST, "A request of HTTP/1.1 names its host once.";
    /// The content coding is broken.
    BadCoding = "bad-coding", BAD_REQUEST, "The content coding of the body is broken.";
    /// The query string cannot be read.
    BadQuery = "bad-query", BAD_REQUEST, "The query has an unknown, repeated or unfit parameter.";
    /// A month is none.
    BadMonth = "bad-month", BAD_REQUEST, "A month is written YYYY-MM.";
    /// The number of a ledger entry is none.
    BadEntryNumber = "bad-entry-number", BAD_REQUEST,
        "The number of a ledger entry is a whole number from 0.";
    /// The cursor is none of ours.
    BadCursor = "bad-cursor", BAD_REQUEST, "The cursor is not one that this server gave.";
    /// The `Idempotency-Key` cannot be read.
    BadIdempotencyKey = "bad-idempotency-key", BAD_REQUEST,
        "An Idempotency-Key has 1 to 255 visible characters.";
    /// No credential.
    NoCredential = "no-credential", UNAUTHORIZED, "A credential is needed.";
    /// A credential that is unknown, wrong or has expired.
    BadCredential = "bad-credential", UNAUTHORIZED, "The credential is not valid.";
    /// A role that may not do this.
    WrongRole = "wrong-role", FORBIDDEN, "The role of the credential may not do this.";
    /// About every site, with a credential of some.
    NeedsAllSites = "needs-all-sites", FORBIDDEN,
        "This is about every site, and needs a credential of all sites.";
    /// More than the caller has may not be given, nor a billing group of others changed.
    BeyondCaller = "beyond-caller", FORBIDDEN,
        "A credential cannot give sites that it does not have, nor change groups of others.";
    /// Nothing there, or nothing for this caller.
    NotFound = "not-found", NOT_FOUND, "There is nothing here.";
    /// The path does not know the method.
    WrongMethod = "wrong-method", METHOD_NOT_ALLOWED, "This path does not answer that method.";
    /// No media type that the client accepts.
    NotAcceptable = "not-acceptable", NOT_ACCEPTABLE,
        "None of the media types in Accept is offered here.";
    /// The body came too slowly.
    SlowBody = "slow-body", REQUEST_TIMEOUT, "The body came too slowly.";
    /// The body ended before its end. No status that counts as an unreadable request: mostly
    /// nobody is there to be told.
    CutBody = "cut-body", REQUEST_TIMEOUT, "The body was cut before its end; send it again.";
    /// The first request with this key still runs.
    IdempotencyRunning = "idempotency-running", CONFLICT,
        "A request with this Idempotency-Key still runs.";
    /// The body is too large, as sent or inflated.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The body is too large.";
    /// Too many records in one request.
    TooManyRecords = "too-many-records", PAYLOAD_TOO_LARGE, "The batch has too many records.";
    /// A media type that is not read here.
    UnsupportedMedia = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE,
        "The media type of the body is not read here.";
    /// A content coding that is not read here.
    UnsupportedCoding = "unsupported-coding", UNSUPPORTED_MEDIA_TYPE,
        "The content coding of the body is not read here.";
    /// A month that the site never had.
    UnknownMonth = "unknown-month", UNPROCESSABLE_ENTITY,
        "The site has no such month, or nothing of it is left; GET /v1/retention lists what is.";
    /// A review of a hold beyond the longest time that one may go without a look.
    ReviewTooFar = "review-too-far", UNPROCESSABLE_ENTITY,
        "A hold is looked at within twelve months; name an earlier review_at, and renew it then.";
    /// A month that still counts.
    MonthOpen = "month-open", CONFLICT, "The month is not closed yet.";
    /// The second request to release a hold by the same person.
    SamePerson = "same-person", CONFLICT,
        "Another person must agree, with a token that is older than the first request, has another \
         holder's name, was not made with the first one's, and, of the same line of makers, is \
         more than 30 days old as the first one's is: see GET /v1/tokens and token_issued in the \
         ledger, and let the operator of the first start make the tokens of such pairs.";
    /// The hold has ended.
    HoldReleased = "hold-released", CONFLICT, "The hold has ended.";
    /// An open hold covers what is to be removed.
    OnHold = "on-hold", CONFLICT, "The month is on hold; release the hold first.";
    /// The month has not ended.
    MonthRuns = "month-runs", CONFLICT,
        "The month has not ended; end the site's collection instead.";
    /// An open backfill has records of what is to be removed.
    BackfillOpen = "backfill-open", CONFLICT,
        "An open backfill has records of the month; close or abandon it first.";
    /// Late records would still be accepted.
    MonthTakesRecords = "month-takes-records", CONFLICT,
        "Records of the month could still come; say that they are refused.";
    /// The engine refused before a key went.
    Unremovable = "unremovable", CONFLICT,
        "The month cannot be removed now, and nothing of it went. Have the operator mend what the \
         log names; then only the second person asks again.";
    /// The clock jumped ahead.
    ClockUnconfirmed = "clock-unconfirmed", CONFLICT,
        "The clock jumped ahead; confirm it, or set it right, before anything ends or goes.";
    /// There is no jump of the clock.
    NothingToConfirm = "nothing-to-confirm", CONFLICT, "There is no jump of the clock to confirm.";
    /// No directory for backups is configured.
    BackupsNotConfigured = "backups-not-configured", CONFLICT,
        "No directory for backups is configured.";
    /// The directory for backups is not there.
    BackupsNotThere = "backups-not-there", CONFLICT,
        "The directory for backups is not there; mount its disk or make it, and ask again.";
    /// A backup is being made.
    BackupRunning = "backup-running", CONFLICT, "A backup is being made.";
    /// The name of the backup is taken.
    BackupExists = "backup-exists", CONFLICT, "There is a backup of that name.";
    /// The backfill has ended, or is being counted.
    BackfillNotOpen = "backfill-not-open", CONFLICT, "The backfill takes no records any more.";
    /// The backfill holds as much as it may.
    BackfillFull = "backfill-full", CONFLICT,
        "The backfill would hold more than it may; close it and make another one.";
    /// There are as many open backfills as there may be.
    TooManyBackfills = "too-many-backfills", CONFLICT, "There are too many open backfills.";
    /// There are as many webhooks as there may be.
    TooManyWebhooks = "too-many-webhooks", CONFLICT, "There are too many webhooks.";
    /// The algorithm of the pseudonyms of a site or billing group that exists.
    AlgorithmFixed = "algorithm-fixed", CONFLICT,
        "The algorithm of pseudonyms is chosen when a site or a billing group is made.";
    /// Members of a billing group would read user ids differently in one month.
    UserIdsDiffer = "user-ids-differ", CONFLICT,
        "Members of a billing group have the same user id options in each month.";
    /// The webhook said that it is gone.
    WebhookDisabled = "webhook-disabled", CONFLICT, "The webhook is disabled.";
    /// The pseudonyms that would tell are destroyed.
    NotAttributable = "not-attributable", GONE,
        "The pseudonyms of the month are destroyed; nobody can tell any more.";
    /// Figures and statements of the month were kept as long as they may be.
    Ended = "ended", GONE,
        "The figures of the month were kept for their time, and are not kept any more.";
    /// As many lists as may be were answered.
    ChallengeBudget = "challenge-budget", CONFLICT,
        "As many lists as may be were answered of this month.";
    /// How much more a version is cannot be told.
    DifferenceUnknown = "difference-unknown", CONFLICT,
        "The version before is not stored here; take the total.";
    /// Stripe has ids of its own.
    CustomerMissing = "customer-missing", UNPROCESSABLE_ENTITY,
        "Stripe knows customers by its own ids; name one.";
    /// A list of too few users.
    ListTooSmall = "list-too-small", UNPROCESSABLE_ENTITY,
        "The list has too few distinct users.";
    /// A member of the body is unfit.
    Unfit = "unfit", UNPROCESSABLE_ENTITY, "The body does not fit its schema.";
    /// The key was used with another body.
    IdempotencyMismatch = "idempotency-mismatch", UNPROCESSABLE_ENTITY,
        "This Idempotency-Key was used with another body.";
    /// A site has asked too many questions about people today.
    OverBudget = "over-budget", TOO_MANY_REQUESTS,
        "The site has asked too many questions about people today.";
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server met a fault of its own.";
    /// The queue is full.
    Busy = "busy", SERVICE_UNAVAILABLE, "The server is busy; send the same request again.";
    /// The answer took too long; the batch may still become durable.
    SlowAnswer = "slow-answer", SERVICE_UNAVAILABLE,
        "The answer took too long; send the same request again.";
    /// The engine has stopped.
    Stopped = "stopped", SERVICE_UNAVAILABLE, "The server stops; send the same request again.";
    /// Records cannot be taken now.
    NotReady = "not-ready", SERVICE_UNAVAILABLE, "The server cannot take records now.";
    /// A copy of the register of holds is away.
    HoldsAway = "holds-away", SERVICE_UNAVAILABLE,
        "A copy of the register of holds is out of reach, and nothing went. Have it mounted; then \
         only the second person asks again.";
    /// The disk is full.
    DiskFull = "disk-full", INSUFFICIENT_STORAGE,
        "The disk is full; send the same request again later.";
}

impl Kind {
    /// When to try again, seconds; a full disk is not emptied in a second.
    const fn retry_after_seconds(self) -> Option<&'static str> {
        match self {
            Self::Busy | Self::SlowAnswer | Self::IdempotencyRunning => Some("1"),
            Self::Stopped | Self::NotReady => Some("5"),
            Self::DiskFull | Self::HoldsAway => Some("60"),
            Self::OverBudget => Some("3600"),
            _ => None,
        }
    }

    /// The header that goes with the kind.
    fn header(self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::NoCredential => Some((WWW_AUTHENTICATE, "Bearer realm=\"blindtally\"")),
            Self::BadCredential => {
                Some((WWW_AUTHENTICATE, "Bearer realm=\"blindtally\", error=\"invalid_token\""))
            }
            Self::UnsupportedCoding => Some((ACCEPT_ENCODING, inflate::ACCEPTED)),
            // What is left of a body that came too slowly cannot be told from a next request.
            Self::SlowBody | Self::CutBody => Some((CONNECTION, "close")),
            _ => None,
        }
    }
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    kind: Kind,
    flaw: Option<Flaw>,
    line: Option<u64>,
    allow: Option<String>,
    detail: Option<&'static str>,
}

impl Refusal {
    /// A refusal with the methods that the path knows.
    pub fn wrong_method(allow: String) -> Self {
        Self { allow: Some(allow), ..Kind::WrongMethod.into() }
    }

    /// The server cannot take records, for a reason of its own.
    pub fn not_ready(why: &'static str) -> Self {
        Self { detail: Some(why), ..Kind::NotReady.into() }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.kind.row().1
    }

    /// The answer.
    pub fn into_answer(self, http1: bool) -> Answer {
        let (name, status, title) = self.kind.row();
        let mut problem = Problem::new(name, title, status.as_u16());
        if let Some(detail) = self.detail {
            problem = problem.detail(detail);
        }
        if let Some(flaw) = self.flaw {
            // Names of the schema only, see `Flaw`.
            problem = problem
                .member("code", flaw.reason.name().into())
                .member("pointer", flaw.pointer.to_string().into());
        }
        if let Some(line) = self.line {
            problem = problem.member("index", line.into());
        }
        if self.kind == Kind::NotAttributable {
            problem = problem.member("code", "not_attributable".into());
        }
        let mut refused = answer(status, PROBLEM_JSON, problem.to_json());
        // HTTP/2 has no `Connection` (RFC 9113 §8.2.2).
        let header = self.kind.header().filter(|(name, _)| http1 || *name != CONNECTION);
        if let Some((name, value)) = header {
            set(&mut refused, name, value);
        }
        if let Some(seconds) = self.kind.retry_after_seconds() {
            set(&mut refused, RETRY_AFTER, seconds);
        }
        if let Some(allow) = self.allow {
            set(&mut refused, ALLOW, &allow);
        }
        refused
    }
}

impl From<Kind> for Refusal {
    fn from(kind: Kind) -> Self {
        Self { kind, flaw: None, line: None, allow: None, detail: None }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge => Kind::TooLarge,
            BodyError::TooSlow => Kind::SlowBody,
            BodyError::Cut => Kind::CutBody,
            BodyError::BadChunks => Kind::Unreadable,
            BodyError::Crowded => Kind::Busy,
            BodyError::BadCoding => Kind::BadCoding,
        };
        kind.into()
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => Kind::NoCredential.into(),
            AuthError::Invalid => Kind::BadCredential.into(),
        }
    }
}

impl From<AdminError> for Refusal {
    fn from(error: AdminError) -> Self {
        let kind = match error {
            AdminError::Unreadable => Kind::Unreadable,
            AdminError::Unfit(flaw) => return Self { flaw: Some(flaw), ..Kind::Unfit.into() },
            AdminError::BeyondCaller => Kind::BeyondCaller,
            AdminError::Conflict(SiteConflict::Algorithm) => Kind::AlgorithmFixed,
            AdminError::Conflict(SiteConflict::UserForm) => Kind::UserIdsDiffer,
            AdminError::NotFound => Kind::NotFound,
            AdminError::Busy => Kind::Busy,
            AdminError::DiskFull => Kind::DiskFull,
            AdminError::Stopped => Kind::Stopped,
            AdminError::Failed => Kind::Internal,
        };
        kind.into()
    }
}

impl From<DeskError> for Refusal {
    fn from(error: DeskError) -> Self {
        let kind = match error {
            DeskError::Unreadable => Kind::Unreadable,
            DeskError::Unfit(flaw) => return Self { flaw: Some(flaw), ..Kind::Unfit.into() },
            DeskError::NotFound => Kind::NotFound,
            DeskError::UnknownMonth => Kind::UnknownMonth,
            DeskError::ReviewTooFar(flaw) => {
                return Self { flaw: Some(flaw), ..Kind::ReviewTooFar.into() };
            }
            DeskError::SamePerson => Kind::SamePerson,
            DeskError::Released => Kind::HoldReleased,
            DeskError::NeedsAllSites => Kind::NeedsAllSites,
            DeskError::Held => Kind::OnHold,
            DeskError::MonthRuns => Kind::MonthRuns,
            DeskError::BackfillOpen => Kind::BackfillOpen,
            DeskError::MonthOpen => Kind::MonthTakesRecords,
            DeskError::Unremovable => Kind::Unremovable,
            DeskError::HoldsAway => Kind::HoldsAway,
            DeskError::ClockAhead => Kind::ClockUnconfirmed,
            DeskError::NothingToConfirm => Kind::NothingToConfirm,
            DeskError::Busy => Kind::Busy,
            DeskError::DiskFull => Kind::DiskFull,
            DeskError::Stopped => Kind::Stopped,
            DeskError::Failed => Kind::Internal,
        };
        kind.into()
    }
}

impl From<BackfillError> for Refusal {
    fn from(error: BackfillError) -> Self {
        let kind = match error {
            BackfillError::Unreadable => Kind::Unreadable,
            BackfillError::Unfit(flaw) => return Self { flaw: Some(flaw), ..Kind::Unfit.into() },
            BackfillError::NotFound => Kind::NotFound,
            BackfillError::TooMany => Kind::TooManyBackfills,
            BackfillError::NotOpen => Kind::BackfillNotOpen,
            BackfillError::UserIdsDiffer => Kind::UserIdsDiffer,
            BackfillError::Busy => Kind::Busy,
            BackfillError::DiskFull => Kind::DiskFull,
            BackfillError::Stopped => Kind::Stopped,
            BackfillError::Failed => Kind::Internal,
        };
        kind.into()
    }
}

impl From<BackupError> for Refusal {
    fn from(error: BackupError) -> Self {
        let kind = match error {
            BackupError::Unreadable => Kind::Unreadable,
            BackupError::Unfit(flaw) => return Self { flaw: Some(flaw), ..Kind::Unfit.into() },
            BackupError::NotConfigured => Kind::BackupsNotConfigured,
            BackupError::NotThere => Kind::BackupsNotThere,
            BackupError::NotFound => Kind::NotFound,
            BackupError::Running => Kind::BackupRunning,
            BackupError::Exists => Kind::BackupExists,
            BackupError::Failed => Kind::Internal,
        };
        kind.into()
    }
}

impl From<HookError> for Refusal {
    fn from(error: HookError) -> Self {
        let kind = match error {
            HookError::Unreadable => Kind::Unreadable,
            HookError::Unfit(flaw) => return Self { flaw: Some(flaw), ..Kind::Unfit.into() },
            HookError::BeyondCaller => Kind::BeyondCaller,
            HookError::NotFound => Kind::NotFound,
            HookError::TooMany => Kind::TooManyWebhooks,
            HookError::Disabled => Kind::WebhookDisabled,
            HookError::Busy => Kind::Busy,
            HookError::DiskFull => Kind::DiskFull,
            HookError::Stopped => Kind::Stopped,
            HookError::Failed => Kind::Internal,
        };
        kind.into()
    }
}

impl From<SubjectError> for Refusal {
    fn from(error: SubjectError) -> Self {
        let kind = match error {
            SubjectError::Unreadable => Kind::Unreadable,
            SubjectError::Unfit(flaw) => return Self { flaw: Some(flaw), ..Kind::Unfit.into() },
            SubjectError::NotFound => Kind::NotFound,
            SubjectError::OverBudget => Kind::OverBudget,
            SubjectError::Busy => Kind::Busy,
            SubjectError::DiskFull => Kind::DiskFull,
            SubjectError::Stopped => Kind::Stopped,
            SubjectError::Failed => Kind::Internal,
        };
        kind.into()
    }
}

impl From<BillingError> for Refusal {
    fn from(error: BillingError) -> Self {
        let kind = match error {
            BillingError::Unreadable => Kind::Unreadable,
            BillingError::Unfit(flaw) => return Self { flaw: Some(flaw), ..Kind::Unfit.into() },
            BillingError::NotFound => Kind::NotFound,
            BillingError::Ended => Kind::Ended,
            BillingError::NotClosed => Kind::MonthOpen,
            BillingError::NotAttributable => Kind::NotAttributable,
            BillingError::BudgetSpent => Kind::ChallengeBudget,
            BillingError::DifferenceUnknown => Kind::DifferenceUnknown,
            BillingError::CustomerMissing => Kind::CustomerMissing,
            BillingError::ListTooSmall => Kind::ListTooSmall,
            BillingError::TooManyLines => Kind::TooManyRecords,
            BillingError::BadLine(line, flaw) => {
                return Self { flaw: Some(flaw), line: Some(line), ..Kind::Unfit.into() };
            }
            BillingError::Busy => Kind::Busy,
            BillingError::DiskFull => Kind::DiskFull,
            BillingError::Stopped => Kind::Stopped,
            BillingError::Failed => Kind::Internal,
        };
        kind.into()
    }
}

impl From<AuditError> for Refusal {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::NotFound => Kind::NotFound.into(),
            AuditError::Stopped => Kind::Stopped.into(),
            AuditError::Failed => Kind::Internal.into(),
        }
    }
}

impl From<UsageError> for Refusal {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::NotFound => Kind::NotFound.into(),
            UsageError::Ended => Kind::Ended.into(),
            UsageError::BadCursor => Kind::BadCursor.into(),
            UsageError::Busy => Kind::Busy.into(),
            UsageError::Stopped => Kind::Stopped.into(),
            UsageError::Failed => Kind::Internal.into(),
        }
    }
}

impl From<ReconciliationError> for Refusal {
    fn from(error: ReconciliationError) -> Self {
        match error {
            ReconciliationError::BadCursor => Kind::BadCursor.into(),
            ReconciliationError::Failed => Kind::Internal.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_errors_with_distinct_names() {
        let mut names = std::collections::BTreeSet::new();
        for kind in Kind::ALL {
            let (name, status, title) = kind.row();
            assert!(status.is_client_error() || status.is_server_error(), "{name}");
            assert!(names.insert(name), "{name} is there twice");
            assert!(title.ends_with('.'), "{title}");
            let waits = matches!(status.as_u16(), 429 | 503 | 507);
            assert!(!waits || kind.retry_after_seconds().is_some(), "{name}");
            let answer = Refusal::from(*kind).into_answer(true);
            assert_eq!(answer.headers()["content-type"], PROBLEM_JSON);
            assert_eq!(answer.status(), status);
            assert_eq!(status == 401, answer.headers().contains_key(WWW_AUTHENTICATE));
        }
    }
}
