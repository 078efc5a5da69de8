//! A figure of a statement for a billing system: which version, how much of it, for whom.

use std::collections::BTreeMap;

use super::{Billing, BillingError};
use crate::crypto::sha256;
use crate::ledger::Digest;
use crate::model::ids::SiteId;
use crate::model::time::{Month, Timestamp};
use crate::wire::export::{Amount, Export, Format, Metric, Moment};
use crate::wire::statement::{Body, Statement};

/// How long before the end of its month, its own or that of UTC, a first version is said to have
/// happened, milliseconds; a later version a second later, so that a meter which takes the last
/// value takes the last version.
const BEFORE_END_MS: i64 = 60_000;
/// Versions that are told apart so.
const APART: u32 = 59;

/// What billing systems call things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The customers of sites, and of groups by their key scope, that are not called as these.
    pub customers: BTreeMap<SiteId, String>,
    /// The meter of users.
    pub mau_event: String,
    /// The meter of issued licences.
    pub licenses_event: String,
    /// The meter of devices that stand for users.
    pub device_users_event: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            customers: BTreeMap::new(),
            mau_event: "drm_mau".to_owned(),
            licenses_event: "drm_licenses".to_owned(),
            device_users_event: "drm_device_users".to_owned(),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose form.
    pub format: Format,
    /// Which figure.
    pub metric: Metric,
    /// How much of it.
    pub amount: Amount,
    /// When it is said to have happened.
    pub moment: Moment,
    /// Which version; the last one where none is named.
    pub version: Option<u32>,
    /// The meter; that of the settings where none is named.
    pub event: Option<String>,
    /// The customer; that of the settings, or the site, where none is named.
    pub customer: Option<String>,
}

impl Billing {
    /// A figure of a closed month's statement as a body for a billing system.
    ///
    /// # Errors
    /// [`BillingError`].
    pub async fn export(
        &self,
        site: SiteId,
        month: Month,
        wanted: Wanted,
    ) -> Result<Vec<u8>, BillingError> {
        self.statement(site.clone(), month).await?;
        let versions = self.0.stored(&site, month)?;
        let of = |version: u32| versions.iter().find(|of| of.body.version == version);
        let chosen = match wanted.version {
            Some(version) => of(version),
            None => versions.last(),
        };
        let body = &chosen.ok_or(BillingError::NotFound)?.body;
        let value = value(&versions, body.version, &wanted)?;
        let names = &self.0.settings.names;
        let known = names.customers.get(&site).cloned();
        let customer = match (wanted.customer.or(known), wanted.format) {
            (Some(customer), _) => customer,
            // Stripe knows customers by its own ids only.
            (None, Format::Stripe) => return Err(BillingError::CustomerMissing),
            (None, _) => match site.group() {
                Some(group) => group.to_string(),
                None => site.to_string(),
            },
        };
        let event = match wanted.metric {
            Metric::Mau => &names.mau_event,
            Metric::LicensesIssued => &names.licenses_event,
            Metric::DeviceUsers => &names.device_users_event,
        };
        let later = i64::from(body.version.saturating_sub(1).min(APART)) * 1_000;
        let export = Export {
            ledger: body.ledger.clone(),
            scope: site,
            month,
            version: body.version,
            digest: Digest(sha256(&[&body.to_bytes()?])),
            metric: wanted.metric,
            amount: wanted.amount,
            value,
            at: match wanted.moment {
                Moment::MonthEnd => Timestamp(end(body).0 - BEFORE_END_MS + later),
                Moment::Issued => body.issued_at,
            },
            event: wanted.event.unwrap_or_else(|| event.clone()),
            customer,
        };
        Ok(export.body(wanted.format)?)
    }
}

/// Where a month ends for its site or in UTC, whichever is first: billing systems cut their periods
/// in UTC where nobody told them otherwise, and what lies before it is in the month of either.
fn end(body: &Body) -> Timestamp {
    let utc = format!("{}-01T00:00:00Z", body.month.next());
    Timestamp::parse(utc.as_bytes()).map_or(body.to, |utc| utc.min(body.to))
}

/// The figure of a version, or how much more it is than that of the version before.
fn value(versions: &[Statement], version: u32, wanted: &Wanted) -> Result<u64, BillingError> {
    let of = |version: u32| versions.iter().find(|of| of.body.version == version);
    let figure = |of: &Statement| match wanted.metric {
        Metric::Mau => of.body.billable.mau,
        Metric::LicensesIssued => of.body.billable.licenses_issued,
        // A statement of an older form bills none of them, whatever its figures say.
        Metric::DeviceUsers => of.body.billable.device_users.unwrap_or_default(),
    };
    let chosen = of(version).ok_or(BillingError::NotFound)?;
    match (wanted.amount, &chosen.body.replaces) {
        (Amount::Total, _) | (Amount::Difference, None) => Ok(figure(chosen)),
        (Amount::Difference, Some(replaced)) => {
            // One that only the ledger knows had figures that nobody can tell any more.
            let before = of(replaced.version).map(figure);
            let more = before.and_then(|before| figure(chosen).checked_sub(before));
            more.ok_or(BillingError::DifferenceUnknown)
        }
    }
}
