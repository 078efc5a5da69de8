//! The routes of the ledger: its entries, its last checkpoint, and the proof of an entry.

use hyper::StatusCode;
use hyper::http::request::Parts;

use super::answer::{Answer, JSON, answer};
use super::problem::{Kind, Refusal};
use super::query::{Query, choose};
use super::service::{ROWS_DEFAULT, ROWS_MAX, Service, json, number};
use crate::model::caller::Caller;

/// The media type of a signed note (C2SP).
const NOTE: &str = "text/plain; charset=utf-8";

impl Service {
    pub(super) async fn ledger_list(
        &self,
        caller: &Caller,
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        let query = Query::parse(parts.uri.query(), &["from", "limit"]).ok_or(Kind::BadQuery)?;
        let from = match query.get("from") {
            None => 0,
            Some(text) => number(text).ok_or(Kind::BadEntryNumber)?,
        };
        let limit = match query.get("limit").map(number) {
            None => ROWS_DEFAULT as u64,
            Some(Some(limit)) if (1..=ROWS_MAX as u64).contains(&limit) => limit,
            Some(_) => return Err(Kind::BadQuery.into()),
        };
        Ok(json(StatusCode::OK, self.desks().audit.list(caller, from, limit).await?))
    }

    pub(super) fn ledger_head(&self, parts: &Parts) -> Result<Answer, Refusal> {
        let chosen = choose(&parts.headers, &[JSON, "text/plain"]).ok_or(Kind::NotAcceptable)?;
        let head = self.desks().audit.head()?;
        Ok(match chosen {
            0 => json(StatusCode::OK, head.to_json()),
            // The signed note as it is, which the tools of transparency logs read.
            _ => answer(StatusCode::OK, NOTE, head.checkpoint),
        })
    }

    pub(super) async fn ledger_proof(
        &self,
        caller: &Caller,
        entry: &str,
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        let index = number(entry).ok_or(Kind::BadEntryNumber)?;
        let query = Query::parse(parts.uri.query(), &["size"]).ok_or(Kind::BadQuery)?;
        let proof = match query.get("size") {
            None => self.desks().audit.proof(caller, index).await?,
            Some(size) => {
                let size = number(size).ok_or(Kind::BadQuery)?;
                self.desks().audit.proof_under(caller, index, size).await?
            }
        };
        Ok(json(StatusCode::OK, proof))
    }
}
