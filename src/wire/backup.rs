//! What belongs to backups: the manifest, byte for byte one spelling, the body of a request, and
//! what is answered.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ledger::{Digest, Vault};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::wire::admin::Form;
use crate::wire::fault::Flaw;

/// The format of the manifest that this program reads and writes.
pub const FORMAT: &str = "blindtally backup 1";
/// Before the number of every format of a manifest.
const FORMAT_PREFIX: &str = "blindtally backup ";
/// Longest manifest, bytes: some hundred thousand files.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;
/// Longest name of a backup, bytes.
const NAME_BYTES_MAX: usize = 64;

/// Why a manifest is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadManifest {
    /// Of another program's format.
    Format,
    /// Of no form, or not in its own spelling.
    Form,
}

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The number of its intent in the ledger.
    pub operation: u64,
    /// Everything that was acknowledged before this instant is in it, and nothing after.
    #[serde(with = "time")]
    pub barrier: Timestamp,
    /// The last journal group in it.
    pub folded_through: u64,
    /// The vault of its keys, which are not in it.
    pub vault: Vault,
    /// The generation of the register that it needs at least.
    pub register_generation: u64,
    /// Entries of the ledger that it needs at least.
    pub ledger_size: u64,
    /// The root over them.
    pub ledger_root: Digest,
    /// Its files.
    pub files: Vec<FileDoc>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDoc {
    /// Its name, without a directory.
    pub name: String,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// A time as text.
mod time {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::time::Timestamp;

    pub fn serialize<S: Serializer>(value: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(from)?;
        Timestamp::parse(text.as_bytes()).ok_or_else(|| D::Error::custom("no time"))
    }
}

impl Manifest {
    /// Its bytes: one JSON object and a newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is of another format, or is not what [`Manifest::to_bytes`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| BadManifest::Form)?;
        let format = value.get("format").and_then(Value::as_str).unwrap_or_default();
        if format != FORMAT && format.starts_with(FORMAT_PREFIX) {
            return Err(BadManifest::Format);
        }
        let read: Self = serde_json::from_value(value).map_err(|_| BadManifest::Form)?;
        let plain = |file: &FileDoc| {
            let name = file.name.as_bytes();
            let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
            !name.is_empty() && !name.starts_with(b".") && name.iter().all(fits)
        };
        let whole = read.format == FORMAT && read.files.iter().all(plain);
        if whole && read.to_bytes() == bytes { Ok(read) } else { Err(BadManifest::Form) }
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The body of `POST /v1/backups`, which may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupRequest {
    /// The backup's name; the server names it by its time without one.
    pub name: Option<String>,
}

/// Behind the name of a backup that is not whole.
pub const PARTIAL: &str = ".partial";

/// Whether a text can name a backup: `[A-Za-z0-9._-]{1,64}`, no dot in front, not [`PARTIAL`] at
/// its end.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let sized = (1..=NAME_BYTES_MAX).contains(&text.len());
    sized && !text.starts_with('.') && !text.ends_with(PARTIAL) && text.bytes().all(plain)
}

impl BackupRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let mut request = Self::default();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(request);
        }
        Form::read(body, |form, name| match name {
            b"name" => form.member("name", |form| {
                request.name = form.optional(|form| {
                    let text = form.text(1, NAME_BYTES_MAX)?;
                    if is_name(&text) {
                        Ok(text.to_owned())
                    } else {
                        Err(form.flaw(Reason::BadValue))
                    }
                })?;
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        Ok(request)
    }
}

/// A backup as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupView {
    /// Under way.
    Running {
        /// Its name.
        name: String,
        /// The number of its intent in the ledger.
        operation: u64,
    },
    /// It did not come to its end.
    Failed {
        /// Its name.
        name: String,
        /// Why, one of a few words.
        why: &'static str,
    },
    /// It is there.
    Made {
        /// Its name.
        name: String,
        /// What it is.
        manifest: Box<Manifest>,
    },
    /// Its manifest cannot be read.
    Damaged {
        /// Its name.
        name: String,
    },
}

impl BackupView {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Running { name, operation } => {
                json!({"name": name, "state": "running", "operation": operation})
            }
            Self::Failed { name, why } => json!({"name": name, "state": "failed", "why": why}),
            Self::Damaged { name } => json!({"name": name, "state": "damaged"}),
            Self::Made { name, manifest } => json!({
                "name": name,
                "state": "made",
                "operation": manifest.operation,
                "barrier": manifest.barrier.to_string(),
                "register_generation": manifest.register_generation,
                "ledger_size": manifest.ledger_size,
                "files": manifest.files.len(),
                "bytes": manifest.bytes(),
            }),
        }
    }

    /// As the body of an answer.
    pub fn to_json(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }

    /// The body of a list.
    pub fn list_to_json(items: &[Self]) -> Vec<u8> {
        let items: Vec<Value> = items.iter().map(Self::to_value).collect();
        json!({"items": items}).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT.to_owned(),
            operation: 7,
            barrier: Timestamp(1_795_320_960_000),
            folded_through: 9,
            vault: Vault([3; 16]),
            register_generation: 4,
            ledger_size: 5,
            ledger_root: Digest([6; 32]),
            files: vec![FileDoc { name: "CURRENT".to_owned(), bytes: 16, sha256: Digest([1; 32]) }],
        }
    }

    #[test]
    fn a_manifest_has_one_spelling() {
        let bytes = manifest().to_bytes();
        assert_eq!(Manifest::parse(&bytes), Ok(manifest()));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            // Another digit or letter may be another good manifest; it is never this one.
            assert_ne!(Manifest::parse(&other), Ok(manifest()), "{at}");
            assert_eq!(Manifest::parse(&bytes[..at]), Err(BadManifest::Form), "{at}");
        }
        let spaced = [&bytes[..], b" "].concat();
        assert_eq!(Manifest::parse(&spaced), Err(BadManifest::Form));
        let later = Manifest { format: "blindtally backup 2".to_owned(), ..manifest() };
        assert_eq!(Manifest::parse(&later.to_bytes()), Err(BadManifest::Format));
    }

    #[test]
    fn a_manifest_names_no_file_elsewhere() {
        for name in ["", "..", "../x", "a/b", ".hidden", "a\0"] {
            let mut other = manifest();
            other.files[0].name = name.to_owned();
            assert_eq!(Manifest::parse(&other.to_bytes()), Err(BadManifest::Form), "{name:?}");
        }
    }

    #[test]
    fn requests_are_read() {
        assert_eq!(BackupRequest::parse(&mut b" ".to_vec()), Ok(BackupRequest::default()));
        let named = BackupRequest::parse(&mut br#"{"name":"2026-11-22"}"#.to_vec());
        assert_eq!(named.unwrap().name.as_deref(), Some("2026-11-22"));
        for bad in [
            r#"{"name":"../x"}"#,
            r#"{"name":""}"#,
            r#"{"name":".x"}"#,
            r#"{"to":"x"}"#,
            r#"{"name":"x.partial"}"#,
        ] {
            assert!(BackupRequest::parse(&mut bad.as_bytes().to_vec()).is_err(), "{bad}");
        }
    }
}
