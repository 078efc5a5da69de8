//! The types that an entry's fields may have: words of closed lists, numbers, names of customers
//! and machines, times, digests. There is none that could take an end user's id: the one that is no
//! closed list, a [`Note`], is short and plain, and takes no text of a caller but a host's name.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::ids::{KeyId, SiteId};
use crate::model::time::{Day, Month, Timestamp};
use crate::model::vocab::vocabulary;

/// Longest operator's note, bytes.
pub const NOTE_BYTES_MAX: usize = 200;
/// Longest word of a closed list, bytes.
pub const WORD_BYTES_MAX: usize = 48;
/// Length of a credential's public part, bytes.
pub const CREDENTIAL_BYTES: usize = 16;

/// What is written as a JSON string and read back from it.
pub(super) trait Text: Sized + fmt::Display {
    /// Reads it; another spelling than that of `Display` need not be refused here.
    fn read(text: &str) -> Option<Self>;
}

/// For `#[serde(with = "text")]`.
pub(super) mod text {
    use super::{Cow, Deserialize, Deserializer, Serializer, Text};
    use serde::de::Error as _;

    pub fn serialize<T: Text, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: Text, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        T::read(&text).ok_or_else(|| D::Error::custom("of another form"))
    }
}

/// For `#[serde(with = "texts")]`: a list of them.
pub(super) mod texts {
    use super::{Deserialize, Deserializer, Serializer, Text};
    use serde::de::Error as _;

    pub fn serialize<T: Text, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(T::to_string))
    }

    pub fn deserialize<'de, T: Text, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let values = texts.iter().map(|text| T::read(text)).collect::<Option<_>>();
        values.ok_or_else(|| D::Error::custom("of another form"))
    }
}

/// For `#[serde(with = "maybe")]`: one or `null`.
pub(super) mod maybe {
    use super::{Deserialize, Deserializer, Serializer, Text};
    use serde::de::Error as _;

    pub fn serialize<T: Text, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, T: Text, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        T::read(&text).map(Some).ok_or_else(|| D::Error::custom("of another form"))
    }
}

/// Gives a text its place in JSON.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                text::serialize(self, to)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                text::deserialize(from)
            }
        }
    )*};
}
as_text!(Phase, Alarm, Actor, Credential, Word, Note, Digest, Vault, Epoch);

impl Text for SiteId {
    fn read(text: &str) -> Option<Self> {
        Self::parse_scope(text.as_bytes())
    }
}

impl Text for Month {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes())
    }
}

impl Text for Day {
    fn read(text: &str) -> Option<Self> {
        Timestamp::parse(format!("{text}T00:00:00Z").as_bytes()).map(Timestamp::day)
    }
}

impl Text for Timestamp {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes())
    }
}

vocabulary! {
    /// Where in its operation an entry stands.
    pub enum Phase {
        /// Before something that takes time or may fail half-way.
        Intent = 1, "intent";
        /// What became of an intent.
        Result = 2, "result";
        /// The whole operation in one entry.
        Done = 3, "done";
    }
}

impl Text for Phase {
    fn read(text: &str) -> Option<Self> {
        Self::from_name(text.as_bytes())
    }
}

vocabulary! {
    /// Why somebody should look.
    pub enum Alarm {
        /// The second copy of the checkpoints cannot be written.
        SecondCopyUnreachable = 1, "second_copy_unreachable";
        /// The second copy of the checkpoints began anew while the ledger had entries.
        SecondCopyNew = 2, "second_copy_new";
        /// The second copy of the checkpoints says something else than the ledger.
        SecondCopyDisagrees = 3, "second_copy_disagrees";
        /// A copy of the key register off the host cannot be written.
        RegisterCopyUnreachable = 4, "register_copy_unreachable";
        /// The clock went back.
        ClockBack = 5, "clock_back";
        /// The clock jumped ahead beyond its limit; destruction waits for a confirmation.
        ClockAhead = 6, "clock_ahead";
        /// A destruction found nothing to destroy.
        NothingDestroyed = 7, "nothing_destroyed";
        /// Data is due and was not destroyed by its deadline.
        DestructionOverdue = 8, "destruction_overdue";
        /// What was destroyed could still be opened.
        VerificationFailed = 9, "verification_failed";
        /// A hold has passed its review date.
        HoldUnreviewed = 10, "hold_unreviewed";
        /// A destruction was refused, by the root provider or a disk, and is tried again.
        DestructionFailed = 11, "destruction_failed";
        /// Keys were retired and the vault epoch was not turned over in time.
        TurnOverLate = 12, "turn_over_late";
        /// A statement was issued although nobody could tell how far its ids can be trusted.
        StatementWithoutQuality = 13, "statement_without_quality";
        /// The close of a backfill cannot be done, or was given up.
        BackfillStuck = 14, "backfill_stuck";
        /// What is on hold and due cannot be copied to hold storage, so it stays where it is.
        HoldNotKept = 15, "hold_not_kept";
        /// Rows were removed and a file that has them is in use; it is tried again.
        FilesInUse = 16, "files_in_use";
    }
}

impl Text for Alarm {
    fn read(text: &str) -> Option<Self> {
        Self::from_name(text.as_bytes())
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The server by itself.
    Server,
    /// Somebody with this credential.
    Credential(Credential),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Credential(credential) => credential.fmt(f),
        }
    }
}

impl Text for Actor {
    fn read(text: &str) -> Option<Self> {
        match text {
            "server" => Some(Self::Server),
            _ => Credential::read(text).map(Self::Credential),
        }
    }
}

/// The public part of a credential, `[a-z0-9]{16}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credential(String);

impl Credential {
    /// The credential of this key id; `None` when it has not the form of one.
    pub fn parse(key_id: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = key_id.len() == CREDENTIAL_BYTES && key_id.bytes().all(plain);
        fits.then(|| Self(key_id.to_owned()))
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for Credential {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// A word of another room's closed list: a class, a rule, a route. It is made from text of the
/// program only, so nothing from outside gets in; `[a-z0-9._/-]`, 1 to 48 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(Cow<'static, str>);

impl Word {
    /// The word of a closed list. One of another form is refused when its entry is appended.
    pub const fn of(word: &'static str) -> Self {
        Self(Cow::Borrowed(word))
    }

    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for Word {
    fn read(text: &str) -> Option<Self> {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._/-".contains(&byte)
        };
        let fits = (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(Cow::Owned(text.to_owned())))
    }
}

/// Plain words: printable ASCII, at most 200 bytes. Entries of earlier builds have what an operator
/// said; today what somebody writes freely stays in rows that end, and never comes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(String);

impl Note {
    /// A note; `None` when it is too long or not plain.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte);
        let fits = (1..=NOTE_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for Note {
    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// 32 bytes of a hash, 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Text for Digest {
    fn read(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// The random id of a vault of keys, 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vault(pub [u8; 16]);

impl fmt::Display for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Text for Vault {
    fn read(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// The epoch of a bucket: a month, or a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Epoch {
    /// `2026-05`.
    Month(Month),
    /// `2026-05-17`.
    Day(Day),
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Month(month) => month.fmt(f),
            Self::Day(day) => day.fmt(f),
        }
    }
}

impl Text for Epoch {
    fn read(text: &str) -> Option<Self> {
        Month::read(text).map(Self::Month).or_else(|| Day::read(text).map(Self::Day))
    }
}

/// Keys of the register, as a count and the ranges of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeyRanges")]
pub struct Keys {
    count: u64,
    ranges: Vec<(u64, u64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRanges {
    count: u64,
    ranges: Vec<(u64, u64)>,
}

impl Keys {
    /// These keys; the order does not matter, and one named twice counts once.
    pub fn of(keys: impl IntoIterator<Item = KeyId>) -> Self {
        let mut numbers: Vec<u64> = keys.into_iter().map(|key| key.0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in &numbers {
            match ranges.last_mut() {
                Some((_, last)) if number - *last == 1 => *last = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        Self { count: numbers.len() as u64, ranges }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// First and last number of each range, ascending and apart.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// Whether any key is among both.
    pub(super) fn shares(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.ranges.iter(), other.ranges.iter());
        let (mut one, mut two) = (ours.next(), theirs.next());
        while let (Some((from, to)), Some((first, last))) = (one, two) {
            if to < first {
                one = ours.next();
            } else if last < from {
                two = theirs.next();
            } else {
                return true;
            }
        }
        false
    }
}

impl TryFrom<KeyRanges> for Keys {
    type Error = &'static str;

    fn try_from(read: KeyRanges) -> Result<Self, Self::Error> {
        let KeyRanges { count, ranges } = read;
        let apart = ranges.windows(2).all(|pair| pair[1].0.saturating_sub(pair[0].1) > 1);
        let sum = ranges.iter().try_fold(0u64, |sum, (first, last)| {
            sum.checked_add(last.checked_sub(*first)?.checked_add(1)?)
        });
        if apart && sum == Some(count) { Ok(Self { count, ranges }) } else { Err("key ranges") }
    }
}

/// One bucket, or the same bucket of several sites, that a destruction means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Its class.
    pub class: Word,
    /// Its month or day.
    pub epoch: Epoch,
    /// The rule by which it is due.
    pub rule: Word,
    /// When it was due.
    #[serde(with = "text")]
    pub due: Timestamp,
    /// The sites.
    #[serde(with = "texts")]
    pub sites: Vec<SiteId>,
}

/// How it was checked that something is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// Nothing opened and nothing was found.
    pub passed: bool,
    /// Sealed values that were tried and did not open.
    pub opened_none_of: u64,
    /// Files that were searched.
    pub files_searched: u64,
}
