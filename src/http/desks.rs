//! The routes of the desks that have a page of their own here.

use std::sync::Arc;

use hyper::http::request::Parts;

use super::answer::Answer;
use super::problem::{Kind, Refusal};
use super::router::Route;
use super::service::{Incoming, Service};
use crate::model::caller::Caller;

impl Service {
    /// Hands a request to the page of its desk.
    pub(super) async fn ask_desk(
        self: &Arc<Self>,
        route: Route,
        caller: &Caller,
        captures: [&str; 2],
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let [first, _] = captures;
        match route {
            Route::SiteTerminate
            | Route::HoldOpen
            | Route::HoldList
            | Route::HoldReview
            | Route::HoldRelease
            | Route::RetentionList
            | Route::RetentionRun
            | Route::MonthRemove
            | Route::ClockConfirm
            | Route::CertificateList
            | Route::CertificateGet
            | Route::Evidence
            | Route::AccessLog => self.retention(route, caller, captures, (parts, body)).await,
            Route::SubjectErase | Route::SubjectErasures => {
                self.subjects(route, caller, first, (parts, body)).await
            }
            Route::BackfillCreate
            | Route::BackfillList
            | Route::BackfillGet
            | Route::BackfillLoad
            | Route::BackfillClose
            | Route::BackfillAbandon => self.backfills(route, caller, first, (parts, body)).await,
            Route::BackupBegin | Route::BackupList | Route::BackupGet => {
                self.backups(route, caller, first, (parts, body)).await
            }
            Route::WebhookCreate
            | Route::WebhookList
            | Route::WebhookRemove
            | Route::WebhookRotate
            | Route::WebhookTest
            | Route::WebhookDeliveries => self.webhooks(route, caller, first, (parts, body)).await,
            _ => Err(Kind::NotFound.into()),
        }
    }
}
