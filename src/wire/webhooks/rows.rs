//! The rows that the desk keeps (sealed by the engine): endpoints, and one for each event with its
//! deliveries.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Standing, Topic, Trouble};
use crate::model::ids::SiteId;
use crate::model::time::Timestamp;
use crate::wire::retention::spoken::{maybe, text, texts};
use crate::wire::retention::{BadForm, read, written};

/// Gives a row its bytes.
macro_rules! row {
    ($($name:ident),*) => {$(
        impl $name {
            /// Its bytes.
            ///
            /// # Errors
            /// When there is no memory for them.
            pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
                written(self)
            }

            /// Reads what [`Self::to_bytes`] wrote.
            ///
            /// # Errors
            /// When it has another form.
            pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
                read(bytes)
            }
        }
    )*};
}
row!(EndpointRow, EventRow);

/// Gives a word of a closed list its place in JSON.
macro_rules! words {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                let known = Self::from_name(text.as_bytes());
                known.ok_or_else(|| D::Error::custom("of another form"))
            }
        }
    )*};
}
words!(Topic, Standing, Trouble);

/// The address of an endpoint. It may hold a secret, so it is shown to operators and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Url(pub String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(…)")
    }
}

/// An endpoint; its secret has a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRow {
    /// Its number, from 1, given once.
    pub number: u64,
    /// Where to send to.
    pub url: Url,
    /// What to tell, in order.
    pub topics: Vec<Topic>,
    /// Whether of all sites, those of the future included.
    pub all_sites: bool,
    /// Of which sites, where not of all.
    #[serde(with = "texts")]
    pub sites: Vec<SiteId>,
    /// Who made it.
    pub made_by: String,
    /// When.
    #[serde(with = "text")]
    pub made_at: Timestamp,
    /// When it said that it is gone.
    #[serde(with = "maybe")]
    pub disabled_at: Option<Timestamp>,
}

impl EndpointRow {
    /// Whether it wants to know of an event of a site.
    pub fn wants(&self, topic: Topic, site: &SiteId) -> bool {
        self.topics.contains(&topic) && (self.all_sites || self.sites.contains(site))
    }
}

/// How the last attempt ended: with a status or without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastRow {
    /// When.
    #[serde(with = "text")]
    pub at: Timestamp,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<Trouble>,
}

/// A delivery to one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryRow {
    /// The endpoint.
    pub webhook: u64,
    /// Where it stands.
    pub standing: Standing,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next one is due, while it waits.
    #[serde(with = "text")]
    pub next_at: Timestamp,
    /// How the last one ended.
    pub last: Option<LastRow>,
}

/// An event with its deliveries: there is one row for each event, ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRow {
    /// The id of its message, the same for every endpoint and every attempt.
    pub id: String,
    /// What it is about.
    pub topic: Topic,
    /// Its site.
    #[serde(with = "maybe")]
    pub site: Option<SiteId>,
    /// When it was noticed.
    #[serde(with = "text")]
    pub raised_at: Timestamp,
    /// From when on the row may go: nothing can notice the event again by then.
    #[serde(with = "text")]
    pub keep_until: Timestamp,
    /// The message, byte for byte as it is signed and sent.
    pub body: String,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryRow>,
}

impl EventRow {
    /// The delivery to an endpoint.
    pub fn delivery(&self, webhook: u64) -> Option<&DeliveryRow> {
        self.deliveries.iter().find(|delivery| delivery.webhook == webhook)
    }
}
