//! Batches for a backfill: the same way as all others up to rows without raw ids, and then they are
//! put aside instead of being judged.

use std::sync::Arc;

use super::{
    Draft, Ingest, KeyName, Post, Posted, Prepared, Running, digest_of, nothing, off_reactor,
};
use crate::crypto;
use crate::engine::backfill::{Loaded, Loading};
use crate::engine::{Answer, Outcome};
use crate::store::backfill::Staged;
use crate::wire::Receipt;
use crate::wire::backfill::backfill_id;

impl KeyName {
    /// The same key of a batch that is sent to a backfill is another one.
    fn of_backfill(self, number: u64) -> Self {
        let scope = [&self.scope[..], b"backfill", &number.to_be_bytes()].concat();
        Self { scope: crypto::digest(&scope), ..self }
    }
}

impl Ingest {
    /// Takes a batch for a backfill: answers when everything that was not refused is durable. It is
    /// counted when the backfill is closed.
    pub async fn load(&self, post: Post<'_>, number: u64) -> Posted {
        let name = post.idempotency_key.map(|key| KeyName::new(post.caller, key));
        let Some(name) = name.map(|name| name.of_backfill(number)) else {
            return self.load_once(post, number, None).await;
        };
        let Some(_running) = Running::begin(&self.shared, name) else {
            return Posted::IdempotencyRunning;
        };
        let bytes = post.body.len();
        let digest = off_reactor(&self.shared.large, bytes, || digest_of(&post)).await;
        match self.engine.kept_answer(&name.scope, &name.key) {
            Ok(None) => self.load_once(post, number, Some((name, digest))).await,
            Ok(Some((first, body))) if crypto::equal(&first, &digest) => {
                Posted::Receipt { status: 200, body, replayed: true }
            }
            Ok(Some(_)) => Posted::IdempotencyMismatch,
            Err(error) => error.into(),
        }
    }

    async fn load_once(
        &self,
        post: Post<'_>,
        number: u64,
        key: Option<(KeyName, [u8; 32])>,
    ) -> Posted {
        let target = match self.engine.loading(number) {
            Ok(Some(target)) => target,
            Ok(None) => return Posted::BackfillNotOpen,
            Err(error) => return error.into(),
        };
        let bytes = post.body.len();
        let prepared =
            off_reactor(&self.shared.large, bytes, || self.prepare(post, Some(&target))).await;
        let Prepared { batch, draft, marks, .. } = match prepared {
            Ok(prepared) => prepared,
            Err(posted) => return posted,
        };
        if batch.claims.is_empty() {
            // Nothing waits for the close, so what was refused is counted now, as for any batch.
            let now = self.engine.clock().now();
            if batch.arrival.senders.is_empty() {
                return loaded(&draft.loaded(&nothing(now)), number);
            }
            return match self.engine.commit(batch, Vec::new(), None).await {
                Ok(outcome) => loaded(&draft.loaded(&outcome), number),
                Err(error) => error.into(),
            };
        }
        let mut batch = batch;
        self.engine.leave_out_due(&mut batch);
        if batch.claims.iter().any(|claim| claim.suppressed) {
            batch.strip(|claim| claim.suppressed);
        }
        self.put_aside(&target, &Staged { batch, marks }, draft, key).await
    }

    async fn put_aside(
        &self,
        target: &Loading,
        staged: &Staged,
        draft: Draft,
        key: Option<(KeyName, [u8; 32])>,
    ) -> Posted {
        let (number, draft) = (target.job.number, Arc::new(draft));
        let answer = key.map(|(KeyName { scope, key }, body_digest)| {
            let draft = Arc::clone(&draft);
            let render = move |outcome: &Outcome| match loaded(&draft.loaded(outcome), number) {
                Posted::Receipt { status: 200, body, .. } => Some(body),
                _ => None,
            };
            Answer { scope, key, body_digest, render: Box::new(render) }
        });
        match self.engine.load(target, staged, answer).await {
            Ok(Loaded::Done(outcome)) => loaded(&draft.loaded(&outcome), number),
            Ok(Loaded::NotOpen) => Posted::BackfillNotOpen,
            Ok(Loaded::Full) => Posted::BackfillFull,
            Err(error) => error.into(),
        }
    }
}

impl Draft {
    /// The receipt of what was put aside.
    fn loaded(&self, outcome: &Outcome) -> Receipt {
        let mut receipt = self.receipt.clone();
        receipt.receipt.clone_from(&outcome.receipt);
        receipt.received_at = outcome.judged_at.to_string();
        receipt.accepted = self.indexes.len() as u64;
        receipt
    }
}

fn loaded(receipt: &Receipt, number: u64) -> Posted {
    let (status, body) = if receipt.is_success() {
        (200, receipt.to_loaded_json(&backfill_id(number)).into_bytes())
    } else {
        (422, receipt.to_problem().to_json())
    };
    Posted::Receipt { status, body, replayed: false }
}
