//! The routes that explain a month's licences.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::{Answer, answer};
use super::problem::{Kind, Refusal};
use super::query::Query;
use super::router::Route;
use super::service::{CSV, Service, json, site, wants_csv};
use crate::model::caller::Caller;
use crate::model::time::Month;

impl Service {
    /// Answers a route that explains a month.
    pub(super) async fn explained(
        &self,
        route: Route,
        caller: &Caller,
        [first, second]: [&str; 2],
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        let site = site(caller, first)?;
        let csv = route == Route::UsageExplained && wants_csv(parts)?;
        Query::parse(parts.uri.query(), &[]).ok_or(Kind::BadQuery)?;
        let month = Month::parse(second.as_bytes()).ok_or(Kind::BadMonth)?;
        // What has begun goes on, and is there for who asks again; who waits for a turn leaves it.
        let shown = self.in_time(self.desks().usage.explain(caller, site, month)).await?;
        Ok(match (route, csv) {
            (_, true) => answer(StatusCode::OK, CSV, shown.to_csv()),
            (Route::PallyconStatistics, _) => json(StatusCode::OK, shown.to_pallycon()),
            _ => json(StatusCode::OK, shown.to_json()),
        })
    }
}
