//! The settings of retention and of what evidence holds beside what the server knows.

use std::path::PathBuf;
use std::time::Duration;

use super::file::{Evidence, File};
use super::{ConfigError, whole};
use crate::retention;
use crate::wire::retention::processing::{ProcessingSaid, SAID_BYTES_MAX};

/// The settings of the retention desk.
///
/// # Errors
/// The sentence of the first one that is unfit.
pub(super) fn settings(file: &File) -> Result<retention::Settings, ConfigError> {
    let said = &file.retention;
    let profile = retention::policy::Profile::from_name(said.profile.as_bytes());
    let profile = profile.ok_or_else(|| {
        ConfigError::new("[retention] profile must be \"kr-pipa\" or \"eu-gdpr\".")
    })?;
    let minutes = whole("[retention] run_minutes", said.run_minutes, 1, 1_440)?;
    let jump = whole("[retention] clock_jump_days", said.clock_jump_days, 1, 60)?;
    let hours = whole("[retention] turn_over_hours", said.turn_over_hours, 1, 24)?;
    let path = |text: &String| (!text.is_empty()).then(|| PathBuf::from(text));
    Ok(retention::Settings {
        profile,
        policy: path(&said.policy),
        every: Duration::from_secs(minutes * 60),
        jump_days: u32::try_from(jump).unwrap_or(1),
        turn_over: Duration::from_secs(hours * 3_600),
        two_people: said.two_people,
        processors: path(&file.evidence.processors),
        test_report: path(&file.evidence.test_report),
        processing: processing(&file.evidence)?,
        // Known when all of them are.
        configuration: [0; 32],
    })
}

/// What the operator says of the processing.
fn processing(said: &Evidence) -> Result<ProcessingSaid, ConfigError> {
    let text = |name: &str, text: &String| {
        let plain = text.chars().all(|c| !c.is_control() || c == '\n');
        if !plain || text.len() > SAID_BYTES_MAX {
            return Err(ConfigError::new(format!(
                "[evidence] {name} must be a text of at most {SAID_BYTES_MAX} bytes.",
            )));
        }
        Ok((!text.trim().is_empty()).then(|| text.clone()))
    };
    Ok(ProcessingSaid {
        processor: text("processor", &said.processor)?,
        representative: text("representative", &said.representative)?,
        protection_officer: text("protection_officer", &said.protection_officer)?,
        controllers: text("controllers", &said.controllers)?,
        transfers: text("transfers", &said.transfers)?,
        measures: text("measures", &said.measures)?,
    })
}
