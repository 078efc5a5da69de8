//! A batch of records without any raw id: what the ingest desk hands to the engine.
//!
//! A row has two halves. The [`Claim`] is what the engine judges (is it a duplicate, whom does it
//! make active); the details are what is kept in a block until the bucket is destroyed.

use super::arrival::Arrival;
use super::ids::{ShortTag, SiteNo, Tag};
use super::site::Counting;
use super::time::{Day, Month, Timestamp};
use super::vocab::{
    Class, DeviceKind, DrmType, Environment, LicenseType, Outcome, Quality, RecordType,
    RequestType, Scope,
};

/// What a record says of itself, as far as that decides what it counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its type.
    pub kind: RecordType,
    /// How the act ended.
    pub outcome: Option<Outcome>,
    /// Where it comes from.
    pub environment: Environment,
    /// What was asked for, where it says so.
    pub request: Option<RequestType>,
    /// Whether the licence may be kept.
    pub license: Option<LicenseType>,
}

impl Said {
    /// What was asked for; where a record does not say it, a kept licence is an offline one.
    pub fn request(&self) -> RequestType {
        let offline = self.license == Some(LicenseType::Offline);
        let default = if offline { RequestType::Offline } else { RequestType::New };
        self.request.unwrap_or(default)
    }
}

/// What an accepted record does to its month's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// An issued licence in production: counts licence, user, device.
    Issued,
    /// A failed licence request in production.
    Failed,
    /// An issued licence in the trial environment.
    Trial,
    /// An issued licence in the test environment.
    Test,
    /// A watermark session in production.
    Session,
    /// Kept, and counted only as a record.
    Kept,
    /// An issued renewal of a site that does not count them: a licence, and nobody's.
    Renewal,
    /// A failed licence request in production that makes its user active.
    FailedCounted,
    /// A release, a request for a certificate, a preflight: no licence was asked for.
    NoLicense,
    /// A failed licence request in another environment.
    FailedElsewhere,
    /// A failed watermark session in production.
    SessionFailed,
    /// A watermark session in the trial environment.
    SessionTrial,
    /// A watermark session in the test environment.
    SessionTest,
    /// An issued licence in production of an anonymous user, at a site that counts such users by
    /// their device: a licence, nobody's or its device's.
    Anonymous,
}

impl Effect {
    const ALL: [Self; 14] = [
        Self::Issued,
        Self::Failed,
        Self::Trial,
        Self::Test,
        Self::Session,
        Self::Kept,
        Self::Renewal,
        Self::FailedCounted,
        Self::NoLicense,
        Self::FailedElsewhere,
        Self::SessionFailed,
        Self::SessionTrial,
        Self::SessionTest,
        Self::Anonymous,
    ];

    /// What a record counts as (rule set `mau/1`).
    pub fn of(said: &Said, counting: Counting) -> Self {
        match said.kind {
            RecordType::LicenseIssued => {
                let request = said.request();
                let excluded = request == RequestType::Renewal && !counting.renewals;
                match (said.outcome, said.environment) {
                    _ if !request.issues() => Self::NoLicense,
                    (Some(Outcome::Success), Environment::Production) if excluded => Self::Renewal,
                    (Some(Outcome::Success), Environment::Production) => Self::Issued,
                    (Some(Outcome::Success), Environment::Trial) => Self::Trial,
                    (Some(Outcome::Success), Environment::Test) => Self::Test,
                    (Some(Outcome::Fail), Environment::Production)
                        if counting.include_failures && !excluded =>
                    {
                        Self::FailedCounted
                    }
                    (Some(Outcome::Fail), Environment::Production) => Self::Failed,
                    (Some(Outcome::Fail), _) => Self::FailedElsewhere,
                    (None, _) => Self::Kept,
                }
            }
            RecordType::SessionCreated => match (said.environment, said.outcome) {
                (Environment::Trial, _) => Self::SessionTrial,
                (Environment::Test, _) => Self::SessionTest,
                (Environment::Production, Some(Outcome::Fail)) => Self::SessionFailed,
                (Environment::Production, _) => Self::Session,
            },
            _ => Self::Kept,
        }
    }

    /// The same of an anonymous user whom the site counts by device.
    pub const fn of_anonymous(self) -> Self {
        match self {
            Self::Issued => Self::Anonymous,
            effect => effect,
        }
    }

    /// Whether it makes its user active.
    pub const fn is_countable(self) -> bool {
        matches!(self, Self::Issued | Self::FailedCounted | Self::Anonymous)
    }

    /// Whether it is a licence whose device is counted.
    pub const fn counts_device(self) -> bool {
        matches!(self, Self::Issued | Self::Anonymous)
    }

    /// Whether it is an issued licence in production.
    pub const fn is_issue(self) -> bool {
        matches!(self, Self::Issued | Self::Renewal | Self::Anonymous)
    }

    /// The stable byte that is stored.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The effect of a stored byte.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// The half of a row that the engine judges. `month` and `day` are indexes into the batch's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Index into [`Batch::months`].
    pub month: u16,
    /// Index into [`Batch::days`].
    pub day: u16,
    /// The record's type.
    pub kind: RecordType,
    /// The DRM system (`other` where none was given).
    pub drm: DrmType,
    /// What the record counts as.
    pub effect: Effect,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Tag of (site, producer, event id) under the day's seen key.
    pub seen: ShortTag,
    /// Tally tag of the user, where it is somebody.
    pub user: Option<ShortTag>,
    /// Tally tag of the same user under the key of the site's billing group, where the row makes
    /// the user active. It is in no block.
    pub group: Option<ShortTag>,
    /// Whether a user id was given that stands for nobody.
    pub sentinel: bool,
    /// Whether the device stands for the user, who is nobody.
    pub by_device: bool,
    /// Tally tag of the recommended good device.
    pub device: Option<ShortTag>,
    /// Tally tag of the watermark session.
    pub session: Option<ShortTag>,
    /// Whether the site asked that no record of the user is kept any more; only known until the row
    /// is judged, and stored nowhere.
    pub suppressed: bool,
}

/// A month of a site that rows of a batch lie in, with the bucket that keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteMonth {
    /// The site.
    pub site: SiteNo,
    /// The billing month in the site's zone.
    pub month: Month,
}

/// The time that a bucket covers: a month of the site, or a UTC day where the site keeps its
/// records for a shorter period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Epoch {
    /// A billing month.
    Month(Month),
    /// A UTC day.
    Day(Day),
}

/// Set in the number of an epoch that is a day.
const DAY_EPOCH: u32 = 1 << 31;

impl Epoch {
    /// The number in row keys and in the register.
    pub fn code(self) -> u32 {
        match self {
            Self::Month(month) => month.0,
            Self::Day(day) => DAY_EPOCH | day.0,
        }
    }

    /// The epoch of a number.
    pub fn from_code(code: u32) -> Self {
        if code & DAY_EPOCH == 0 {
            Self::Month(Month(code))
        } else {
            Self::Day(Day(code & !DAY_EPOCH))
        }
    }

    /// Whether it is a day.
    pub const fn is_day(self) -> bool {
        matches!(self, Self::Day(_))
    }

    /// The month whose tables hold the epoch's blocks.
    pub fn month(self) -> Month {
        match self {
            Self::Month(month) => month,
            Self::Day(day) => day.month(),
        }
    }
}

/// A destruction bucket: what is kept and destroyed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket {
    /// The retention class.
    pub class: Class,
    /// The site.
    pub site: SiteNo,
    /// The time it covers.
    pub epoch: Epoch,
}

/// One value of a row's details; which field it is stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A number, an enum code, a time in milliseconds.
    Number(i64),
    /// A text that identifies nobody.
    Text(&'a [u8]),
    /// Sixteen bytes of a UUID that identifies nobody (most event ids).
    Uuid([u8; 16]),
    /// A pseudonym.
    Tag(Tag),
    /// A pseudonym of a device with what is known of its id.
    Device(DeviceTag),
}

/// The pseudonym of a device id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceTag {
    /// The kind of the id.
    pub kind: DeviceKind,
    /// How far it can be trusted.
    pub quality: Quality,
    /// What it stays the same for.
    pub scope: Scope,
    /// Whether it is the record's one recommended id.
    pub recommended: bool,
    /// The pseudonym.
    pub tag: Tag,
}

/// Rows of one request, in their order, without any raw id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The site-months of the rows.
    pub months: Vec<SiteMonth>,
    /// The billing group of each of these, where it has one; the list ends with the last that has.
    pub groups: Vec<Option<SiteNo>>,
    /// The UTC days of the rows.
    pub days: Vec<Day>,
    /// One claim a row.
    pub claims: Vec<Claim>,
    /// What is kept of each row beside its claim.
    pub details: Details,
    /// Who sent the rows. It is kept with what is decided about them, and not with them.
    pub arrival: Arrival,
    /// Which lists of suppressed persons the rows were compared with; only known until the batch is
    /// judged.
    pub suppressions: u64,
}

/// The details of all rows of a batch as `store::shapes` writes them. Rows of one request are much
/// alike, so what they have in common stands once: the shapes (which fields a row has, in which
/// order and form) and the words, which are the texts of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Each shape: a field code and a form for each value.
    pub shapes: Vec<Box<[u8]>>,
    /// The texts of all words, one after the other.
    pub texts: Vec<u8>,
    /// The words.
    pub words: Vec<Word>,
    /// One for each row.
    pub rows: Vec<DetailsRow>,
    /// The numbers of the words of all rows, one row after the other.
    pub numbers: Vec<u32>,
    /// All other values of all rows, one row after the other.
    pub values: Vec<u8>,
}

/// A text of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The code of the field.
    pub field: u8,
    /// Where the text ends in [`Details::texts`]; it begins where the one before ends.
    pub end: u32,
}

/// Where the details of a row are; they begin where those of the row before end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetailsRow {
    /// Which of the shapes it has.
    pub shape: u32,
    /// Where its words end in [`Details::numbers`].
    pub words_end: u32,
    /// Where its values end in [`Details::values`].
    pub end: u32,
}

impl Details {
    /// Each row: the number of its shape, the numbers of its words, and its values.
    pub fn rows(&self) -> impl Iterator<Item = (u32, &[u32], &[u8])> {
        let (mut word, mut value) = (0, 0);
        self.rows.iter().map(move |row| {
            let (words_end, end) = (row.words_end as usize, row.end as usize);
            let words = self.numbers.get(word..words_end).unwrap_or(&[]);
            let values = self.values.get(value..end).unwrap_or(&[]);
            (word, value) = (words_end, end);
            (row.shape, words, values)
        })
    }

    /// Takes the values of some rows away: what is left of them has no field. Their words stay in
    /// the list, where nothing says whose they were.
    fn strip(&mut self, gone: impl Fn(usize) -> bool) {
        let mut left = Self { rows: Vec::with_capacity(self.rows.len()), ..Self::default() };
        let mut empty = self.shapes.iter().position(|shape| shape.is_empty());
        for (row, (shape, numbers, values)) in self.rows().enumerate() {
            let shape = if gone(row) {
                *empty.get_or_insert(self.shapes.len()) as u32
            } else {
                left.numbers.extend_from_slice(numbers);
                left.values.extend_from_slice(values);
                shape
            };
            let (words_end, end) = (left.numbers.len() as u32, left.values.len() as u32);
            left.rows.push(DetailsRow { shape, words_end, end });
        }
        if empty == Some(self.shapes.len()) {
            self.shapes.push(Box::default());
        }
        (self.rows, self.numbers, self.values) = (left.rows, left.numbers, left.values);
    }

    /// Each word: the code of its field, and its text.
    pub fn words(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut start = 0;
        self.words.iter().map(move |word| {
            let text = self.texts.get(start..word.end as usize).unwrap_or(&[]);
            start = word.end as usize;
            (word.field, text)
        })
    }
}

impl Batch {
    /// Takes the details of some rows away.
    pub fn strip(&mut self, gone: impl Fn(&Claim) -> bool) {
        let claims = &self.claims;
        self.details.strip(|row| claims.get(row).is_some_and(&gone));
    }

    /// The billing group that a month's users are counted with, too.
    pub fn group_of(&self, month: usize) -> Option<SiteNo> {
        self.groups.get(month).copied().flatten()
    }

    /// Says which billing group the users of a month are counted with, too.
    pub fn set_group(&mut self, month: u16, group: SiteNo) {
        let month = usize::from(month);
        if self.groups.len() <= month {
            self.groups.resize(month + 1, None);
        }
        self.groups[month] = Some(group);
    }

    /// The index of a site-month, added where it is new; `None` where there are too many.
    pub fn month_index(&mut self, month: SiteMonth) -> Option<u16> {
        index_of(&mut self.months, month)
    }

    /// The index of a day, added where it is new; `None` where there are too many.
    pub fn day_index(&mut self, day: Day) -> Option<u16> {
        index_of(&mut self.days, day)
    }
}

/// Batches hold few of each, and neighbors are mostly alike: a search from the end is fastest.
fn index_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> Option<u16> {
    if let Some(known) = list.iter().rposition(|known| *known == item) {
        return u16::try_from(known).ok();
    }
    let next = u16::try_from(list.len()).ok()?;
    list.push(item);
    Some(next)
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Counted and kept.
    Accepted,
    /// Seen before; neither counted nor kept.
    Duplicate,
    /// Older than the accepted age, or before the floor of the seen slots.
    TooOld,
    /// Counted, not kept: its bucket was due, or no record of the user is kept.
    NotRetained,
    /// For a closed month: counted as a correction, and kept.
    Correction,
    /// For a closed month: counted as a correction, not kept, as above.
    CorrectionNotRetained,
}

impl Verdict {
    const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Duplicate,
        Self::TooOld,
        Self::NotRetained,
        Self::Correction,
        Self::CorrectionNotRetained,
    ];

    /// Whether the row was counted in some way.
    pub const fn is_taken(self) -> bool {
        !matches!(self, Self::Duplicate | Self::TooOld)
    }

    /// Whether the row was counted as a correction of a closed month.
    pub const fn is_correction(self) -> bool {
        matches!(self, Self::Correction | Self::CorrectionNotRetained)
    }

    /// The stable byte that is stored.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The verdict of a stored byte.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watermark_session_is_of_one_kind() {
        let session = |environment, outcome| {
            let kind = RecordType::SessionCreated;
            let said = Said { kind, outcome, environment, request: None, license: None };
            Effect::of(&said, Counting::default())
        };
        use Environment::{Production, Test, Trial};
        let fail = Some(Outcome::Fail);
        assert_eq!(session(Production, None), Effect::Session);
        assert_eq!(session(Production, Some(Outcome::Success)), Effect::Session);
        assert_eq!(session(Production, fail), Effect::SessionFailed);
        assert_eq!([None, fail].map(|of| session(Trial, of)), [Effect::SessionTrial; 2]);
        assert_eq!([None, fail].map(|of| session(Test, of)), [Effect::SessionTest; 2]);
        for (code, effect) in (0..).zip(Effect::ALL) {
            assert_eq!((effect.code(), Effect::from_code(code)), (code, Some(effect)));
        }
    }

    #[test]
    fn no_index_stands_for_two_days() {
        let mut batch = Batch { days: (0..65_536).map(Day).collect(), ..Batch::default() };
        assert_eq!(batch.day_index(Day(65_535)), Some(u16::MAX));
        assert_eq!(batch.day_index(Day(65_536)), None);
        assert_eq!(batch.days.len(), 65_536);
        assert_eq!(batch.day_index(Day(7)), Some(7));
    }
}
