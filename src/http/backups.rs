//! The routes of backups: begin one, and see what became of them.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::problem::{Kind, Refusal};
use super::router::Route;
use super::service::{Incoming, Service, json};
use crate::model::caller::Caller;

impl Service {
    /// Answers a route of the desk of backups.
    pub(super) async fn backups(
        &self,
        route: Route,
        caller: &Caller,
        name: &str,
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let desk = &self.desks().backups;
        match route {
            Route::BackupBegin => {
                let mut text = self.small_body(caller, parts, body).await?;
                Ok(json(StatusCode::ACCEPTED, desk.begin(caller, &mut text).await?))
            }
            Route::BackupList => Ok(json(StatusCode::OK, desk.list().await?)),
            Route::BackupGet => Ok(json(StatusCode::OK, desk.read(name).await?)),
            _ => Err(Kind::NotFound.into()),
        }
    }
}
