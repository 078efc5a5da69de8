//! The routes of the desk for statements.

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use hyper::http::request::Parts;

use super::answer::{Answer, JSON, answer, set};
use super::inflate::Coding;
use super::problem::{Kind, Refusal};
use super::query::{Query, choose};
use super::records::media;
use super::router::Route;
use super::service::{CSV, Incoming, Service, json, number, site};
use crate::billing::{self, BillingError, Wanted};
use crate::model::caller::Caller;
use crate::model::ids::{GroupId, SiteId};
use crate::model::time::Month;
use crate::wire::Media;
use crate::wire::export::{
    Amount, CUSTOMER_BYTES_MAX, EVENT_NAME_BYTES_MAX, Format, Metric, Moment, is_name,
};
use crate::wire::page::POLICY;
use crate::wire::statement::Statement;

/// The media type of a page.
const HTML: &str = "text/html; charset=utf-8";

impl Service {
    /// Answers a route of the desk for statements.
    pub(super) async fn statements(
        &self,
        route: Route,
        caller: &Caller,
        [first, second]: [&str; 2],
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let desk = &self.desks().billing;
        Query::parse(parts.uri.query(), &[]).ok_or(Kind::BadQuery)?;
        let (of, month) = self.subject(route, caller, [first, second])?;
        let text = |bytes| json(StatusCode::OK, bytes);
        match route {
            Route::StatementGet | Route::GroupStatementGet => {
                let chosen = choose(&parts.headers, &[JSON, "text/csv", "text/html"]);
                let chosen = chosen.ok_or(Kind::NotAcceptable)?;
                let statement = self.in_time(desk.statement(of, month)).await?;
                Ok(match chosen {
                    0 => text(statement.to_bytes().map_err(BillingError::from)?),
                    1 => answer(StatusCode::OK, CSV, billing::csv(&statement)?),
                    _ => page(&statement)?,
                })
            }
            Route::StatementPage | Route::GroupStatementPage => {
                page(&self.in_time(desk.statement(of, month)).await?)
            }
            Route::StatementVersions | Route::GroupStatementVersions => {
                Ok(text(self.in_time(desk.versions(of, month)).await?))
            }
            Route::Restate | Route::GroupRestate => {
                let mut asked = self.small_body(caller, parts, body).await?;
                // Who asks again gets what was begun for them.
                let asked = desk.restate(caller, of, month, &mut asked);
                let restated = self.in_time(asked).await?;
                let status = if restated.is_new { StatusCode::CREATED } else { StatusCode::OK };
                Ok(json(status, restated.statement.to_bytes().map_err(BillingError::from)?))
            }
            _ => Err(Kind::NotFound.into()),
        }
    }

    /// Whose statement is asked for: a site's, or by its key scope a billing group's, of which the
    /// caller must have every member.
    fn subject(
        &self,
        route: Route,
        caller: &Caller,
        [first, month]: [&str; 2],
    ) -> Result<(SiteId, Month), Refusal> {
        let month = Month::parse(month.as_bytes()).ok_or(Kind::BadMonth);
        match route {
            Route::GroupStatementGet
            | Route::GroupStatementVersions
            | Route::GroupStatementPage
            | Route::GroupRestate
            | Route::GroupExport
            | Route::GroupChallenge => {
                let group = GroupId::parse(first.as_bytes()).ok_or(Kind::NotFound)?;
                let month = month?;
                Ok((self.desks().billing.group(caller, &group, month)?, month))
            }
            _ => Ok((site(caller, first)?, month?)),
        }
    }

    /// Waits for a desk, as long as for any answer. What it has begun it finishes all the same: a
    /// statement is issued, a month is explained, and who asks again gets it.
    pub(super) async fn in_time<T, E: Into<Refusal>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Refusal> {
        match tokio::time::timeout(self.settings().deadlines.answer, asked).await {
            Ok(answered) => answered.map_err(Into::into),
            Err(_) => Err(Kind::SlowAnswer.into()),
        }
    }

    /// Answers a figure of a statement in the form of a billing system.
    pub(super) async fn export(
        &self,
        route: Route,
        caller: &Caller,
        captures: [&str; 2],
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        let known = ["format", "metric", "amount", "at", "version", "event", "customer"];
        let query = Query::parse(parts.uri.query(), &known).ok_or(Kind::BadQuery)?;
        let (of, month) = self.subject(route, caller, captures)?;
        let format = query.get("format").and_then(|text| Format::from_name(text.as_bytes()));
        let format = format.ok_or(Kind::BadQuery)?;
        let version = query.get("version").map(|text| number(text).ok_or(Kind::BadQuery));
        let version = version.transpose()?.map(|number| u32::try_from(number).unwrap_or(0));
        let name = |name: &str, bytes_max: usize| match query.get(name) {
            Some(text) if !is_name(text, bytes_max) => Err(Kind::BadQuery),
            text => Ok(text.map(str::to_owned)),
        };
        let wanted = Wanted {
            format,
            metric: word(&query, "metric", Metric::Mau, Metric::from_name)?,
            amount: word(&query, "amount", Amount::Total, Amount::from_name)?,
            moment: word(&query, "at", Moment::MonthEnd, Moment::from_name)?,
            version,
            event: name("event", EVENT_NAME_BYTES_MAX)?,
            customer: name("customer", CUSTOMER_BYTES_MAX)?,
        };
        let body = self.in_time(self.desks().billing.export(of, month, wanted)).await?;
        Ok(answer(StatusCode::OK, format.media(), body))
    }

    /// Answers a customer's list. No byte of it is read where there can be no answer.
    pub(super) async fn challenge(
        &self,
        route: Route,
        caller: &Caller,
        captures: [&str; 2],
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let desk = &self.desks().billing;
        Query::parse(parts.uri.query(), &[]).ok_or(Kind::BadQuery)?;
        let (of, month) = self.subject(route, caller, captures)?;
        if media(&parts.headers)? != Media::NdJson {
            return Err(Kind::UnsupportedMedia.into());
        }
        let coding = Coding::from_headers(&parts.headers).ok_or(Kind::UnsupportedCoding)?;
        desk.challengeable(caller, of.clone(), month).await?;
        // Before the first byte of it, and until its answer.
        let _turn = self.lists().admit(&of).ok_or(Kind::Busy)?;
        let max = self.settings().list_bytes_max;
        let list = self.inflated(body, coding, (max, max), self.lists().budget()).await?;
        // The list may have come a minute after its head: what was proven then may have ended.
        self.desks().tokens.still_valid(caller)?;
        let (of, month) = self.subject(route, caller, captures)?;
        let answer = desk.challenge(caller, of, month, list).await?;
        Ok(json(StatusCode::OK, answer))
    }
}

/// A word of a closed list in a query.
fn word<T>(
    query: &Query,
    name: &str,
    default: T,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Kind> {
    query.get(name).map_or(Ok(default), |text| read(text.as_bytes()).ok_or(Kind::BadQuery))
}

/// The page of a statement, with what a browser may do with it.
fn page(statement: &Statement) -> Result<Answer, Refusal> {
    let mut page = answer(StatusCode::OK, HTML, billing::page(statement)?);
    set(&mut page, CONTENT_SECURITY_POLICY, POLICY);
    set(&mut page, REFERRER_POLICY, "no-referrer");
    Ok(page)
}
