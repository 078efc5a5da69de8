//! What a kept record says that explains the bill.

use crate::model::batch::{DeviceTag, Effect, Item, Said};
use crate::model::explained::{Cell, Family};
use crate::model::field::{ErrorClass, Field};
use crate::model::ids::{ShortTag, Tag};
use crate::model::site::Counting;
use crate::model::vocab::{
    DrmType, Environment, LicenseType, Outcome, Quality, RecordType, RequestType, UserKind,
};
use crate::store::block::OwnedRow;
use crate::store::codec::Corrupt;
use crate::store::details;

/// Most device ids of a record (API.md).
const DEVICES_MAX: usize = 8;

/// The words of operating systems and platforms by family; what begins so belongs to it.
const FAMILY_WORDS: [(&str, Family); 15] = [
    ("android", Family::Android),
    ("fire", Family::Android),
    ("ios", Family::Ios),
    ("ipad", Family::Ios),
    ("iphone", Family::Ios),
    ("ipod", Family::Ios),
    ("tvos", Family::Ios),
    ("windows", Family::Pc),
    ("win", Family::Pc),
    ("mac", Family::Pc),
    ("os x", Family::Pc),
    ("osx", Family::Pc),
    ("linux", Family::Pc),
    ("chrome", Family::Pc),
    ("pc", Family::Pc),
];

/// What is read of a record.
pub struct Facts {
    /// What it counts as.
    pub effect: Effect,
    /// What it is, where it is a licence request.
    pub cell: Option<Cell>,
    /// The DRM system.
    pub drm: DrmType,
    /// Whether the licence is a renewal.
    pub renewal: bool,
    /// Whom it makes active, where it does.
    pub active: Option<ShortTag>,
    /// Whom it is about, whatever it counts as.
    pub user: Option<ShortTag>,
    /// The recommended good device.
    pub device: Option<ShortTag>,
    /// Whether that device stands for a user.
    pub stands: bool,
    /// The device's family.
    pub family: Family,
    /// All device ids, so many.
    pub ids: [(Quality, ShortTag); DEVICES_MAX],
    /// How many.
    pub id_count: usize,
    /// The session of the licence.
    pub session: Option<ShortTag>,
    /// The licence request.
    pub request: Option<ShortTag>,
}

/// What is being read.
struct Reading {
    said: Said,
    error: Option<ErrorClass>,
    drm: Option<DrmType>,
    user_kind: Option<UserKind>,
    os: Option<Family>,
    platform: Option<Family>,
    facts: Facts,
}

impl Facts {
    /// Reads a record, which counts by these rules.
    ///
    /// # Errors
    /// When its details do not follow their format.
    pub fn of(row: &OwnedRow, counting: Counting) -> Result<Self, Corrupt> {
        let mut reading = Reading::new(row.user.map(|tag| tag.short()));
        for item in details::items(&row.details) {
            let (field, item) = item?;
            if let Some(field) = Field::from_code(field) {
                reading.take(field, item).ok_or(Corrupt("record"))?;
            }
        }
        Ok(reading.end(counting))
    }

    /// All device ids.
    pub fn ids(&self) -> &[(Quality, ShortTag)] {
        self.ids.get(..self.id_count).unwrap_or(&[])
    }

    /// Somebody that the record is about: the user, or else a device.
    pub fn subject(&self) -> Option<ShortTag> {
        self.user.or(self.device).or_else(|| self.ids().first().map(|(_, tag)| *tag))
    }

    /// The best of what its device ids are.
    pub fn best_quality(&self) -> Option<Quality> {
        // In the order in which they tell devices apart.
        const BEST_FIRST: [Quality; 5] = [
            Quality::Good,
            Quality::ChecksumFailed,
            Quality::Shared,
            Quality::Randomized,
            Quality::Junk,
        ];
        BEST_FIRST.into_iter().find(|best| self.ids().iter().any(|(of, _)| of == best))
    }
}

impl Reading {
    fn new(user: Option<ShortTag>) -> Self {
        Self {
            said: Said {
                kind: RecordType::ContentPackaged,
                outcome: None,
                environment: Environment::Production,
                request: None,
                license: None,
            },
            error: None,
            drm: None,
            user_kind: None,
            os: None,
            platform: None,
            facts: Facts {
                effect: Effect::Kept,
                cell: None,
                drm: DrmType::Other,
                renewal: false,
                active: None,
                user,
                device: None,
                stands: false,
                family: Family::Other,
                ids: [(Quality::Junk, ShortTag::default()); DEVICES_MAX],
                id_count: 0,
                session: None,
                request: None,
            },
        }
    }

    /// Takes a value; `None` where it is none of the field's.
    fn take(&mut self, field: Field, item: Item<'_>) -> Option<()> {
        let code = || match item {
            Item::Number(number) => u8::try_from(number).ok(),
            _ => None,
        };
        let tag = || match item {
            Item::Tag(tag) => Some(Tag::short(&tag)),
            _ => None,
        };
        match field {
            Field::Type => self.said.kind = RecordType::from_code(code()?)?,
            Field::Environment => self.said.environment = Environment::from_code(code()?)?,
            Field::Outcome => self.said.outcome = Some(Outcome::from_code(code()?)?),
            Field::RequestType => self.said.request = Some(RequestType::from_code(code()?)?),
            Field::LicenseType => self.said.license = Some(LicenseType::from_code(code()?)?),
            Field::ErrorClass => self.error = Some(ErrorClass::from_code(code()?)?),
            Field::DrmType => self.drm = Some(DrmType::from_code(code()?)?),
            Field::UserIdKind => self.user_kind = Some(UserKind::from_code(code()?)?),
            Field::DeviceOs => self.os = family(&item),
            Field::DevicePlatform => self.platform = family(&item),
            Field::SessionId => self.facts.session = Some(tag()?),
            Field::LicenseRequestId => self.facts.request = Some(tag()?),
            Field::DeviceIds => {
                let Item::Device(device) = item else { return None };
                self.device(&device)?;
            }
            _ => {}
        }
        Some(())
    }

    fn device(&mut self, device: &DeviceTag) -> Option<()> {
        let tag = device.tag.short();
        *self.facts.ids.get_mut(self.facts.id_count)? = (device.quality, tag);
        self.facts.id_count += 1;
        if device.recommended {
            self.facts.device = Some(tag);
        }
        Some(())
    }

    fn end(self, counting: Counting) -> Facts {
        let Self { said, error, drm, user_kind, os, platform, mut facts } = self;
        facts.effect = Effect::of(&said, counting);
        facts.drm = drm.unwrap_or(DrmType::Other);
        facts.family = os.or(platform).unwrap_or(Family::Other);
        if said.kind == RecordType::LicenseIssued {
            let (environment, outcome) = (said.environment, said.outcome);
            let (drm, request) = (facts.drm, said.request());
            facts.cell = Some(Cell { environment, outcome, drm, request, error });
            facts.renewal = request == RequestType::Renewal;
        }
        let anonymous = counting.anonymous_by_device && user_kind == Some(UserKind::Anonymous);
        let countable = facts.effect.is_countable();
        facts.active = facts.user.filter(|_| countable && !anonymous);
        let nobody = facts.user.is_none();
        facts.stands =
            countable && facts.device.is_some() && (anonymous || nobody && counting.device_as_user);
        facts
    }
}

/// The family of an operating system or platform; `None` where it is none that is known.
fn family(item: &Item<'_>) -> Option<Family> {
    let Item::Text(text) = item else { return None };
    let begins = |word: &str| {
        let head = text.get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    FAMILY_WORDS.iter().find(|(word, _)| begins(word)).map(|(_, family)| *family)
}
