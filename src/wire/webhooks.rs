//! What the webhook desk reads, keeps, answers and sends: bodies of requests, rows of its own, the
//! messages in the form of the Standard Webhooks specification. What is kept has one spelling: what
//! is read, written again, is the same bytes.

pub mod message;
pub mod rows;
#[cfg(test)]
mod tests;
pub mod view;

use super::admin::Form;
use super::fault::{Flaw, Pointer};
use crate::model::caller::SiteScope;
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::vocab::vocabulary;

/// Longest address of an endpoint, bytes.
pub const URL_BYTES_MAX: usize = 2_000;

vocabulary! {
    /// What can be told.
    pub enum Topic {
        /// A month of a site has its final figures.
        MonthClosed = 1, "month.closed";
        /// A month's users have reached a share of the plan of its site.
        ThresholdReached = 2, "threshold.reached";
        /// Too many licences of a month name no user.
        QualityAlarm = 3, "quality.alarm";
        /// Data of a site was destroyed, with a certificate.
        DestructionDone = 4, "destruction.done";
        /// An operator wants to see whether messages arrive. Nobody subscribes to it.
        Test = 5, "webhook.test";
    }
}

vocabulary! {
    /// Where the delivery of a message to an endpoint stands.
    pub enum Standing {
        /// It will be tried, or tried again.
        Waiting = 1, "waiting";
        /// The endpoint has it.
        Delivered = 2, "delivered";
        /// The last attempt failed as well.
        Failed = 3, "failed";
        /// The endpoint was disabled before it could be delivered.
        Dropped = 4, "dropped";
    }
}

vocabulary! {
    /// Why there was no answer.
    pub enum Trouble {
        /// The host's name cannot be resolved.
        Name = 1, "name";
        /// The host is inside of our network, or not in the public one.
        InternalAddress = 2, "internal_address";
        /// Nobody answers there.
        Connection = 3, "connection";
        /// No TLS 1.3, or a certificate that nobody known vouches for.
        Tls = 4, "tls";
        /// It took too long.
        Timeout = 5, "timeout";
        /// What came back is no HTTP/1.1.
        Answer = 6, "answer";
    }
}

impl Topic {
    /// Whether an endpoint can ask for it.
    pub fn can_be_asked_for(self) -> bool {
        self != Self::Test
    }
}

/// The body of `POST /v1/webhooks`.
#[derive(Clone, PartialEq, Eq)]
pub struct HookRequest {
    /// Where to send to; nobody has looked at it yet. It may hold a secret.
    pub url: String,
    /// What to tell, in order, each once.
    pub topics: Vec<Topic>,
    /// Of which sites; `None` where the request does not say.
    pub sites: Option<SiteScope>,
}

impl HookRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let (mut url, mut topics, mut sites) = (None, None, None);
        Form::read(body, |form, name| match name {
            b"url" => form.member("url", |form| {
                url = Some(form.text(1, URL_BYTES_MAX)?);
                Ok(())
            }),
            b"events" => form.member("events", |form| {
                topics = Some(form.list(topic)?);
                Ok(())
            }),
            b"sites" => form.member("sites", |form| {
                sites = form.optional(Form::sites)?;
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        let missing = |name| Flaw { reason: Reason::MissingField, pointer: Pointer::of(name) };
        let mut topics: Vec<Topic> = topics.ok_or_else(|| missing("events"))?;
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return Err(Flaw { reason: Reason::BadValue, pointer: Pointer::of("events") });
        }
        Ok(Self { url: url.ok_or_else(|| missing("url"))?, topics, sites })
    }
}

fn topic(form: &mut Form<'_>) -> Result<Topic, Flaw> {
    let text = form.text(0, limits::TEXT_BYTES_MAX)?;
    let known = Topic::from_name(text.as_bytes()).filter(|topic| topic.can_be_asked_for());
    known.ok_or_else(|| form.flaw(Reason::BadValue))
}

/// The id of an endpoint in paths and answers.
pub fn hook_id(number: u64) -> String {
    format!("w{number}")
}

/// The number of an endpoint's id.
pub fn hook_number(id: &str) -> Option<u64> {
    let number = id.strip_prefix('w')?.parse().ok()?;
    (hook_id(number) == id).then_some(number)
}
