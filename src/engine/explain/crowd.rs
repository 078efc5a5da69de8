//! Whom the members of a range are about: ten sessions or devices of one user are about one.

use std::collections::BTreeSet;

use super::facts::Facts;
use crate::model::explained::{FAMILIES, HISTOGRAMS, Histogram, Ranges};
use crate::model::ids::ShortTag;
use crate::model::vocab::Quality;

/// Somebody, in four bytes of a tag. Two of them that are alike are counted as one, which leaves
/// out more, and never less.
type Somebody = u32;

fn somebody(tag: &[u8]) -> Somebody {
    tag.iter().rev().take(size_of::<Somebody>()).fold(0, |all, byte| all << 8 | u32::from(*byte))
}

/// Whom a member is about: the user of one of its records, or else a device, or else itself.
#[derive(Clone, Copy, Default)]
pub struct Whose {
    who: Somebody,
    is_device: bool,
    is_user: bool,
}

impl Whose {
    /// Takes a record of the member.
    pub fn take(&mut self, facts: &Facts) {
        match (facts.user, facts.subject()) {
            (Some(user), _) if !self.is_user => self.set(user, true),
            (None, Some(device)) if !self.is_user && !self.is_device => self.set(device, false),
            _ => {}
        }
    }

    fn set(&mut self, tag: ShortTag, is_user: bool) {
        (self.who, self.is_user, self.is_device) = (somebody(&tag.0), is_user, !is_user);
    }

    fn of(self, own: &[u8]) -> Somebody {
        if self.is_user || self.is_device { self.who } else { somebody(own) }
    }
}

/// Different subjects, up to as many as are enough.
pub type Few = BTreeSet<Somebody>;

/// Whom the ranges and kinds of an explanation are about.
pub struct Crowd {
    /// So many are enough.
    most: usize,
    /// By [`Ranges`].
    pub ranges: [[Few; Histogram::RANGES]; HISTOGRAMS],
    /// In the order of [`Quality`].
    pub device_ids: [Few; Quality::ALL.len()],
    /// By family.
    pub families: [Few; FAMILIES],
}

impl Crowd {
    /// Nobody yet.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            ranges: Default::default(),
            device_ids: Default::default(),
            families: Default::default(),
        }
    }

    /// Takes a member that has so many of something.
    pub fn range(&mut self, which: Ranges, number: u32, own: &[u8], whose: Whose) {
        let range = &mut self.ranges[which as usize][Histogram::place(number)];
        add(range, self.most, own, whose);
    }

    /// Takes a device id of a quality, by its place.
    pub fn device_id(&mut self, at: usize, own: &[u8], whose: Whose) {
        self.device_ids.get_mut(at).into_iter().for_each(|few| add(few, self.most, own, whose));
    }

    /// Takes a device of a family, by its place.
    pub fn family(&mut self, at: usize, own: &[u8], whose: Whose) {
        self.families.get_mut(at).into_iter().for_each(|few| add(few, self.most, own, whose));
    }
}

fn add(few: &mut Few, most: usize, own: &[u8], whose: Whose) {
    if few.len() < most {
        few.insert(whose.of(own));
    }
}
