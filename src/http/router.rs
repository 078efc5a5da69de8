//! The routes, and who may take them: THE table. A route that is not in it does not exist, and a
//! role that a row does not name is refused.

use hyper::Method;

use crate::model::caller::Role;

/// Everything that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Post records.
    Records,
    /// One month of one site.
    SiteUsage,
    /// One month of a billing group.
    GroupUsage,
    /// What the licences of a month were.
    UsageExplained,
    /// The same in the shape of PallyCon's old statistics.
    PallyconStatistics,
    /// Months of the caller's sites.
    UsageList,
    /// What arrived from whom, by the hour.
    Reconciliation,
    /// The receipt of a batch again.
    Receipt,
    /// A statement of a closed month.
    StatementGet,
    /// All its versions.
    StatementVersions,
    /// A new version.
    Restate,
    /// A figure of a statement for a billing system.
    Export,
    /// A statement as a page.
    StatementPage,
    /// A customer's list against a statement.
    Challenge,
    /// A statement of a billing group's closed month.
    GroupStatementGet,
    /// All its versions.
    GroupStatementVersions,
    /// A new version.
    GroupRestate,
    /// A figure of it for a billing system.
    GroupExport,
    /// A group's statement as a page.
    GroupStatementPage,
    /// A customer's list against it.
    GroupChallenge,
    /// Make or change a site.
    SitePut,
    /// Read a site.
    SiteGet,
    /// Read the caller's sites.
    SiteList,
    /// Make a token.
    TokenCreate,
    /// Read the tokens, without secrets.
    TokenList,
    /// End a token.
    TokenRevoke,
    /// End a site's collection.
    SiteTerminate,
    /// Open a hold.
    HoldOpen,
    /// Read a site's holds.
    HoldList,
    /// Look at a hold, which stays.
    HoldReview,
    /// Release a hold.
    HoldRelease,
    /// Read what is kept, and until when.
    RetentionList,
    /// Destroy what is due.
    RetentionRun,
    /// Remove a site's month before it is due.
    MonthRemove,
    /// Confirm a jump of the clock.
    ClockConfirm,
    /// Read the certificates.
    CertificateList,
    /// Read a certificate.
    CertificateGet,
    /// Erase a person.
    SubjectErase,
    /// Read the erasures that have not ended.
    SubjectErasures,
    /// Make a backfill.
    BackfillCreate,
    /// Read the backfills.
    BackfillList,
    /// Read a backfill.
    BackfillGet,
    /// Put records into a backfill.
    BackfillLoad,
    /// Count a backfill.
    BackfillClose,
    /// Abandon a backfill.
    BackfillAbandon,
    /// Begin a backup.
    BackupBegin,
    /// Read the backups.
    BackupList,
    /// Read a backup.
    BackupGet,
    /// Read the statement that evidence is made of.
    Evidence,
    /// Read a day of the access log.
    AccessLog,
    /// Make a webhook.
    WebhookCreate,
    /// Read the webhooks, without secrets.
    WebhookList,
    /// Remove a webhook.
    WebhookRemove,
    /// Give a webhook a new secret.
    WebhookRotate,
    /// Send a webhook a message that says nothing.
    WebhookTest,
    /// Read what became of a webhook's messages.
    WebhookDeliveries,
    /// Read entries of the ledger.
    LedgerList,
    /// Read the ledger's last checkpoint.
    LedgerHead,
    /// Read an entry of the ledger with its proof.
    LedgerProof,
    /// Whether the process lives.
    Live,
    /// Whether records can be taken.
    Ready,
    /// What runs here.
    Version,
    /// The metrics.
    Metrics,
}

/// Who may take a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a credential: answers hold nothing about data or callers.
    Open,
    /// Holders of a credential with one of these roles.
    Roles(&'static [Role]),
    /// The same, for all sites: what there is cannot be told apart by sites (T1).
    Everywhere(&'static [Role]),
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The route.
    pub route: Route,
    /// Its method; `GET` answers `HEAD` too.
    pub method: Method,
    /// Its path; a segment in braces stands for any text.
    pub path: &'static str,
    /// Its name in the metrics.
    pub name: &'static str,
    /// Who may take it.
    pub access: Access,
}

const PRODUCER: Access = Access::Roles(&[Role::Producer]);
const OPERATOR: Access = Access::Roles(&[Role::Operator]);
const OPERATOR_OF_ALL: Access = Access::Everywhere(&[Role::Operator]);
const PRIVACY: Access = Access::Roles(&[Role::Privacy]);
const CUSTODIAN: Access = Access::Roles(&[Role::Custodian]);
const CUSTODIAN_OF_ALL: Access = Access::Everywhere(&[Role::Custodian]);
const AUDITOR: Access = Access::Roles(&[Role::Auditor]);
const AUDITOR_OF_ALL: Access = Access::Everywhere(&[Role::Auditor]);
const LOTS: Access = Access::Roles(&[Role::Auditor, Role::Operator]);
/// Who opens holds, who ends them, and who checks both.
const HOLDS: Access = Access::Roles(&[Role::Privacy, Role::Auditor, Role::Custodian]);
const BILLING: Access = Access::Roles(&[Role::Billing, Role::Operator]);

/// Who sends, who runs it, who checks it.
const ARRIVALS: Access = Access::Roles(&[Role::Producer, Role::Operator, Role::Auditor]);
/// Who bills and is billed, and nobody else: exports, and questions about people.
const CUSTOMER: Access = Access::Roles(&[Role::Billing]);
const STATEMENTS: Access = Access::Roles(&[Role::Billing, Role::Auditor]);

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

#[rustfmt::skip]
static TABLE: [Row; 63] = [
    row(Route::Records,     POST,   "/v1/records",                    "records",      PRODUCER),
    row(Route::SiteUsage,   GET,    "/v1/sites/{site}/usage/{month}", "site_usage",   BILLING),
    row(Route::GroupUsage,  GET,    "/v1/groups/{group}/usage/{month}", "group_usage", BILLING),
    row(Route::UsageExplained, GET, "/v1/sites/{site}/usage/{month}/explained", "usage_explained", BILLING),
    row(Route::PallyconStatistics, GET, "/v1/compat/pallycon/{site}/statistics/{month}",
        "pallycon_statistics", BILLING),
    row(Route::UsageList,   GET,    "/v1/usage",                      "usage_list",   BILLING),
    row(Route::Reconciliation, GET, "/v1/reconciliation",             "reconciliation", ARRIVALS),
    row(Route::Receipt,     GET,    "/v1/receipts",                   "receipt",      PRODUCER),
    row(Route::StatementGet, GET, "/v1/sites/{site}/statements/{month}", "statement_get", STATEMENTS),
    row(Route::StatementVersions, GET, "/v1/sites/{site}/statements/{month}/versions",
        "statement_versions", STATEMENTS),
    row(Route::Restate, POST, "/v1/sites/{site}/statements/{month}/restate", "restate", OPERATOR),
    row(Route::Export, GET, "/v1/sites/{site}/statements/{month}/export", "export", CUSTOMER),
    row(Route::StatementPage, GET, "/v1/sites/{site}/statements/{month}/page", "statement_page", STATEMENTS),
    row(Route::Challenge, POST, "/v1/sites/{site}/statements/{month}/challenge", "challenge", CUSTOMER),
    row(Route::GroupStatementGet, GET, "/v1/groups/{group}/statements/{month}", "group_statement_get",
        STATEMENTS),
    row(Route::GroupStatementVersions, GET, "/v1/groups/{group}/statements/{month}/versions",
        "group_statement_versions", STATEMENTS),
    row(Route::GroupRestate, POST, "/v1/groups/{group}/statements/{month}/restate", "group_restate",
        OPERATOR),
    row(Route::GroupExport, GET, "/v1/groups/{group}/statements/{month}/export", "group_export", CUSTOMER),
    row(Route::GroupStatementPage, GET, "/v1/groups/{group}/statements/{month}/page",
        "group_statement_page", STATEMENTS),
    row(Route::GroupChallenge, POST, "/v1/groups/{group}/statements/{month}/challenge", "group_challenge",
        CUSTOMER),
    row(Route::SitePut,     PUT,    "/v1/sites/{site}",               "site_put",     OPERATOR),
    row(Route::SiteGet,     GET,    "/v1/sites/{site}",               "site_get",     BILLING),
    row(Route::SiteList,    GET,    "/v1/sites",                      "site_list",    BILLING),
    row(Route::TokenCreate, POST,   "/v1/tokens",                     "token_create", OPERATOR),
    row(Route::TokenList,   GET,    "/v1/tokens",                     "token_list",   OPERATOR),
    row(Route::TokenRevoke, DELETE, "/v1/tokens/{key_id}",            "token_revoke", OPERATOR),
    row(Route::SiteTerminate, POST, "/v1/sites/{site}/terminate",     "site_terminate",  OPERATOR),
    row(Route::HoldOpen,      POST, "/v1/sites/{site}/holds",         "hold_open",       PRIVACY),
    row(Route::HoldList,      GET,  "/v1/sites/{site}/holds",         "hold_list",       HOLDS),
    row(Route::HoldReview,  POST, "/v1/sites/{site}/holds/{hold}/review", "hold_review", PRIVACY),
    row(Route::HoldRelease, DELETE, "/v1/sites/{site}/holds/{hold}",  "hold_release",    CUSTODIAN),
    row(Route::RetentionList, GET,  "/v1/retention",                  "retention_list",  LOTS),
    row(Route::RetentionRun,  POST, "/v1/retention/run",              "retention_run",   CUSTODIAN_OF_ALL),
    row(Route::MonthRemove, POST, "/v1/sites/{site}/retention/{month}/destroy", "month_remove", CUSTODIAN),
    row(Route::ClockConfirm,  POST, "/v1/retention/confirm-clock",    "clock_confirm",   CUSTODIAN_OF_ALL),
    row(Route::CertificateList, GET, "/v1/certificates",              "certificate_list", AUDITOR),
    row(Route::CertificateGet, GET, "/v1/certificates/{id}",          "certificate_get", AUDITOR),
    row(Route::SubjectErase, POST,  "/v1/sites/{site}/subjects/erase",    "subject_erase",    PRIVACY),
    row(Route::SubjectErasures, GET, "/v1/sites/{site}/subjects/erasures", "subject_erasures", PRIVACY),
    row(Route::BackfillCreate, POST, "/v1/backfills",                 "backfill_create",  OPERATOR),
    row(Route::BackfillList,   GET,  "/v1/backfills",                 "backfill_list",    ARRIVALS),
    row(Route::BackfillGet,    GET,  "/v1/backfills/{id}",            "backfill_get",     ARRIVALS),
    row(Route::BackfillLoad,   POST, "/v1/backfills/{id}/records",    "backfill_load",    PRODUCER),
    row(Route::BackfillClose,  POST, "/v1/backfills/{id}/close",      "backfill_close",   OPERATOR),
    row(Route::BackfillAbandon, DELETE, "/v1/backfills/{id}",         "backfill_abandon", OPERATOR),
    row(Route::BackupBegin, POST,   "/v1/backups",                    "backup_begin", OPERATOR_OF_ALL),
    row(Route::BackupList,  GET,    "/v1/backups",                    "backup_list",  OPERATOR_OF_ALL),
    row(Route::BackupGet,   GET,    "/v1/backups/{name}",             "backup_get",   OPERATOR_OF_ALL),
    row(Route::Evidence,    GET,    "/v1/evidence",                   "evidence",     AUDITOR),
    row(Route::AccessLog,   GET,    "/v1/access",                     "access_log",   AUDITOR_OF_ALL),
    row(Route::WebhookCreate, POST, "/v1/webhooks",                   "webhook_create",  OPERATOR),
    row(Route::WebhookList,   GET,  "/v1/webhooks",                   "webhook_list",    OPERATOR),
    row(Route::WebhookRemove, DELETE, "/v1/webhooks/{id}",            "webhook_remove",  OPERATOR),
    row(Route::WebhookRotate, POST, "/v1/webhooks/{id}/rotate",       "webhook_rotate",  OPERATOR),
    row(Route::WebhookTest,   POST, "/v1/webhooks/{id}/test",         "webhook_test",    OPERATOR),
    row(Route::WebhookDeliveries, GET, "/v1/webhooks/{id}/deliveries", "webhook_deliveries", OPERATOR),
    row(Route::LedgerList,  GET,    "/v1/ledger",                     "ledger_list",  AUDITOR_OF_ALL),
    row(Route::LedgerHead,  GET,    "/v1/ledger/head",                "ledger_head",  AUDITOR),
    row(Route::LedgerProof, GET,    "/v1/ledger/{index}/proof",       "ledger_proof", AUDITOR_OF_ALL),
    row(Route::Live,        GET,    "/livez",                         "live",         Access::Open),
    row(Route::Ready,       GET,    "/readyz",                        "ready",        Access::Open),
    row(Route::Version,     GET,    "/version",                       "version",      Access::Open),
    row(Route::Metrics,     GET,    "/metrics",                       "metrics",      OPERATOR_OF_ALL),
];

const fn row(
    route: Route,
    method: Method,
    path: &'static str,
    name: &'static str,
    access: Access,
) -> Row {
    Row { route, method, path, name, access }
}

/// All rows.
pub fn table() -> &'static [Row] {
    &TABLE
}

/// What a request line asks for.
#[derive(Debug)]
pub enum Found<'p> {
    /// A route, with the text of its segments in braces, in order.
    Row(&'static Row, [&'p str; 2]),
    /// The path exists, the method does not; the methods that do, for `Allow`.
    WrongMethod(String),
    /// No such path.
    Nothing,
}

/// Finds the row of a request line.
pub fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    let mut allow = Vec::new();
    for row in table() {
        let Some(captures) = captures(row.path, path) else { continue };
        if row.method == *asked {
            return Found::Row(row, captures);
        }
        allow.push(row.method.as_str());
        if row.method == Method::GET {
            allow.push("HEAD");
        }
    }
    if allow.is_empty() { Found::Nothing } else { Found::WrongMethod(allow.join(", ")) }
}

/// The text that stands in the braces of `pattern`, or `None` where the path does not fit.
fn captures<'p>(pattern: &str, path: &'p str) -> Option<[&'p str; 2]> {
    let mut found = [""; 2];
    let mut places = found.iter_mut();
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            *places.next()? = segment;
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_to_its_row() {
        for row in table() {
            let path = row.path.replace("{site}", "ACME").replace("{month}", "2026-11");
            let path =
                path.replace("{key_id}", "abc").replace("{hold}", "h1").replace("{id}", "c1");
            let path = path.replace("{index}", "7").replace("{group}", "G").replace("{name}", "b1");
            let Found::Row(found, captures) = find(&row.method, &path) else {
                panic!("{path} leads nowhere");
            };
            assert_eq!(found.route, row.route);
            assert_eq!(captures[0].is_empty(), !row.path.contains('{'));
        }
        let Found::Row(_, captures) = find(&Method::HEAD, "/v1/sites/A.b-c/usage/2026-11") else {
            panic!("HEAD has no row");
        };
        assert_eq!(captures, ["A.b-c", "2026-11"]);
    }

    #[test]
    fn rows_and_names_are_distinct() {
        for (at, row) in table().iter().enumerate() {
            for other in &table()[at + 1..] {
                assert_ne!(row.route, other.route);
                assert_ne!(row.name, other.name);
                assert!((&row.method, row.path) != (&other.method, other.path));
            }
        }
    }

    #[test]
    fn other_paths_and_methods_are_told_apart() {
        for path in ["", "/", "*", "/v1", "/v1/sites/", "/v1/records/", "//v1/records", "/V1/sites"]
        {
            assert!(matches!(find(&Method::GET, path), Found::Nothing), "{path}");
        }
        let allow = |method: Method, path| match find(&method, path) {
            Found::WrongMethod(allow) => allow,
            other => panic!("{other:?}"),
        };
        assert_eq!(allow(Method::GET, "/v1/records"), "POST");
        assert_eq!(allow(Method::DELETE, "/v1/sites/ACME"), "PUT, GET, HEAD");
        assert_eq!(allow(Method::OPTIONS, "/livez"), "GET, HEAD");
    }
}
