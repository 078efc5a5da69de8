//! What is kept and destroyed together.

use super::batch::{Bucket, SiteMonth};
use super::ids::HoldNo;
use super::time::{Day, Month};

/// A lot: what one decision destroys, because one key opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lot {
    /// The sealed records of a bucket; its bucket key.
    Records(Bucket),
    /// The pseudonym sets of a site's month; its tally and sets keys.
    Sets(SiteMonth),
    /// The pseudonyms in the records of a site's month; its record key.
    RecordKey(SiteMonth),
    /// Payloads, marks and sessions of a site's month; its watermark key.
    WatermarkKey(SiteMonth),
    /// The first step of all pseudonyms of a site's month; its base key.
    BaseKey(SiteMonth),
    /// Who is suppressed at a site; its suppression key. The month is that in which the site was
    /// made, so that two sites of one id have two lots.
    Suppression(SiteMonth),
    /// What knows duplicates of a UTC day, of all sites; its seen key. It goes once the persisted
    /// floor is behind it.
    Seen(Day),
    /// The access log of a month of UTC; its access key.
    Access(Month),
}

/// What one destruction takes: a lot as it lives, or the copy that a hold keeps of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Doom {
    /// The lot.
    pub lot: Lot,
    /// The hold whose copy it is; `None` for the lot itself.
    pub hold: Option<HoldNo>,
    /// The holds that must have a copy in hold storage before this is destroyed.
    pub heirs: Vec<HoldNo>,
}

impl From<Lot> for Doom {
    fn from(lot: Lot) -> Self {
        Self { lot, hold: None, heirs: Vec::new() }
    }
}
