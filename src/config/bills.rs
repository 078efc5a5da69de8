//! The settings of challenges and exports.

use std::collections::BTreeMap;

use super::file::{Export, File};
use super::{ConfigError, whole};
use crate::billing;
use crate::model::ids::SiteId;
use crate::wire::export::{CUSTOMER_BYTES_MAX, EVENT_NAME_BYTES_MAX, is_name};

/// The settings of the desk for statements.
///
/// # Errors
/// The sentence of the first one that is unfit.
pub(super) fn settings(file: &File) -> Result<billing::Settings, ConfigError> {
    let said = &file.challenge;
    let counted_min = whole("[challenge] counted_min", said.counted_min, 1, 1 << 20)?;
    let least = "[challenge] list_users_min";
    let challenge = billing::Challenges {
        // A list of fewer users than are told would never be answered.
        list_min: whole(least, said.list_users_min, counted_min, 1 << 30)?,
        lines_max: whole("[challenge] list_lines", said.list_lines, 1, 1 << 30)?,
        counted_min,
        budget: whole("[challenge] budget", said.budget, 0, 1_000)?,
    };
    let least = file.explain.subjects_least;
    let subjects_least = whole("[explain] subjects_least", least, 1, 1_000)?;
    Ok(billing::Settings { subjects_least, challenge, names: export_names(&file.export)? })
}

fn export_names(said: &Export) -> Result<billing::Names, ConfigError> {
    let events = [
        ("mau_event", &said.mau_event),
        ("licenses_event", &said.licenses_event),
        ("device_users_event", &said.device_users_event),
    ];
    for (setting, name) in events {
        if !is_name(name, EVENT_NAME_BYTES_MAX) {
            return Err(ConfigError::new(format!(
                "[export] {setting} must be 1 to 100 printable characters without space."
            )));
        }
    }
    let mut customers = BTreeMap::new();
    for pair in &said.customers {
        let (site, customer) = pair.split_once('=').unwrap_or_default();
        let site = SiteId::parse_scope(site.as_bytes());
        let site = site.filter(|_| is_name(customer, CUSTOMER_BYTES_MAX)).ok_or_else(|| {
            ConfigError::new("[export] customers must hold texts like \"SITE=customer\".")
        })?;
        if customers.insert(site, customer.to_owned()).is_some() {
            return Err(ConfigError::new("[export] customers names a site twice."));
        }
    }
    let (mau_event, licenses_event) = (said.mau_event.clone(), said.licenses_event.clone());
    let device_users_event = said.device_users_event.clone();
    Ok(billing::Names { customers, mau_event, licenses_event, device_users_event })
}
