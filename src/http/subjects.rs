//! The routes of the desk for people. The id is in the body only, which is wiped.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::problem::{Kind, Refusal};
use super::router::Route;
use super::service::{Incoming, Service, json, site};
use crate::model::caller::Caller;

impl Service {
    /// Answers a route of the desk for people.
    pub(super) async fn subjects(
        &self,
        route: Route,
        caller: &Caller,
        name: &str,
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let desk = &self.desks().subjects;
        let site = site(caller, name)?;
        match route {
            Route::SubjectErase => {
                let text = self.small_body(caller, parts, body).await?;
                let (done, text) = desk.erase(caller, site, text).await?;
                Ok(json(if done { StatusCode::OK } else { StatusCode::ACCEPTED }, text))
            }
            Route::SubjectErasures => Ok(json(StatusCode::OK, desk.standing(&site)?)),
            _ => Err(Kind::NotFound.into()),
        }
    }
}
