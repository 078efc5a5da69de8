//! The routes of the retention desk: lots, holds, runs, certificates, the end of a site.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::problem::{Kind, Refusal};
use super::query::Query;
use super::router::Route;
use super::service::{Incoming, Service, json, site};
use crate::model::caller::Caller;
use crate::model::time::{Day, Month};
use crate::retention::{Desk, Question};

/// Most and usual number of lots in one answer.
const LOTS_MAX: usize = 10_000;
const LOTS_DEFAULT: usize = 1_000;

impl Service {
    /// Answers a route of the retention desk.
    pub(super) async fn retention(
        &self,
        route: Route,
        caller: &Caller,
        [first, second]: [&str; 2],
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let desk = &self.desks().retention;
        let ok = |text| Ok(json(StatusCode::OK, text));
        match route {
            Route::SiteTerminate => {
                let site = site(caller, first)?;
                let mut text = self.small_body(caller, parts, body).await?;
                Ok(done_or_waits(desk.terminate(caller, site, &mut text).await?))
            }
            Route::HoldOpen => {
                let site = site(caller, first)?;
                let mut text = self.small_body(caller, parts, body).await?;
                let opened = desk.open_hold(caller, site, &mut text).await?;
                Ok(json(StatusCode::CREATED, opened))
            }
            Route::HoldList => {
                let site = site(caller, first)?;
                ok(desk.look_up(move |desk| desk.holds(&site)).await?)
            }
            Route::HoldReview => {
                let site = site(caller, first)?;
                let mut text = self.small_body(caller, parts, body).await?;
                ok(desk.review_hold(caller, site, second, &mut text).await?)
            }
            Route::HoldRelease => {
                let site = site(caller, first)?;
                let (ended, text) = desk.release_hold(caller, site, second).await?;
                if ended {
                    // Somebody's erasure may have waited for it.
                    self.desks().subjects.nudge();
                }
                Ok(json(if ended { StatusCode::OK } else { StatusCode::ACCEPTED }, text))
            }
            Route::RetentionList => list(desk, caller, parts).await,
            Route::RetentionRun => ok(desk.run(caller).await?),
            Route::MonthRemove => {
                let site = site(caller, first)?;
                let month = Month::parse(second.as_bytes()).ok_or(Kind::BadMonth)?;
                let mut text = self.small_body(caller, parts, body).await?;
                Ok(done_or_waits(desk.remove(caller, site, month, &mut text).await?))
            }
            Route::ClockConfirm => {
                let mut text = self.small_body(caller, parts, body).await?;
                Ok(done_or_waits(desk.confirm_clock(caller, &mut text).await?))
            }
            Route::Evidence => ok(desk.evidence(caller).await?),
            Route::AccessLog => {
                let day = asked_day(parts)?;
                ok(desk.access(caller, day).await?)
            }
            Route::CertificateList => {
                let query = Query::parse(parts.uri.query(), &["cursor"]).ok_or(Kind::BadQuery)?;
                let from = query.get("cursor").map_or(Ok(0), str::parse);
                let (from, caller) = (from.map_err(|_| Kind::BadCursor)?, caller.clone());
                ok(desk.look_up(move |desk| desk.certificates(&caller, from)).await?)
            }
            Route::CertificateGet => {
                let (id, caller) = (first.to_owned(), caller.clone());
                ok(desk.look_up(move |desk| desk.certificate(&caller, &id)).await?)
            }
            _ => Err(Kind::NotFound.into()),
        }
    }
}

/// What is done, or waits for a second person or a copy.
fn done_or_waits((done, text): (bool, Vec<u8>)) -> Answer {
    json(if done { StatusCode::OK } else { StatusCode::ACCEPTED }, text)
}

/// The UTC day that is asked for, YYYY-MM-DD.
fn asked_day(parts: &Parts) -> Result<Option<Day>, Refusal> {
    let query = Query::parse(parts.uri.query(), &["day"]).ok_or(Kind::BadQuery)?;
    let Some(text) = query.get("day") else { return Ok(None) };
    Ok(Some(Day::parse(text.as_bytes()).ok_or(Kind::BadQuery)?))
}

async fn list(desk: &Desk, caller: &Caller, parts: &Parts) -> Result<Answer, Refusal> {
    let known = ["site", "state", "limit", "cursor"];
    let query = Query::parse(parts.uri.query(), &known).ok_or(Kind::BadQuery)?;
    let state = match query.get("state") {
        None => None,
        Some(name) => Some(Question::state_of(name).ok_or(Kind::BadQuery)?),
    };
    let limit = match query.get("limit").map(str::parse) {
        None => LOTS_DEFAULT,
        Some(Ok(limit @ 1..=LOTS_MAX)) => limit,
        Some(_) => return Err(Kind::BadQuery.into()),
    };
    let from = match query.get("cursor").map(str::parse) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return Err(Kind::BadCursor.into()),
    };
    let site = query.get("site").map(|text| site(caller, text)).transpose()?;
    let question = Question { site, state, limit, from };
    let caller = caller.clone();
    let text = desk.look_up(move |desk| desk.list(&caller, &question)).await?;
    Ok(json(StatusCode::OK, text))
}
