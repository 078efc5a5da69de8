//! A statement as what billing systems take: a body that can be posted as it is. One statement
//! version gives one id for each of its figures, so that sending it again changes nothing.
//!
//! The forms are those of Stripe's meter events (API v1), Lago's events and OpenMeter's
//! CloudEvents; `tests/vectors/exports.json` says where they are published.

use serde::Serialize;
use serde_json::json;

use super::retention::{BadForm, written};
use crate::ledger::Digest;
use crate::model::ids::SiteId;
use crate::model::time::{Month, Timestamp};
use crate::model::vocab::vocabulary;

/// Longest name of a meter or event, bytes: that of Stripe.
pub const EVENT_NAME_BYTES_MAX: usize = 100;
/// Longest id of a customer, bytes.
pub const CUSTOMER_BYTES_MAX: usize = 255;

vocabulary! {
    /// Whose form it is.
    pub enum Format {
        /// `POST /v1/billing/meter_events` of Stripe.
        Stripe = 1, "stripe";
        /// `POST /api/v1/events` of Lago.
        Lago = 2, "lago";
        /// `POST /api/v1/events` of OpenMeter.
        OpenMeter = 3, "openmeter";
    }
}

vocabulary! {
    /// What is billed.
    pub enum Metric {
        /// Distinct users.
        Mau = 1, "mau";
        /// Issued licences.
        LicensesIssued = 2, "licenses_issued";
        /// Distinct devices that stand for users; never among the users.
        DeviceUsers = 3, "device_users";
    }
}

vocabulary! {
    /// How much of it.
    pub enum Amount {
        /// All that the version bills, for meters that take the last value.
        Total = 1, "total";
        /// What it bills more than the version before, for meters that add up.
        Difference = 2, "difference";
    }
}

vocabulary! {
    /// When it is said to have happened.
    pub enum Moment {
        /// In the last minute of the month, or of the month in UTC where that ends first; later
        /// versions later.
        MonthEnd = 1, "month_end";
        /// When the version was issued.
        Issued = 2, "issued";
    }
}

/// Whether a name can be that of a meter, or of a customer: printable ASCII, within its length.
pub fn is_name(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A figure of a statement's version on its way to a billing system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The name of the ledger that has the statement.
    pub ledger: String,
    /// The site, or the key scope of a billing group.
    pub scope: SiteId,
    /// The month.
    pub month: Month,
    /// The version.
    pub version: u32,
    /// The SHA-256 of the version's body.
    pub digest: Digest,
    /// Which figure.
    pub metric: Metric,
    /// How much of it.
    pub amount: Amount,
    /// The figure.
    pub value: u64,
    /// When.
    pub at: Timestamp,
    /// The name of the meter or event.
    pub event: String,
    /// The customer.
    pub customer: String,
}

/// What goes with the figure.
#[derive(Serialize)]
struct Properties {
    value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    site_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    billing_group: Option<String>,
    month: String,
    statement_version: u32,
    statement_sha256: String,
}

impl Export {
    /// The same for the same version, figure and kind of amount, and for nothing else; 94 bytes at
    /// most, where Stripe takes 100.
    pub fn id(&self) -> String {
        let metric = match self.metric {
            Metric::Mau => "mau",
            Metric::LicensesIssued => "mal",
            Metric::DeviceUsers => "mdu",
        };
        let amount = match self.amount {
            Amount::Total => "",
            Amount::Difference => "d",
        };
        format!("bt-{}-{}-v{}-{metric}{amount}", self.scope, self.month, self.version)
    }

    /// The body.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn body(&self, format: Format) -> Result<Vec<u8>, BadForm> {
        match format {
            Format::Stripe => Ok(self.stripe().into_bytes()),
            Format::Lago => self.lago(),
            Format::OpenMeter => self.openmeter(),
        }
    }

    fn stripe(&self) -> String {
        let pairs = [
            ("event_name", self.event.clone()),
            ("identifier", self.id()),
            ("payload[stripe_customer_id]", self.customer.clone()),
            ("payload[value]", self.value.to_string()),
            ("timestamp", self.seconds().to_string()),
        ];
        let pairs = pairs.map(|(name, value)| format!("{}={}", escaped(name), escaped(&value)));
        pairs.join("&")
    }

    fn lago(&self) -> Result<Vec<u8>, BadForm> {
        written(&json!({"event": {
            "transaction_id": self.id(),
            "external_subscription_id": self.customer,
            "code": self.event,
            "timestamp": self.seconds(),
            "properties": self.properties(),
        }}))
    }

    fn openmeter(&self) -> Result<Vec<u8>, BadForm> {
        written(&json!({
            "specversion": "1.0",
            "id": self.id(),
            "source": format!("blindtally/{}", escaped(&self.ledger)),
            "type": self.event,
            "subject": self.customer,
            "time": self.at.to_string(),
            "datacontenttype": "application/json",
            "data": self.properties(),
        }))
    }

    fn seconds(&self) -> i64 {
        self.at.0.div_euclid(1_000)
    }

    fn properties(&self) -> Properties {
        Properties {
            value: self.value,
            site_id: (!self.scope.is_group()).then(|| self.scope.to_string()),
            billing_group: self.scope.group().map(|group| group.to_string()),
            month: self.month.to_string(),
            statement_version: self.version,
            statement_sha256: self.digest.to_string(),
        }
    }
}

impl Format {
    /// The media type of its bodies.
    pub const fn media(self) -> &'static str {
        match self {
            Self::Stripe => "application/x-www-form-urlencoded",
            Self::Lago => "application/json",
            Self::OpenMeter => "application/cloudevents+json",
        }
    }
}

/// A text in a form, and in a reference (RFC 3986 §2.3): all but the unreserved is escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn export(site: &str) -> Export {
        Export {
            ledger: "example.com/ledger".to_owned(),
            scope: SiteId::parse_scope(site.as_bytes()).unwrap(),
            month: Month::new(2026, 11).unwrap(),
            version: 1,
            digest: Digest([0xab; 32]),
            metric: Metric::Mau,
            amount: Amount::Total,
            value: 81_231,
            at: Timestamp(1_796_083_140_000),
            event: "drm_mau".to_owned(),
            customer: "cus_N&=1".to_owned(),
        }
    }

    fn text(export: &Export, format: Format) -> String {
        String::from_utf8(export.body(format).unwrap()).unwrap()
    }

    #[test]
    fn bodies_are_as_they_are_documented() {
        let export = export("ACME");
        assert_eq!(
            text(&export, Format::Stripe),
            "event_name=drm_mau&identifier=bt-ACME-2026-11-v1-mau&\
             payload%5Bstripe_customer_id%5D=cus_N%26%3D1&payload%5Bvalue%5D=81231&\
             timestamp=1796083140"
        );
        let lago: serde_json::Value = serde_json::from_str(&text(&export, Format::Lago)).unwrap();
        assert_eq!(lago["event"]["timestamp"], json!(1_796_083_140));
        assert_eq!(lago["event"]["properties"]["value"], json!(81_231));
        let event = text(&export, Format::OpenMeter);
        let event: serde_json::Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event["source"], json!("blindtally/example.com%2Fledger"));
        assert_eq!(event["time"], json!("2026-11-30T23:59:00Z"));
        assert_eq!(event["data"]["statement_sha256"], json!("ab".repeat(32)));
    }

    /// Sites whose names look like the rest of an id are told apart all the same.
    #[test]
    fn ids_are_distinct_and_short() {
        let mut ids = BTreeSet::new();
        let sites = ["A", "A-2026-11-v1-mau", "bt-A", &"x".repeat(64)];
        let mut count = 0;
        for site in sites {
            for version in [1, 11, u32::MAX] {
                for metric in Metric::ALL {
                    for amount in Amount::ALL {
                        let (metric, amount) = (*metric, *amount);
                        let export = Export { version, metric, amount, ..export(site) };
                        assert!(export.id().len() <= 93, "{}", export.id());
                        ids.insert(export.id());
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn names_are_printable_and_short() {
        for good in ["a", "cus_9", "A/B=c", &"x".repeat(9)] {
            assert!(is_name(good, 9), "{good}");
        }
        for bad in ["", "a b", "é", "a\n", "\u{7f}", &"x".repeat(10)] {
            assert!(!is_name(bad, 9), "{bad}");
        }
    }
}
