//! Devices of the field and the ids that players report of them. The quality of every id is known
//! by construction, so that the oracle needs no judgment of its own: an id is made good, or it is
//! made bad in one particular way (reference/domain.md §7).

use super::random::mix3;
use crate::model::vocab::{DeviceKind, DrmType};

/// Most ids that a device reports.
const IDS_MAX: usize = 4;

/// A family of devices that report alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Android phone or tablet.
    Android,
    /// Android TV.
    AndroidTv,
    /// iPhone, iPad, Apple TV, Safari.
    Apple,
    /// Browser with a software CDM, which tells nothing stable of the machine.
    Chrome,
    /// Browser with PlayReady.
    Edge,
    /// Samsung TV.
    Tizen,
    /// LG TV.
    WebOs,
    /// Operator's set-top box.
    SetTop,
    /// App with INKA's NCG.
    Ncg,
    /// Huawei phone.
    Huawei,
    /// Old handset that knows only its telephony id.
    Handset,
    /// Anything else.
    Other,
}

/// Upper bounds of each class's share, in 1/1000.
const CLASSES: [(u64, Class); 12] = [
    (370, Class::Android),
    (440, Class::AndroidTv),
    (690, Class::Apple),
    (790, Class::Chrome),
    (830, Class::Edge),
    (880, Class::Tizen),
    (915, Class::WebOs),
    (940, Class::SetTop),
    (970, Class::Ncg),
    (982, Class::Huawei),
    (990, Class::Handset),
    (1000, Class::Other),
];

/// How an id is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Of this device alone.
    Good,
    /// A value that many devices share, or a placeholder.
    Constant,
    /// Text that does not fit the kind.
    Misfit,
    /// A locally administered MAC.
    Randomized,
    /// A wrong check digit.
    BadCheck,
}

/// One id of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id {
    /// Its namespace.
    pub(super) kind: DeviceKind,
    /// How it is made.
    pub(super) form: Form,
}

/// A device as one record reports it.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// What it is.
    pub(super) class: Class,
    /// Its number within the site.
    pub(super) index: u32,
    /// What its ids are made from; the same in every record of the device.
    pub(super) seed: u64,
    ids: [Id; IDS_MAX],
    count: u8,
}

impl Device {
    /// The device of a number at a site; `bits` vary the report from record to record.
    pub(super) fn new(site_seed: u64, index: u32, bits: u64) -> Self {
        let seed = mix3(site_seed, 0x0d, u64::from(index));
        let share = seed % 1000;
        let class = CLASSES.iter().find(|(bound, _)| share < *bound).map_or(Class::Other, |c| c.1);
        let nothing = Id { kind: DeviceKind::Opaque, form: Form::Constant };
        let mut device = Self { class, index, seed, ids: [nothing; IDS_MAX], count: 0 };
        device.report(bits);
        device
    }

    /// The ids reported, in their order.
    pub(super) fn ids(&self) -> &[Id] {
        self.ids.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The number of the one good id that counts; `None` when no id is good. Two numbers are equal
    /// exactly when the canonical ids are.
    pub(super) fn recommended(&self) -> Option<u32> {
        let good = self.ids().iter().filter(|id| id.form == Form::Good);
        let rank = good.map(|id| rank(id.kind)).min()?;
        Some(self.index * RANKS + rank)
    }

    /// The DRM system of a request from this device.
    pub(super) fn drm(&self, bits: u64) -> DrmType {
        use DrmType::{ClearKey, FairPlay, Ncg, Oma, Other, PlayReady, Widevine, WisePlay};
        let dice = bits % 100;
        match self.class {
            Class::Android | Class::Handset => Widevine,
            Class::AndroidTv if dice < 12 => PlayReady,
            Class::AndroidTv => Widevine,
            Class::Apple => FairPlay,
            Class::Chrome if dice < 3 => ClearKey,
            Class::Chrome => Widevine,
            Class::Edge if dice < 80 => PlayReady,
            Class::Edge => Widevine,
            Class::Tizen | Class::WebOs if dice < 60 => PlayReady,
            Class::Tizen | Class::WebOs => Widevine,
            Class::SetTop if dice < 10 => Oma,
            Class::SetTop if dice < 45 => PlayReady,
            Class::SetTop => Widevine,
            Class::Ncg if dice < 90 => Ncg,
            Class::Ncg => Widevine,
            Class::Huawei if dice < 80 => WisePlay,
            Class::Huawei => Widevine,
            Class::Other if dice < 30 => ClearKey,
            Class::Other => Other,
        }
    }

    fn push(&mut self, kind: DeviceKind, form: Form) {
        if let Some(slot) = self.ids.get_mut(usize::from(self.count)) {
            *slot = Id { kind, form };
            self.count += 1;
        }
    }

    /// The share of devices with some trait, in 1/1024, by an independent slice of the seed.
    fn has(&self, slice: u32, share: u64) -> bool {
        (self.seed >> (10 + 10 * slice)) & 1023 < share
    }

    /// Fills in the ids of the class.
    fn report(&mut self, bits: u64) {
        use DeviceKind::{
            FairplayHu, Idfa, Idfv, Imei, Imeisv, Lgudid, Meid, NcgDeviceId, Opaque,
            PlayreadyClientId, Prehashed, SamsungTvUuid, WifiMac,
        };
        match self.class {
            Class::Android | Class::AndroidTv => self.report_android(bits),
            Class::Apple => {
                self.push(Idfv, Form::Good);
                // AVPlayer hands the SPC to the app, but only some servers read HU out of it.
                if self.has(0, 600) {
                    self.push(FairplayHu, Form::Good);
                }
                if self.has(1, 60) {
                    self.push(Idfa, Form::Constant);
                }
            }
            Class::Chrome if self.has(0, 300) => self.push(Prehashed, Form::Good),
            Class::Chrome => {}
            Class::Edge => self.push(PlayreadyClientId, Form::Good),
            Class::Tizen => {
                self.push(SamsungTvUuid, Form::Good);
                self.push(PlayreadyClientId, Form::Good);
            }
            Class::WebOs => {
                self.push(WifiMac, Form::Good);
                self.push(Lgudid, Form::Good);
            }
            Class::SetTop if self.has(0, 700) => self.push(WifiMac, Form::Good),
            Class::SetTop => self.push(Opaque, Form::Good),
            Class::Ncg => self.report_ncg(NcgDeviceId),
            Class::Huawei => {
                self.push(DeviceKind::AndroidId, Form::Good);
                self.push(if self.has(0, 300) { Meid } else { Imei }, Form::Good);
            }
            Class::Handset => {
                let form = if self.has(0, 60) { Form::BadCheck } else { Form::Good };
                let with_version = form == Form::Good && bits & 7 == 0;
                self.push(if with_version { Imeisv } else { Imei }, form);
                self.push(WifiMac, Form::Constant);
            }
            Class::Other if self.has(0, 500) => self.push(Opaque, Form::Good),
            Class::Other => {}
        }
    }

    fn report_android(&mut self, bits: u64) {
        use DeviceKind::{AndroidId, WidevineCertSerial, WidevineDeviceUniqueId, WifiMac};
        let form = match (self.seed >> 10) & 1023 {
            0..6 => Form::Constant,
            6..8 => Form::Misfit,
            _ => Form::Good,
        };
        // Some app versions do not open MediaDrm before they report, others ask for nothing else.
        let without_drm = self.has(1, 20) || bits & 63 == 0;
        if without_drm || form != Form::Good || self.has(4, 600) {
            self.push(AndroidId, form);
        }
        if bits & 63 == 0 {
            return;
        }
        if !without_drm {
            let form = if self.has(2, 12) { Form::Constant } else { Form::Good };
            self.push(WidevineDeviceUniqueId, form);
        }
        if self.has(3, 40) {
            self.push(WidevineCertSerial, Form::Good);
        } else if self.has(3, 100) {
            let forms = [Form::Constant, Form::Randomized, Form::Good, Form::Constant];
            self.push(WifiMac, forms[(self.seed >> 60) as usize & 3]);
        }
    }

    fn report_ncg(&mut self, kind: DeviceKind) {
        let form = if self.has(0, 80) { Form::Constant } else { Form::Good };
        self.push(kind, form);
        if self.has(1, 500) {
            self.push(DeviceKind::Imei, if self.has(2, 50) { Form::BadCheck } else { Form::Good });
        }
    }
}

/// The number of ranks, that is of namespaces in which one device may be counted.
pub(super) const RANKS: u32 = 16;

/// The preference among the good ids of a record (reference/domain.md §9.1); equal for two kinds
/// only if they share their canonical form.
const fn rank(kind: DeviceKind) -> u32 {
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
        DeviceKind::Lgudid => 10,
        DeviceKind::SamsungTvUuid => 11,
        DeviceKind::Aaid => 12,
        DeviceKind::Idfa => 13,
        DeviceKind::Prehashed => 14,
        DeviceKind::Opaque => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_the_same_in_every_record() {
        for index in 0..2_000 {
            let one = Device::new(9, index, 1);
            let two = Device::new(9, index, 1 | (1 << 40));
            assert_eq!(one.class, two.class);
            assert_eq!(one.recommended(), two.recommended());
        }
    }

    #[test]
    fn most_devices_have_a_good_id() {
        let count = |good: bool| {
            (0..10_000).filter(|i| Device::new(9, *i, 1).recommended().is_some() == good).count()
        };
        assert_eq!(count(true) + count(false), 10_000);
        assert!((8_500..9_700).contains(&count(true)), "{}", count(true));
    }
}
