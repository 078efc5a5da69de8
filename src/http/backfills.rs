//! The routes of the desk for backfills.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::problem::{Kind, Refusal};
use super::router::Route;
use super::service::{Incoming, Service, json};
use crate::model::caller::Caller;

impl Service {
    /// Answers a route of the desk for backfills.
    pub(super) async fn backfills(
        self: &Arc<Self>,
        route: Route,
        caller: &Caller,
        id: &str,
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let desk = &self.desks().backfills;
        match route {
            Route::BackfillCreate => {
                let mut text = self.small_body(caller, parts, body).await?;
                Ok(json(StatusCode::CREATED, desk.create(caller, &mut text).await?))
            }
            Route::BackfillList => Ok(json(StatusCode::OK, desk.list(caller))),
            Route::BackfillGet => Ok(json(StatusCode::OK, desk.read(caller, id)?)),
            Route::BackfillLoad => {
                let number = desk.loadable(caller, id)?;
                self.post_records(caller, Some(number), (parts, body)).await
            }
            Route::BackfillClose => Ok(json(StatusCode::OK, desk.close(caller, id).await?)),
            Route::BackfillAbandon => {
                let (gone, view) = desk.abandon(caller, id).await?;
                let status = if gone { StatusCode::OK } else { StatusCode::ACCEPTED };
                Ok(json(status, view))
            }
            _ => Err(Kind::NotFound.into()),
        }
    }
}
