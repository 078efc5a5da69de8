//! `GET /v1/reconciliation`: what arrived from whom, by the hour.

use hyper::StatusCode;
use hyper::header::LINK;
use hyper::http::request::Parts;

use super::answer::{Answer, answer, set};
use super::problem::{Kind, Refusal};
use super::query::Query;
use super::service::{CSV, Service, json, limit, wants_csv};
use crate::model::arrival::Hour;
use crate::model::caller::Caller;
use crate::model::time::Timestamp;
use crate::reconciliation::Question;

impl Service {
    /// Answers a question for arrivals. The hours are those that begin at `from` or after it, and
    /// before `to`.
    pub(super) async fn reconciliation(
        &self,
        caller: &Caller,
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        let csv = wants_csv(parts)?;
        let query = Query::parse(parts.uri.query(), &["from", "to", "limit", "cursor"]);
        let query = query.ok_or(Kind::BadQuery)?;
        let (from, to) = (hour(&query, "from")?, hour(&query, "to")?);
        let range = from.unwrap_or(Hour(0))..to.unwrap_or(Hour(u32::MAX));
        let limit = limit(&query)?;
        let asked = Question { range, limit, cursor: query.get("cursor").map(str::to_owned) };
        let page = self.in_time(self.desks().reconciliation.ask(caller, asked)).await?;
        let mut answered = match csv {
            true => answer(StatusCode::OK, CSV, page.to_csv()),
            false => json(StatusCode::OK, page.to_json()),
        };
        if let Some(cursor) = &page.next_cursor {
            let given = [("from", from), ("to", to)].into_iter();
            let given = given.filter_map(|(name, hour)| Some(format!("{name}={}&", hour?.start())));
            let rest = format!("{}limit={limit}&cursor={cursor}", given.collect::<String>());
            set(&mut answered, LINK, &format!("</v1/reconciliation?{rest}>; rel=\"next\""));
        }
        Ok(answered)
    }
}

/// The first hour that begins at a time of the query or after it, where one is given.
fn hour(query: &Query, name: &str) -> Result<Option<Hour>, Refusal> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let at = Timestamp::parse(text.as_bytes()).ok_or(Kind::BadQuery)?;
    Ok(Some(Hour::from(at)))
}
