//! Device ids: kind, canonical bytes, quality and scope; and the one of a record that is counted.

use std::fmt;

use super::RawId;
use super::reading::{self, Canonical};
use crate::model::vocab::{DeviceKind, IdEncoding, Quality, Scope};

/// A device id as it goes into its pseudonym.
pub struct DeviceId<'a> {
    kind: DeviceKind,
    quality: Quality,
    scope: Scope,
    exact: &'a [u8],
    /// The canonical bytes where they are not the exact text. On the stack and wiped on drop: the
    /// hot path makes no allocation.
    own: Canonical,
}

/// Reads a device id. Never an error: what does not fit its kind is [`Quality::Junk`] under its
/// exact bytes. `encoding` matters for GUID text of PlayReady only; `desktop` says that the id
/// comes from the Widevine module of a desktop browser, whose certificate many machines share.
pub fn device<'a>(
    kind: DeviceKind,
    raw: RawId<'a>,
    encoding: Option<IdEncoding>,
    desktop: bool,
) -> DeviceId<'a> {
    let exact = raw.bytes();
    let shared = desktop && kind == DeviceKind::WidevineCertSerial;
    let mut id = DeviceId {
        kind: namespace(kind),
        quality: Quality::Junk,
        scope: if shared { Scope::Model } else { scope(kind) },
        exact,
        own: Canonical::new(),
    };
    match reading::read(kind, exact, encoding, &mut id.own) {
        Some(Quality::Good) if shared => id.quality = Quality::Shared,
        Some(quality) => id.quality = quality,
        None => id.own.clear(),
    }
    id
}

/// The kind whose pseudonyms this kind shares: an IMEISV is an IMEI with a software version.
const fn namespace(kind: DeviceKind) -> DeviceKind {
    match kind {
        DeviceKind::Imeisv => DeviceKind::Imei,
        kind => kind,
    }
}

const fn scope(kind: DeviceKind) -> Scope {
    match kind {
        // Samsung forbids to link it with any other id.
        DeviceKind::SamsungTvUuid => Scope::Install,
        DeviceKind::WidevineDeviceUniqueId
        | DeviceKind::NcgDeviceId
        | DeviceKind::AndroidId
        | DeviceKind::Idfv
        | DeviceKind::Lgudid => Scope::App,
        DeviceKind::WidevineCertSerial
        | DeviceKind::Imei
        | DeviceKind::Imeisv
        | DeviceKind::Meid
        | DeviceKind::WifiMac
        | DeviceKind::Aaid
        | DeviceKind::Idfa
        | DeviceKind::PlayreadyClientId
        | DeviceKind::FairplayHu
        | DeviceKind::Prehashed
        | DeviceKind::Opaque => Scope::Device,
    }
}

impl DeviceId<'_> {
    /// The kind that names its pseudonym: an `imeisv` has become an `imei`.
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// How far it tells one device from another.
    pub const fn quality(&self) -> Quality {
        self.quality
    }

    /// What it stays the same for.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    pub(in crate::identity) fn bytes(&self) -> &[u8] {
        match self.own.as_slice() {
            [] => self.exact,
            own => own,
        }
    }
}

impl fmt::Debug for DeviceId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({}, {}, {}, …)", self.kind, self.quality, self.scope)
    }
}

/// The one id of a record that is counted as its device: the one the producer recommends if it is
/// good, or else the good one whose kind lives longest (domain.md §9.1); `None` when none is good.
pub fn recommended<'d, 'a: 'd>(
    devices: impl Iterator<Item = &'d DeviceId<'a>> + Clone,
    given: Option<usize>,
) -> Option<usize> {
    let good = devices.enumerate().filter(|(_, id)| id.quality == Quality::Good);
    if let Some((at, _)) = good.clone().find(|(at, _)| Some(*at) == given) {
        return Some(at);
    }
    // The first of equal ranks wins, so that the answer depends on nothing but the record.
    good.min_by_key(|(_, id)| rank(id.kind)).map(|(at, _)| at)
}

/// The place of a kind in the order of preference; the least is the best.
const fn rank(kind: DeviceKind) -> u8 {
    match kind {
        DeviceKind::WidevineCertSerial => 0,
        DeviceKind::FairplayHu => 1,
        DeviceKind::PlayreadyClientId => 2,
        DeviceKind::NcgDeviceId => 3,
        DeviceKind::WidevineDeviceUniqueId => 4,
        DeviceKind::AndroidId => 5,
        DeviceKind::Imei | DeviceKind::Imeisv => 6,
        DeviceKind::Meid => 7,
        DeviceKind::WifiMac => 8,
        DeviceKind::Idfv => 9,
        DeviceKind::Aaid => 10,
        DeviceKind::Idfa => 11,
        DeviceKind::Lgudid => 12,
        DeviceKind::SamsungTvUuid => 13,
        DeviceKind::Prehashed => 14,
        DeviceKind::Opaque => 15,
    }
}
