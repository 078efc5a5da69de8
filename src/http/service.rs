//! One request: route, caller, role, desk, answer. The order is the security: nothing is read
//! before the route is found, and no body before the caller is proven and the role is checked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, LINK};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use tokio::sync::watch;

use super::answer::{Answer, JSON, answer, empty, set};
use super::body::{self, Budget, Buffer};
use super::connection::Phase;
use super::counters::Counters;
use super::inflate::Coding;
use super::lists::Lists;
use super::noted::Use;
use super::problem::{Kind, Refusal};
use super::query::{Query, choose};
use super::router::{Access, Found, Route, Row, find};
use super::{Desks, Settings};
use crate::admin::AuthError;
use crate::crypto::WipedVec;
use crate::model::caller::{Caller, SiteScope};
use crate::model::ids::SiteId;
use crate::model::time::Month;
use crate::observe::Registry;
use crate::observe::metrics::{Exposition, OPENMETRICS_TYPE, PROMETHEUS_TYPE};
use crate::usage::{Page, Question};

/// The body of a request as it comes in.
pub type Incoming = hyper::body::Incoming;

/// Largest body of a request about a site or a token, bytes: a thousand sentinels of the longest
/// kind, each character of them escaped.
const SMALL_BODY_BYTES_MAX: usize = 2 << 20;
/// Most rest of a refused body that is read and thrown away, bytes.
const DISCARD_BYTES_MAX: usize = 32 << 20;
/// How long the rest of a refused body is read and thrown away before the answer.
const DISCARD: Duration = Duration::from_secs(2);
/// The media type of CSV (RFC 4180).
pub(super) const CSV: &str = "text/csv; charset=utf-8; header=present";
/// Most and usual number of rows in one answer.
pub(super) const ROWS_MAX: usize = 1_000;
pub(super) const ROWS_DEFAULT: usize = 100;

/// What answers requests; one for all connections.
pub struct Service {
    settings: Settings,
    desks: Desks,
    counters: Counters,
    registry: Registry,
    budget: Budget,
    lists: Lists,
    phase: Arc<watch::Sender<Phase>>,
}

impl Service {
    /// Puts the service together.
    pub fn new(
        settings: Settings,
        desks: Desks,
        phase: Arc<watch::Sender<Phase>>,
        registry: &Registry,
    ) -> Self {
        let budget = Budget::new(settings.held_body_bytes_max);
        let lists = Lists::new(settings.list_bytes_max);
        let held = [budget.clone(), lists.budget().clone()];
        let help = "Bytes of request bodies held now.";
        registry.probe("blindtally_http_held_body_bytes", help, move || {
            let bytes = held.iter().map(Budget::held_bytes).sum::<usize>();
            i64::try_from(bytes).unwrap_or(i64::MAX)
        });
        let counters = Counters::register(registry);
        Self { settings, desks, counters, registry: registry.clone(), budget, lists, phase }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The desks.
    pub fn desks(&self) -> &Desks {
        &self.desks
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Keeps the server from having ended, until it is dropped.
    pub fn hold(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// The memory of request bodies that are no lists.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Customers' lists on their way in.
    pub const fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Reads a body under a cap, a budget and the deadline.
    ///
    /// # Errors
    /// See [`body::BodyError`].
    pub async fn collect(
        &self,
        body: &mut Incoming,
        max_bytes: usize,
        budget: &Budget,
    ) -> Result<Buffer, body::BodyError> {
        let buffer = Buffer::new(max_bytes, budget.share());
        body::collect(body, buffer, self.settings.deadlines.body).await
    }

    /// Answers a request.
    pub async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let began = Instant::now();
        let (parts, mut body) = request.into_parts();
        let (route, answered) = match find(&parts.method, parts.uri.path()) {
            _ if lacks_host(&parts) => (None, Err(Kind::BadHost.into())),
            Found::Row(row, captures) if is_safe(row) => {
                let answered = self.take(row, captures, &parts, &mut body).await;
                (Some(row.route), answered)
            }
            Found::Row(row, _) => return self.take_whole(row.route, (parts, body), began).await,
            Found::WrongMethod(allow) => (None, Err(Refusal::wrong_method(allow))),
            Found::Nothing => (None, Err(Kind::NotFound.into())),
        };
        self.finish(route, answered, (&parts, body), began).await
    }

    /// Takes a request that changes something, in a task of its own: a client that hangs up once
    /// its body is there stops nothing. The server does not end before it.
    async fn take_whole(
        self: &Arc<Self>,
        route: Route,
        (parts, mut body): (Parts, Incoming),
        began: Instant,
    ) -> Answer {
        let (service, holds_server) = (Arc::clone(self), self.hold());
        let http1 = parts.version < Version::HTTP_2;
        let whole = tokio::spawn(async move {
            let answered = match find(&parts.method, parts.uri.path()) {
                Found::Row(row, captures) => service.take(row, captures, &parts, &mut body).await,
                Found::WrongMethod(_) | Found::Nothing => Err(Kind::NotFound.into()),
            };
            let finished = service.finish(Some(route), answered, (&parts, body), began).await;
            drop(holds_server);
            finished
        });
        // An error means that it ended with a panic, which has been logged.
        whole.await.unwrap_or_else(|_| Refusal::from(Kind::Internal).into_answer(http1))
    }

    /// Makes an answer of what came of a request.
    async fn finish(
        &self,
        route: Option<Route>,
        answered: Result<Answer, Refusal>,
        (parts, mut body): (&Parts, Incoming),
        began: Instant,
    ) -> Answer {
        let http1 = parts.version < Version::HTTP_2;
        let answered = match answered {
            Ok(answered) => answered,
            Err(refusal) => {
                let slow = refusal.status() == StatusCode::REQUEST_TIMEOUT;
                // A client that waits for 100 Continue has not sent its body and need not.
                if http1 && !slow && !body.is_end_stream() && !parts.headers.contains_key(EXPECT) {
                    body::discard(&mut body, DISCARD_BYTES_MAX, DISCARD).await;
                }
                refusal.into_answer(http1)
            }
        };
        self.counters.answered(route, answered.status(), began.elapsed());
        if parts.method == Method::HEAD { without_body(answered) } else { answered }
    }

    /// Proves the caller; nobody where the row is open.
    fn caller(&self, row: &Row, parts: &Parts) -> Result<Option<Caller>, Refusal> {
        if row.access == Access::Open {
            return Ok(None);
        }
        let header = one(&parts.headers, &AUTHORIZATION).map_err(|_| AuthError::Invalid)?;
        Ok(Some(self.desks.tokens.authenticate(header)?))
    }

    /// Proves the caller, checks the role, calls the desk, and counts what came of it.
    async fn take(
        self: &Arc<Self>,
        row: &Row,
        captures: [&str; 2],
        parts: &Parts,
        body: &mut Incoming,
    ) -> Result<Answer, Refusal> {
        let Some(caller) = self.caller(row, parts)? else { return self.open(row.route) };
        let site = row.path.contains("/{site}").then_some(captures[0]);
        let noted = Use::new(&self.desks.retention, &caller, row, site);
        let answered = match may(row, &caller) {
            Ok(()) => self.go(row.route, &caller, captures, (parts, body)).await,
            Err(kind) => Err(kind.into()),
        };
        noted.answered(answered.as_ref().map_or_else(Refusal::status, Answer::status).as_u16());
        answered
    }

    /// Calls the desk.
    async fn go(
        self: &Arc<Self>,
        route: Route,
        caller: &Caller,
        captures: [&str; 2],
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let [first, second] = captures;
        match route {
            Route::Records => self.post_records(caller, None, (parts, body)).await,
            Route::SiteUsage => self.site_usage(caller, site(caller, first)?, second, parts),
            Route::GroupUsage => self.group_usage(caller, captures, parts),
            Route::UsageExplained | Route::PallyconStatistics => {
                self.explained(route, caller, captures, parts).await
            }
            Route::UsageList => self.usage_list(caller, parts),
            Route::Reconciliation => self.reconciliation(caller, parts).await,
            Route::Receipt => self.kept_receipt(caller, parts).await,
            Route::StatementGet
            | Route::StatementVersions
            | Route::StatementPage
            | Route::Restate
            | Route::GroupStatementGet
            | Route::GroupStatementVersions
            | Route::GroupStatementPage
            | Route::GroupRestate => self.statements(route, caller, captures, (parts, body)).await,
            Route::Export | Route::GroupExport => self.export(route, caller, captures, parts).await,
            Route::Challenge | Route::GroupChallenge => {
                self.challenge(route, caller, captures, (parts, body)).await
            }
            Route::SitePut => self.put_site(caller, site(caller, first)?, parts, body).await,
            Route::SiteGet => self.site_get(caller, first),
            Route::SiteList => Ok(json(StatusCode::OK, self.desks.sites.list(caller))),
            Route::TokenCreate => self.create_token(caller, parts, body).await,
            Route::TokenList => Ok(json(StatusCode::OK, self.desks.tokens.list(caller))),
            Route::TokenRevoke => self.revoke_token(caller, first).await,
            Route::LedgerList => self.ledger_list(caller, parts).await,
            Route::LedgerHead => self.ledger_head(parts),
            Route::LedgerProof => self.ledger_proof(caller, first, parts).await,
            Route::Metrics => Ok(self.metrics(parts)),
            Route::Live | Route::Ready | Route::Version => self.open(route),
            route => self.ask_desk(route, caller, captures, (parts, body)).await,
        }
    }

    fn site_get(&self, caller: &Caller, id: &str) -> Result<Answer, Refusal> {
        Ok(json(StatusCode::OK, self.desks.sites.read(&site(caller, id)?)?))
    }

    async fn revoke_token(&self, caller: &Caller, key_id: &str) -> Result<Answer, Refusal> {
        self.desks.tokens.revoke(caller, key_id).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// The routes without a credential; nothing else is open.
    fn open(&self, route: Route) -> Result<Answer, Refusal> {
        let ok =
            |text: &'static str| answer(StatusCode::OK, JSON, Bytes::from_static(text.as_bytes()));
        match route {
            Route::Live => Ok(ok("{\"status\":\"ok\"}")),
            Route::Ready => match (self.desks.ready)() {
                Ok(()) if *self.phase.borrow() == Phase::Running => Ok(ok("{\"status\":\"ok\"}")),
                Ok(()) => Err(Kind::Stopped.into()),
                Err(why) => Err(Refusal::not_ready(why)),
            },
            Route::Version => Ok(ok(concat!(
                "{\"name\":\"blindtally\",\"version\":\"",
                env!("CARGO_PKG_VERSION"),
                "\",\"api\":\"v1\"}"
            ))),
            _ => Err(Kind::NotFound.into()),
        }
    }

    fn metrics(&self, parts: &Parts) -> Answer {
        // Prometheus text first: it is what a scraper without wishes expects.
        let offered = ["text/plain", "application/openmetrics-text"];
        let (exposition, media) = match choose(&parts.headers, &offered) {
            Some(1) => (Exposition::OpenMetrics, OPENMETRICS_TYPE),
            _ => (Exposition::Prometheus, PROMETHEUS_TYPE),
        };
        answer(StatusCode::OK, media, self.registry.render(exposition))
    }

    fn site_usage(
        &self,
        caller: &Caller,
        site: SiteId,
        month: &str,
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        let csv = wants_csv(parts)?;
        Query::parse(parts.uri.query(), &[]).ok_or(Kind::BadQuery)?;
        let month = Month::parse(month.as_bytes()).ok_or(Kind::BadMonth)?;
        let page = self.desks.usage.month(caller, &site, month)?;
        Ok(usage_answer(&page, csv, true))
    }

    fn usage_list(&self, caller: &Caller, parts: &Parts) -> Result<Answer, Refusal> {
        let csv = wants_csv(parts)?;
        let known = ["month", "from", "to", "limit", "cursor"];
        let query = Query::parse(parts.uri.query(), &known).ok_or(Kind::BadQuery)?;
        let month = |name| match query.get(name) {
            None => Ok(None),
            Some(text) => Month::parse(text.as_bytes()).map(Some).ok_or(Kind::BadMonth),
        };
        let (from, to) = match (month("month")?, month("from")?, month("to")?) {
            (Some(month), None, None) => (month, month),
            (None, Some(from), Some(to)) => (from, to),
            _ => return Err(Kind::BadQuery.into()),
        };
        let limit = limit(&query)?;
        let question = Question { from, to, limit, cursor: query.get("cursor") };
        let page = self.desks.usage.list(caller, &question)?;
        let mut answered = usage_answer(&page, csv, false);
        if let Some(cursor) = &page.next_cursor {
            // RFC 8288, so that a reader of CSV finds the next page as well.
            let link = format!("</v1/usage?from={from}&to={to}&limit={limit}&cursor={cursor}>");
            set(&mut answered, LINK, &format!("{link}; rel=\"next\""));
        }
        Ok(answered)
    }

    /// The body of a request about a site or a token; a site's sentinels are ids, so it is wiped.
    pub(super) async fn small_body(
        &self,
        caller: &Caller,
        parts: &Parts,
        body: &mut Incoming,
    ) -> Result<WipedVec, Refusal> {
        if Coding::from_headers(&parts.headers) != Some(Coding::Identity) {
            return Err(Kind::UnsupportedCoding.into());
        }
        let collected = self.collect(body, SMALL_BODY_BYTES_MAX, &self.budget).await?;
        // A body may come a minute after its head, and the credential may have ended in between.
        self.desks.tokens.still_valid(caller)?;
        Ok(collected.into_parts().0)
    }

    async fn put_site(
        &self,
        caller: &Caller,
        site: SiteId,
        parts: &Parts,
        body: &mut Incoming,
    ) -> Result<Answer, Refusal> {
        let mut text = self.small_body(caller, parts, body).await?;
        let (created, site) = self.desks.sites.put(caller, site, &mut text).await?;
        Ok(json(if created { StatusCode::CREATED } else { StatusCode::OK }, site))
    }

    async fn create_token(
        &self,
        caller: &Caller,
        parts: &Parts,
        body: &mut Incoming,
    ) -> Result<Answer, Refusal> {
        let mut text = self.small_body(caller, parts, body).await?;
        let created = self.desks.tokens.create(caller, &mut text).await?;
        // Wiped when the connection has sent it.
        Ok(answer(StatusCode::CREATED, JSON, Bytes::from_owner(created)))
    }
}

/// Whether the caller's role and sites reach a row.
fn may(row: &Row, caller: &Caller) -> Result<(), Kind> {
    let (roles, all) = match row.access {
        Access::Open => return Ok(()),
        Access::Roles(roles) => (roles, false),
        Access::Everywhere(roles) => (roles, true),
    };
    if !roles.contains(&caller.role) {
        return Err(Kind::WrongRole);
    }
    if all && caller.sites != SiteScope::All { Err(Kind::NeedsAllSites) } else { Ok(()) }
}

/// Whether a request may be dropped half-way: it changes nothing, or it sees to that by itself.
fn is_safe(row: &Row) -> bool {
    row.method == Method::GET || row.route == Route::Records
}

/// The value of a header that may stand there once.
///
/// # Errors
/// When it stands there twice: which of them was meant nobody can tell.
pub fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, Twice> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(HeaderValue::as_bytes);
    if values.next().is_none() { Ok(first) } else { Err(Twice) }
}

/// A header that stands there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twice;

pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    answer(status, JSON, body)
}

/// The number of rows that are asked for.
pub(super) fn limit(query: &Query) -> Result<usize, Refusal> {
    match query.get("limit").map(str::parse) {
        None => Ok(ROWS_DEFAULT),
        Some(Ok(limit @ 1..=ROWS_MAX)) => Ok(limit),
        Some(_) => Err(Kind::BadQuery.into()),
    }
}

/// The site of a path, where the caller may know of it; else 404, as for one that does not exist.
pub(super) fn site(caller: &Caller, text: &str) -> Result<SiteId, Refusal> {
    let site = SiteId::parse(text.as_bytes()).filter(|site| caller.sites.holds(site));
    site.ok_or_else(|| Kind::NotFound.into())
}

/// A whole number as a machine writes it: no sign, no leading zeros.
pub(super) fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Whether a request of HTTP/1.1 does not say once for which host it is (RFC 9112 §3.2).
fn lacks_host(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11 && !matches!(one(&parts.headers, &HOST), Ok(Some(_)))
}

pub(super) fn wants_csv(parts: &Parts) -> Result<bool, Refusal> {
    let chosen = choose(&parts.headers, &[JSON, "text/csv"]);
    chosen.map(|place| place == 1).ok_or_else(|| Kind::NotAcceptable.into())
}

fn usage_answer(page: &Page, csv: bool, single: bool) -> Answer {
    match (csv, single) {
        (true, _) => answer(StatusCode::OK, CSV, page.to_csv()),
        (false, true) => json(StatusCode::OK, page.to_json_single()),
        (false, false) => json(StatusCode::OK, page.to_json()),
    }
}

/// The same head without its body, for `HEAD`.
fn without_body(full: Answer) -> Answer {
    let (mut head, body) = full.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Answer::from_parts(head, Full::default())
}
