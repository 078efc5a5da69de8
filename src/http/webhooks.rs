//! The routes of the webhook desk.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::{Answer, JSON, answer, empty};
use super::problem::{Kind, Refusal};
use super::query::Query;
use super::router::Route;
use super::service::{Incoming, Service, json};
use crate::model::caller::Caller;
use crate::webhooks::DELIVERIES_MAX;

/// Usual number of deliveries in one answer.
const DELIVERIES_DEFAULT: usize = 100;

impl Service {
    /// Answers a route of the webhook desk.
    pub(super) async fn webhooks(
        &self,
        route: Route,
        caller: &Caller,
        id: &str,
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let desk = &self.desks().webhooks;
        match route {
            Route::WebhookCreate => {
                let mut text = self.small_body(caller, parts, body).await?;
                let made = desk.create(caller, &mut text).await?;
                // Wiped when the connection has sent it.
                Ok(answer(StatusCode::CREATED, JSON, Bytes::from_owner(made)))
            }
            Route::WebhookList => Ok(json(StatusCode::OK, desk.list(caller))),
            Route::WebhookRemove => {
                desk.remove(caller, id).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            Route::WebhookRotate => {
                let made = desk.rotate(caller, id).await?;
                Ok(answer(StatusCode::OK, JSON, Bytes::from_owner(made)))
            }
            Route::WebhookTest => Ok(json(StatusCode::ACCEPTED, desk.test(caller, id).await?)),
            Route::WebhookDeliveries => {
                let query = Query::parse(parts.uri.query(), &["limit"]).ok_or(Kind::BadQuery)?;
                let limit = match query.get("limit").map(str::parse) {
                    None => DELIVERIES_DEFAULT,
                    Some(Ok(limit @ 1..=DELIVERIES_MAX)) => limit,
                    Some(_) => return Err(Kind::BadQuery.into()),
                };
                Ok(json(StatusCode::OK, desk.deliveries(caller, id, limit)?))
            }
            _ => Err(Kind::NotFound.into()),
        }
    }
}
