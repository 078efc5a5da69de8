//! The route of a billing group's month.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::problem::{Kind, Refusal};
use super::query::Query;
use super::service::{Service, json};
use crate::model::caller::Caller;
use crate::model::ids::GroupId;
use crate::model::time::Month;

impl Service {
    /// Answers with the figures of a group's month.
    pub(super) fn group_usage(
        &self,
        caller: &Caller,
        [group, month]: [&str; 2],
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        let group = GroupId::parse(group.as_bytes()).ok_or(Kind::NotFound)?;
        Query::parse(parts.uri.query(), &[]).ok_or(Kind::BadQuery)?;
        let month = Month::parse(month.as_bytes()).ok_or(Kind::BadMonth)?;
        Ok(json(StatusCode::OK, self.desks().usage.group(caller, &group, month)?))
    }
}
