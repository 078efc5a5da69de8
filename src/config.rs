//! Turns text into the settings of each room: a TOML file, then environment variables
//! `BLINDTALLY__SECTION__NAME`, then flags. An unknown setting is refused, since a misspelled limit
//! would otherwise be no limit; what comes out is checked, so that rooms get proven values.
//!
//! Errors are one plain sentence each. Secrets are never settings, only the paths of their files.

mod backfills;
mod bills;
mod evidence;
mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::backfill;
use crate::backup;
use crate::billing;
use crate::crypto::sha256;
use crate::engine;
use crate::http;
use crate::ingest;
use crate::keys;
use crate::ledger;
use crate::model::explained::Limits;
use crate::model::time::DAY_MS;
use crate::observe::logs;
use crate::retention;
use crate::store;
use crate::webhooks;
use crate::wire;
use file::File;

/// The exit status of a bad configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_BAD_CONFIG: u8 = 64;
/// Environment variables that begin so are settings.
pub const ENV_PREFIX: &str = "BLINDTALLY__";

/// The settings of all rooms.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the server.
    pub http: http::Settings,
    /// Of the ingest desk.
    pub ingest: ingest::Settings,
    /// Of the engine.
    pub engine: engine::Settings,
    /// Of the tables.
    pub store: store::Settings,
    /// Of the key register.
    pub keys: keys::Settings,
    /// Of the retention desk.
    pub retention: retention::Settings,
    /// Of the desk of backfills.
    pub backfill: backfill::Settings,
    /// Of the desk of backups.
    pub backup: backup::Settings,
    /// Of the webhook desk.
    pub webhooks: webhooks::Settings,
    /// Of the desk for statements.
    pub billing: billing::Settings,
    /// Of the ledger. An empty name is for the app to choose; the marks are for it to read.
    pub ledger: ledger::Settings,
    /// Of the place where both lie.
    pub place: Place,
    /// Of the logs.
    pub logs: logs::Settings,
    /// The SHA-256 of all settings as they are in force, for evidence.
    pub digest: [u8; 32],
}

/// What the app checks of the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether keys and data may lie on one device.
    pub allow_same_device: bool,
    /// Free space of the data directory below which records are refused, bytes.
    pub free_bytes_min: u64,
}

/// A configuration that cannot be used: one plain sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// What the command line says; it wins over the environment, which wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The keys directory.
    pub keys: Option<PathBuf>,
    /// The directory of the ledger.
    pub ledger: Option<PathBuf>,
    /// The addresses to listen on.
    pub listen: Vec<String>,
}

/// Reads the file that the flags name, if any, and puts everything together.
///
/// # Errors
/// [`ConfigError`] with the sentence to print.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let text = match &flags.config {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            ConfigError::new(format!("{} cannot be read: {error}.", path.display()))
        })?,
    };
    let name = flags.config.as_ref().map_or_else(String::new, |path| path.display().to_string());
    compose(&name, &text, environment, flags)
}

/// The same with the file's text at hand.
///
/// # Errors
/// [`ConfigError`] with the sentence to print.
pub fn compose(
    name: &str,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Settings, ConfigError> {
    let mut file = File::parse(name, text, environment)?;
    if let Some(data) = &flags.data {
        file.storage.data = path_text(data)?;
    }
    if let Some(keys) = &flags.keys {
        file.storage.keys = path_text(keys)?;
    }
    if let Some(ledger) = &flags.ledger {
        file.ledger.dir = path_text(ledger)?;
    }
    if !flags.listen.is_empty() {
        file.server.listen.clone_from(&flags.listen);
    }
    settings(&file)
}

fn path_text(path: &std::path::Path) -> Result<String, ConfigError> {
    let text = path.to_str().ok_or_else(|| ConfigError::new("A directory's name is not UTF-8."))?;
    if text.is_empty() {
        return Err(ConfigError::new("A directory's name is empty."));
    }
    Ok(text.to_owned())
}

fn settings(file: &File) -> Result<Settings, ConfigError> {
    Ok(Settings {
        digest: sha256(&[toml::to_string(file).unwrap_or_default().as_bytes()]),
        http: http_settings(file)?,
        ingest: ingest_settings(file)?,
        engine: engine_settings(file)?,
        store: store_settings(file)?,
        keys: keys_settings(file)?,
        retention: evidence::settings(file)?,
        backfill: backfills::settings(file)?,
        backup: backup_settings(file)?,
        webhooks: webhook_settings(file)?,
        billing: bills::settings(file)?,
        ledger: ledger_settings(file)?,
        place: Place {
            allow_same_device: file.storage.allow_same_device,
            free_bytes_min: whole("[storage] free_bytes", file.storage.free_bytes, 0, 1 << 50)?,
        },
        logs: logs::Settings {
            format: logs::Format::from_name(&file.log.format).ok_or_else(|| {
                ConfigError::new("[log] format must be \"auto\", \"text\" or \"json\".")
            })?,
            level: logs::Level::from_name(&file.log.level).ok_or_else(|| {
                ConfigError::new("[log] level must be \"error\", \"warn\", \"info\" or \"debug\".")
            })?,
        },
    })
}

fn http_settings(file: &File) -> Result<http::Settings, ConfigError> {
    let (server, limits) = (&file.server, &file.limits);
    let tls = tls_files(file)?;
    let mut listen = Vec::new();
    for address in &server.listen {
        let parsed: SocketAddr = address.parse().map_err(|_| {
            ConfigError::new("[server] listen must hold addresses like \"127.0.0.1:8080\".")
        })?;
        if tls.is_none() && !parsed.ip().is_loopback() {
            return Err(ConfigError::new(format!(
                "Plain HTTP is allowed on loopback only, and {parsed} is not: set [tls] \
                 certificate and private_key."
            )));
        }
        if parsed.port() != 0 && listen.contains(&parsed) {
            return Err(ConfigError::new(format!("[server] listen holds {parsed} twice.")));
        }
        listen.push(parsed);
    }
    if listen.is_empty() {
        return Err(ConfigError::new("[server] listen must hold at least one address."));
    }
    let body_bytes_max = size("[limits] body_bytes", limits.body_bytes, 1 << 10, 1 << 30)?;
    let encoded = "[limits] encoded_body_bytes";
    let encoded_body_bytes_max = size(encoded, limits.encoded_body_bytes, 1 << 10, 1 << 30)?;
    let list_bytes = file.challenge.list_bytes;
    let list_bytes_max = size("[challenge] list_bytes", list_bytes, 1 << 10, 1 << 30)?;
    let per_peer = "[server] max_connections_per_peer";
    Ok(http::Settings {
        listen,
        tls,
        connections_max: size("[server] max_connections", server.max_connections, 1, 1 << 20)?,
        peer_connections_max: size(per_peer, server.max_connections_per_peer, 1, 1 << 20)?,
        body_bytes_max,
        encoded_body_bytes_max,
        list_bytes_max,
        // Less than one body at its largest, coded and plain, would refuse that body for ever.
        held_body_bytes_max: size(
            "[limits] held_body_bytes",
            limits.held_body_bytes,
            2 * (body_bytes_max as u64 + encoded_body_bytes_max as u64),
            1 << 40,
        )?,
        deadlines: http::Deadlines {
            handshake: seconds("[server] handshake_seconds", server.handshake_seconds)?,
            header: seconds("[server] header_seconds", server.header_seconds)?,
            body: seconds("[server] body_seconds", server.body_seconds)?,
            answer: seconds("[server] answer_seconds", server.answer_seconds)?,
            idle: seconds("[server] idle_seconds", server.idle_seconds)?,
            drain: seconds("[server] drain_seconds", server.drain_seconds)?,
            reload: seconds("[tls] reload_seconds", file.tls.reload_seconds)?,
        },
    })
}

fn tls_files(file: &File) -> Result<Option<http::TlsFiles>, ConfigError> {
    let tls = &file.tls;
    match (tls.certificate.is_empty(), tls.private_key.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(http::TlsFiles {
            certificate: PathBuf::from(&tls.certificate),
            private_key: PathBuf::from(&tls.private_key),
        })),
        _ => Err(ConfigError::new("[tls] certificate and private_key must be set together.")),
    }
}

fn engine_settings(file: &File) -> Result<engine::Settings, ConfigError> {
    let (limits, memory, fold) = (&file.limits, &file.memory, &file.fold);
    let age_days = whole("[limits] age_days", limits.age_days, 35, 180)?;
    let fold_after = whole("[fold] seconds", fold.seconds, 1, 86_400)?;
    Ok(engine::Settings {
        tally_bytes: size("[memory] tally_bytes", memory.tally_bytes, 1 << 20, 1 << 40)?,
        seen_bytes: size("[memory] seen_bytes", memory.seen_bytes, 1 << 20, 1 << 40)?,
        cache_bytes: size("[memory] tag_cache_bytes", memory.tag_cache_bytes, 0, 1 << 40)?,
        queue_bytes: size("[limits] queue_bytes", limits.queue_bytes, 1 << 20, 1 << 40)?,
        segment_bytes: size("[fold] segment_bytes", fold.segment_bytes, 64 << 10, 1 << 32)?,
        unfolded_bytes: size("[fold] unfolded_bytes", fold.unfolded_bytes, 1 << 20, 1 << 36)?,
        fold_after_ms: milliseconds(fold_after, 1_000),
        age_ms: milliseconds(age_days, DAY_MS),
        explain: explain_settings(file)?,
        backfill: backfills::bounds(file)?,
        partition_groups: 1,
    })
}

fn explain_settings(file: &File) -> Result<engine::explain::Settings, ConfigError> {
    let said = &file.explain;
    let number = |name: &str, value: u64, most: u64| {
        let number = whole(&format!("[explain] {name}"), value, 1, most)?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    };
    let fresh = whole("[explain] fresh_seconds", said.fresh_seconds, 0, 31 * 86_400)?;
    let least = whole("[explain] license_share_least", said.license_share_least, 0, 1 << 40)?;
    Ok(engine::explain::Settings {
        memory_bytes: size("[explain] memory_bytes", said.memory_bytes, 1 << 20, 1 << 40)?,
        fresh_ms: milliseconds(fresh, 1_000),
        subjects: size("[explain] subjects_least", said.subjects_least, 1, 1_000)?,
        limits: Limits {
            devices_per_user: number("devices_per_user", said.devices_per_user, 1_000_000)?,
            users_per_device: number("users_per_device", said.users_per_device, 1_000_000)?,
            license_share_ppm: number("license_share_ppm", said.license_share_ppm, 1_000_000)?,
            share_least: least,
        },
        ..Default::default()
    })
}

fn store_settings(file: &File) -> Result<store::Settings, ConfigError> {
    if file.storage.data.is_empty() {
        return Err(ConfigError::new("[storage] data must name a directory."));
    }
    let cache = file.memory.block_cache_bytes;
    Ok(store::Settings {
        data: PathBuf::from(&file.storage.data),
        block_cache_bytes: size("[memory] block_cache_bytes", cache, 1 << 20, 1 << 40)?,
    })
}

fn keys_settings(file: &File) -> Result<keys::Settings, ConfigError> {
    let storage = &file.storage;
    let directory = if storage.keys.is_empty() {
        beside(&storage.data, "[storage] keys", "-keys")?
    } else {
        PathBuf::from(&storage.keys)
    };
    if directory.starts_with(&storage.data) || PathBuf::from(&storage.data).starts_with(&directory)
    {
        return Err(ConfigError::new(
            "[storage] keys and data must be two directories, and neither inside of the other.",
        ));
    }
    let mut settings = keys::Settings::in_dir(directory);
    if !storage.vek_home.is_empty() {
        settings.vek_home = PathBuf::from(&storage.vek_home);
    }
    if !storage.root_key.is_empty() {
        settings.root_key = PathBuf::from(&storage.root_key);
    }
    if file.keys.copies.iter().any(String::is_empty) {
        return Err(ConfigError::new("[keys] copies must hold paths of files."));
    }
    settings.copies = file.keys.copies.iter().map(PathBuf::from).collect();
    settings.pkcs11 = pkcs11_settings(file)?;
    settings.shares = shares_settings(file)?;
    Ok(settings)
}

fn backup_settings(file: &File) -> Result<backup::Settings, ConfigError> {
    let dir = Some(&file.backup.dir).filter(|path| !path.is_empty()).map(PathBuf::from);
    let (keys, ledger) = (keys_settings(file)?, ledger_settings(file)?);
    let mut apart: Vec<PathBuf> = keys.root_files().into_iter().cloned().collect();
    apart.extend([PathBuf::from(&file.storage.data), keys.dir, keys.vek_home, ledger.dir]);
    apart.extend(keys.copies);
    let nested = |dir: &PathBuf| apart.iter().any(|it| dir.starts_with(it) || it.starts_with(dir));
    if dir.as_ref().is_some_and(nested) {
        return Err(ConfigError::new(
            "[backup] dir must lie apart from data, keys, copies of keys and ledger.",
        ));
    }
    let free_bytes_min = whole("[storage] free_bytes", file.storage.free_bytes, 0, 1 << 50)?;
    Ok(backup::Settings { dir, free_bytes_min })
}

fn webhook_settings(file: &File) -> Result<webhooks::Settings, ConfigError> {
    let said = &file.webhooks;
    let deadline = whole("[webhooks] timeout_seconds", said.timeout_seconds, 1, 30)?;
    let every = whole("[webhooks] look_seconds", said.look_seconds, 1, 3_600)?;
    let keep = whole("[webhooks] keep_days", said.keep_days, 4, 365)?;
    let (percent, least) = (said.unattributed_percent, said.unattributed_least);
    Ok(webhooks::Settings {
        allow_internal: said.allow_internal,
        roots: (!said.roots.is_empty()).then(|| PathBuf::from(&said.roots)),
        deadline: Duration::from_secs(deadline),
        every: Duration::from_secs(every),
        keep_ms: milliseconds(keep, DAY_MS),
        unattributed_percent: whole("[webhooks] unattributed_percent", percent, 0, 100)?,
        unattributed_least: whole("[webhooks] unattributed_least", least, 1, 1 << 40)?,
    })
}

fn ledger_settings(file: &File) -> Result<ledger::Settings, ConfigError> {
    let (ledger, keys) = (&file.ledger, keys_settings(file)?);
    let dir = match ledger.dir.as_str() {
        "" => beside(&file.storage.data, "[ledger] dir", "-ledger")?,
        dir => PathBuf::from(dir),
    };
    let signing_key = match ledger.signing_key.as_str() {
        "" => keys.dir.join("ledger-signing.key"),
        path => PathBuf::from(path),
    };
    let data = PathBuf::from(&file.storage.data);
    if dir.starts_with(&data) || data.starts_with(&dir) || signing_key.starts_with(&data) {
        return Err(ConfigError::new(
            "[ledger] dir and signing_key must lie apart from the data directory, which can be \
             set back.",
        ));
    }
    if !ledger.name.is_empty() && !ledger::note::is_name(&ledger.name) {
        return Err(ConfigError::new(
            "[ledger] name must be 1 to 128 printable characters without space and plus.",
        ));
    }
    let second_copy = Some(&ledger.second_copy).filter(|path| !path.is_empty()).map(PathBuf::from);
    if second_copy.as_ref().is_some_and(|copy| copy.starts_with(&dir)) {
        return Err(ConfigError::new(
            "[ledger] second_copy must lie outside of the ledger's directory, on another medium.",
        ));
    }
    let name = ledger.name.clone();
    Ok(ledger::Settings { dir, signing_key, name, second_copy, marks: Vec::new() })
}

/// The token, where it is the root. What belongs to the other root is refused rather than ignored:
/// whoever set it believes that it is in use.
fn pkcs11_settings(file: &File) -> Result<Option<keys::Pkcs11Settings>, ConfigError> {
    let keys = &file.keys;
    let parts = [&keys.pkcs11_module, &keys.pkcs11_token, &keys.pkcs11_pin_file];
    match keys.root.as_str() {
        "key-file" | "split" if parts.iter().all(|part| part.is_empty()) => Ok(None),
        "key-file" | "split" => Err(ConfigError::new(
            "[keys] pkcs11_module, pkcs11_token and pkcs11_pin_file need [keys] root = \"pkcs11\".",
        )),
        "pkcs11" if parts.iter().any(|part| part.is_empty()) => Err(ConfigError::new(
            "[keys] root = \"pkcs11\" needs pkcs11_module, pkcs11_token and pkcs11_pin_file.",
        )),
        "pkcs11" if !file.storage.root_key.is_empty() => Err(ConfigError::new(
            "[storage] root_key belongs to [keys] root = \"key-file\"; leave out one of the two.",
        )),
        // By its whole path: a bare name would be looked for wherever the system looks.
        "pkcs11" if !keys.pkcs11_module.starts_with('/') => Err(ConfigError::new(
            "[keys] pkcs11_module must be a path from the root, like \"/usr/…\".",
        )),
        "pkcs11" => Ok(Some(keys::Pkcs11Settings {
            module: PathBuf::from(&keys.pkcs11_module),
            label: keys.pkcs11_token.clone(),
            pin_file: PathBuf::from(&keys.pkcs11_pin_file),
        })),
        _ => Err(ConfigError::new("[keys] root must be \"key-file\", \"split\" or \"pkcs11\".")),
    }
}

/// The two shares, where they are the root.
fn shares_settings(file: &File) -> Result<Option<[PathBuf; 2]>, ConfigError> {
    let shares = &file.keys.root_shares;
    match (file.keys.root.as_str(), shares.as_slice()) {
        ("split", _) if !file.storage.root_key.is_empty() => Err(ConfigError::new(
            "[storage] root_key belongs to [keys] root = \"key-file\"; leave out one of the two.",
        )),
        ("split", [one, two]) if one != two && !one.is_empty() && !two.is_empty() => {
            Ok(Some([PathBuf::from(one), PathBuf::from(two)]))
        }
        ("split", _) => Err(ConfigError::new(
            "[keys] root = \"split\" needs root_shares with two different paths.",
        )),
        (_, []) => Ok(None),
        _ => Err(ConfigError::new("[keys] root_shares needs [keys] root = \"split\".")),
    }
}

fn ingest_settings(file: &File) -> Result<ingest::Settings, ConfigError> {
    let limits = &file.limits;
    let future = whole("[limits] future_seconds", limits.future_seconds, 1, 86_400)?;
    let limits = wire::Limits {
        // Rows name their months and days by numbers of 16 bits.
        records: size("[limits] batch_records", limits.batch_records, 1, u16::MAX.into())?,
        record_bytes: size("[limits] record_bytes", limits.record_bytes, 1 << 10, 1 << 20)?,
    };
    if limits.record_bytes as u64 > file.limits.body_bytes {
        return Err(ConfigError::new(
            "[limits] record_bytes is larger than body_bytes, so no such record could come in.",
        ));
    }
    Ok(ingest::Settings { limits, future_ms: milliseconds(future, 1_000) })
}

/// The data directory's name with an ending, in the same parent.
fn beside(data: &str, setting: &str, ending: &str) -> Result<PathBuf, ConfigError> {
    let data = PathBuf::from(data);
    let Some(name) = data.file_name().and_then(|name| name.to_str()) else {
        return Err(ConfigError::new(format!(
            "{setting} must be set, because the data directory's path ends in no name.",
        )));
    };
    Ok(data.with_file_name(format!("{name}{ending}")))
}

fn whole(name: &str, value: u64, min: u64, max: u64) -> Result<u64, ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("{name} must be from {min} to {max}, and is {value}.")))
}

fn size(name: &str, value: u64, min: u64, max: u64) -> Result<usize, ConfigError> {
    let value = whole(name, value, min, max)?;
    usize::try_from(value).map_err(|_| ConfigError::new(format!("{name} is too large.")))
}

fn milliseconds(count: u64, unit_ms: i64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(unit_ms)
}

/// Deadlines go from a second to a day.
fn seconds(name: &str, value: u64) -> Result<Duration, ConfigError> {
    Ok(Duration::from_secs(whole(name, value, 1, 86_400)?))
}

#[cfg(test)]
mod tests;
