//! The routes of the desk for statements.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::{Answer, answer};
use super::problem::{Kind, Refusal};
use super::query::Query;
use super::router::Route;
use super::service::{CSV, Incoming, Service, json, site, wants_csv};
use crate::billing::BillingError;
use crate::model::caller::Caller;
use crate::model::time::Month;

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
        let site = site(caller, first)?;
        Query::parse(parts.uri.query(), &[]).ok_or(Kind::BadQuery)?;
        let month = Month::parse(second.as_bytes()).ok_or(Kind::BadMonth)?;
        let text = |bytes| json(StatusCode::OK, bytes);
        match route {
            Route::StatementGet => {
                let csv = wants_csv(parts)?;
                let statement = desk.statement(site, month).await?;
                if csv {
                    return Ok(answer(StatusCode::OK, CSV, statement.body.to_csv()));
                }
                Ok(text(statement.to_bytes().map_err(BillingError::from)?))
            }
            Route::StatementVersions => Ok(text(desk.versions(site, month).await?)),
            Route::Restate => {
                let mut asked = self.small_body(caller, parts, body).await?;
                let statement = desk.restate(caller, site, month, &mut asked).await?;
                Ok(json(StatusCode::CREATED, statement.to_bytes().map_err(BillingError::from)?))
            }
            _ => Err(Kind::NotFound.into()),
        }
    }
}
