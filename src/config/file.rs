//! The shape of the configuration file and its defaults; config/server.toml documents each.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{ConfigError, ENV_PREFIX};
use crate::billing;
use crate::model::limits;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub server: Server,
    pub tls: Tls,
    pub storage: Storage,
    pub keys: Keys,
    pub ledger: Ledger,
    pub limits: Limits,
    pub memory: Memory,
    pub fold: Fold,
    pub explain: Explain,
    pub retention: Retention,
    pub evidence: Evidence,
    pub backfill: Backfill,
    pub backup: Backup,
    pub webhooks: Webhooks,
    pub challenge: Challenge,
    pub export: Export,
    pub log: Log,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    pub listen: Vec<String>,
    pub max_connections: u64,
    pub max_connections_per_peer: u64,
    pub handshake_seconds: u64,
    pub header_seconds: u64,
    pub body_seconds: u64,
    pub answer_seconds: u64,
    pub idle_seconds: u64,
    pub drain_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:8080".to_owned()],
            max_connections: 4_096,
            max_connections_per_peer: 1_024,
            handshake_seconds: 5,
            header_seconds: 10,
            body_seconds: 60,
            answer_seconds: 60,
            idle_seconds: 75,
            drain_seconds: 30,
        }
    }
}

/// `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub certificate: String,
    pub private_key: String,
    pub reload_seconds: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: String::new(), private_key: String::new(), reload_seconds: 5 }
    }
}

/// `[storage]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Storage {
    pub data: String,
    pub keys: String,
    pub vek_home: String,
    pub root_key: String,
    pub allow_same_device: bool,
    pub free_bytes: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            data: "./blindtally-data".to_owned(),
            keys: String::new(),
            vek_home: String::new(),
            root_key: String::new(),
            allow_same_device: true,
            free_bytes: 512 << 20,
        }
    }
}

/// `[keys]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    pub copies: Vec<String>,
    pub root: String,
    pub root_shares: Vec<String>,
    pub pkcs11_module: String,
    pub pkcs11_token: String,
    pub pkcs11_pin_file: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            copies: Vec::new(),
            root: "key-file".to_owned(),
            root_shares: Vec::new(),
            pkcs11_module: String::new(),
            pkcs11_token: String::new(),
            pkcs11_pin_file: String::new(),
        }
    }
}

/// `[ledger]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ledger {
    pub dir: String,
    pub signing_key: String,
    pub name: String,
    pub second_copy: String,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub body_bytes: u64,
    pub encoded_body_bytes: u64,
    pub held_body_bytes: u64,
    pub batch_records: u64,
    pub record_bytes: u64,
    pub age_days: u64,
    pub future_seconds: u64,
    pub queue_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: limits::BODY_BYTES_MAX as u64,
            encoded_body_bytes: limits::BODY_BYTES_MAX as u64,
            held_body_bytes: 512 << 20,
            batch_records: limits::BATCH_RECORDS_MAX as u64,
            record_bytes: limits::RECORD_BYTES_MAX as u64,
            age_days: 35,
            future_seconds: 300,
            queue_bytes: 64 << 20,
        }
    }
}

/// `[memory]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Memory {
    pub tally_bytes: u64,
    pub seen_bytes: u64,
    pub tag_cache_bytes: u64,
    pub block_cache_bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            tally_bytes: 4 << 30,
            seen_bytes: 2 << 30,
            tag_cache_bytes: 64 << 20,
            block_cache_bytes: 256 << 20,
        }
    }
}

/// `[fold]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fold {
    pub segment_bytes: u64,
    pub unfolded_bytes: u64,
    pub seconds: u64,
}

impl Default for Fold {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, unfolded_bytes: 512 << 20, seconds: 60 }
    }
}

/// `[explain]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Explain {
    pub memory_bytes: u64,
    pub fresh_seconds: u64,
    pub subjects_least: u64,
    pub devices_per_user: u64,
    pub users_per_device: u64,
    pub license_share_ppm: u64,
    pub license_share_least: u64,
}

impl Default for Explain {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            fresh_seconds: 86_400,
            subjects_least: 10,
            devices_per_user: 50,
            users_per_device: 20,
            license_share_ppm: 10_000,
            license_share_least: 10_000,
        }
    }
}

/// `[backfill]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Backfill {
    pub records: u64,
    pub bytes: u64,
    pub open_days: u64,
}

impl Default for Backfill {
    fn default() -> Self {
        Self { records: 500_000, bytes: 128 << 20, open_days: 14 }
    }
}

/// `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retention {
    pub profile: String,
    pub policy: String,
    pub run_minutes: u64,
    pub clock_jump_days: u64,
    pub turn_over_hours: u64,
    pub two_people: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            profile: "kr-pipa".to_owned(),
            policy: String::new(),
            run_minutes: 60,
            clock_jump_days: 3,
            turn_over_hours: 24,
            two_people: false,
        }
    }
}

/// `[evidence]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Evidence {
    pub processors: String,
    pub test_report: String,
    pub processor: String,
    pub representative: String,
    pub protection_officer: String,
    pub controllers: String,
    pub transfers: String,
    pub measures: String,
}

/// `[backup]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Backup {
    pub dir: String,
}

/// `[webhooks]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Webhooks {
    pub allow_internal: bool,
    pub roots: String,
    pub timeout_seconds: u64,
    pub look_seconds: u64,
    pub keep_days: u64,
    pub unattributed_percent: u64,
    pub unattributed_least: u64,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            allow_internal: false,
            roots: String::new(),
            timeout_seconds: 15,
            look_seconds: 30,
            keep_days: 30,
            unattributed_percent: 5,
            unattributed_least: 1_000,
        }
    }
}

/// `[challenge]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Challenge {
    pub list_bytes: u64,
    pub list_lines: u64,
    pub list_users_min: u64,
    pub counted_min: u64,
    pub budget: u64,
}

impl Default for Challenge {
    fn default() -> Self {
        let billing::Challenges { list_min, lines_max, counted_min, budget } = Default::default();
        Self {
            list_bytes: 128 << 20,
            list_lines: lines_max,
            list_users_min: list_min,
            counted_min,
            budget,
        }
    }
}

/// `[export]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Export {
    pub mau_event: String,
    pub licenses_event: String,
    pub device_users_event: String,
    pub customers: Vec<String>,
}

impl Default for Export {
    fn default() -> Self {
        let billing::Names { mau_event, licenses_event, device_users_event, .. } =
            Default::default();
        Self { mau_event, licenses_event, device_users_event, customers: Vec::new() }
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub format: String,
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: "auto".to_owned(), level: "info".to_owned() }
    }
}

impl File {
    /// Reads the file's text, then what the environment says.
    pub(super) fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table: Table = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError::new(format!("Line {line} of {name} is not TOML."))
        })?;
        let known = Self::known()?;
        check(&table, &known)?;
        for (variable, value) in environment {
            if let Some(rest) = variable.strip_prefix(ENV_PREFIX) {
                overlay(&mut table, &known, rest, &value)?;
            }
        }
        // The check has compared names and types with the defaults, so this does not fail.
        table.try_into().map_err(|_| ConfigError::new(format!("{name} cannot be read.")))
    }

    /// Every setting with its default: what the code knows, so that no list can fall behind.
    pub(super) fn known() -> Result<Table, ConfigError> {
        Table::try_from(Self::default())
            .map_err(|_| ConfigError::new("The default settings cannot be written down."))
    }
}

/// Refuses names that are unknown and values of another type than the default's.
fn check(table: &Table, known: &Table) -> Result<(), ConfigError> {
    for (section, settings) in table {
        let Some(Value::Table(known)) = known.get(section) else {
            return Err(ConfigError::new(format!("There is no section or setting {section:?}.")));
        };
        let Value::Table(settings) = settings else {
            return Err(ConfigError::new(format!("[{section}] must be a section.")));
        };
        for (name, value) in settings {
            let Some(default) = known.get(name) else {
                return Err(unknown(section, name));
            };
            if !fits(value, default) {
                let wanted = wanted(default);
                return Err(ConfigError::new(format!("[{section}] {name} must be {wanted}.")));
            }
        }
    }
    Ok(())
}

fn unknown(section: &str, name: &str) -> ConfigError {
    ConfigError::new(format!("There is no setting {name:?} in section [{section}]."))
}

fn fits(value: &Value, default: &Value) -> bool {
    match (value, default) {
        (Value::Integer(n), Value::Integer(_)) => *n >= 0,
        (Value::Array(items), Value::Array(_)) => items.iter().all(Value::is_str),
        (value, default) => value.same_type(default),
    }
}

fn wanted(default: &Value) -> &'static str {
    match default {
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of texts",
        _ => "a text",
    }
}

/// Puts the value of `BLINDTALLY__SECTION__NAME` over the file's.
fn overlay(table: &mut Table, known: &Table, rest: &str, text: &str) -> Result<(), ConfigError> {
    let lower = rest.to_ascii_lowercase();
    let (section, name) = lower.split_once("__").unwrap_or((lower.as_str(), ""));
    let Some(default) = known.get(section).and_then(|section| section.get(name)) else {
        return Err(ConfigError::new(format!(
            "The environment variable {ENV_PREFIX}{rest} names no setting."
        )));
    };
    let value = match default {
        Value::Integer(_) => text.parse().ok().filter(|n| *n >= 0).map(Value::Integer),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => Some(Value::String(text.to_owned())),
    };
    let value = value.ok_or_else(|| {
        let wanted = wanted(default);
        ConfigError::new(format!("The environment variable {ENV_PREFIX}{rest} must be {wanted}."))
    })?;
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(settings) = entry {
        settings.insert(name.to_owned(), value);
    }
    Ok(())
}
