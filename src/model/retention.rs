//! What is kept and destroyed together.

use super::batch::{Bucket, SiteMonth};

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
}
