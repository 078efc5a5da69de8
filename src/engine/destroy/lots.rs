//! The living lots, from the register: a living key is a living lot.

use std::collections::BTreeMap;

use super::LotInfo;
use crate::engine::directory::Directory;
use crate::engine::{Shared, calendar};
use crate::keys::{KeyInfo, KeyKind};
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::ids::{HoldNo, SiteId, SiteNo};
use crate::model::retention::Lot;
use crate::model::site::Site;
use crate::model::time::{Day, Month, Timestamp};

/// The lot that a key belongs to; `None` for keys of no lot, and of no known site.
pub fn lot_of(directory: &Directory, key: &KeyInfo) -> Option<Lot> {
    match key.kind {
        KeyKind::Seen => return Some(Lot::Seen(Day(key.epoch))),
        KeyKind::Access => return Some(Lot::Access(Month(key.epoch))),
        _ => {}
    }
    let of = directory.site(key.site.as_ref()?)?;
    let site = of.no;
    let at = SiteMonth { site, month: Month(key.epoch) };
    Some(match key.kind {
        KeyKind::Bucket => {
            Lot::Records(Bucket { class: key.class?, site, epoch: Epoch::from_code(key.epoch) })
        }
        KeyKind::Tally | KeyKind::Sets => Lot::Sets(at),
        KeyKind::Record => Lot::RecordKey(at),
        KeyKind::Watermark => Lot::WatermarkKey(at),
        KeyKind::Base => Lot::BaseKey(at),
        KeyKind::Suppression => suppression_of(&of),
        KeyKind::Node
        | KeyKind::Seen
        | KeyKind::Access
        | KeyKind::Journal
        | KeyKind::State
        | KeyKind::Hold
        | KeyKind::Backfill => {
            return None;
        }
    })
}

/// The lot of a site's suppressed persons.
pub fn suppression_of(site: &Site) -> Lot {
    Lot::Suppression(SiteMonth { site: site.no, month: site.created_at.day().month() })
}

/// The lot that a key in the register of holds belongs to.
pub fn held_lot_of(directory: &Directory, key: &KeyInfo) -> Option<Lot> {
    if key.kind == KeyKind::Hold {
        let site = directory.site(key.site.as_ref()?)?.no;
        let epoch = Epoch::from_code(key.epoch);
        return Some(Lot::Records(Bucket { class: key.class?, site, epoch }));
    }
    lot_of(directory, key)
}

/// Keys by what they belong to: a lot, or the copy that a hold has of one.
pub type Living = BTreeMap<(Option<HoldNo>, Lot), Vec<KeyInfo>>;

/// The living keys of every lot.
pub fn living(shared: &Shared) -> Living {
    let mut lots = Living::new();
    for key in shared.ring.list() {
        if let Some(lot) = lot_of(&shared.directory, &key) {
            lots.entry((None, lot)).or_default().push(key);
        }
    }
    lots
}

/// The site of a lot; none for what is of all sites.
pub fn site_of(lot: &Lot) -> Option<SiteNo> {
    Some(match lot {
        Lot::Seen(_) | Lot::Access(_) => return None,
        Lot::Records(bucket) => bucket.site,
        Lot::Sets(at)
        | Lot::RecordKey(at)
        | Lot::WatermarkKey(at)
        | Lot::BaseKey(at)
        | Lot::Suppression(at) => at.site,
    })
}

/// The month or day of a lot.
pub fn epoch_of(lot: &Lot) -> Epoch {
    match lot {
        Lot::Records(bucket) => bucket.epoch,
        Lot::Sets(at)
        | Lot::RecordKey(at)
        | Lot::WatermarkKey(at)
        | Lot::BaseKey(at)
        | Lot::Suppression(at) => Epoch::Month(at.month),
        Lot::Seen(day) => Epoch::Day(*day),
        Lot::Access(month) => Epoch::Month(*month),
    }
}

/// When an epoch of a lot's scope ends: for a billing group, when it ends for the last member.
pub fn ends_at(directory: &Directory, scope: &Site, epoch: Epoch) -> Timestamp {
    let (Some(group), Epoch::Month(month)) = (scope.id.group(), epoch) else {
        return end_of(scope, epoch);
    };
    let members = directory.members(&group, month);
    members.iter().map(|site| end_of(site, epoch)).max().unwrap_or(end_of(scope, epoch))
}

/// When an epoch of a site ends: a month by the site's table, a day with the day of UTC.
pub fn end_of(site: &Site, epoch: Epoch) -> Timestamp {
    match epoch {
        // Every zone was known at the start.
        Epoch::Month(month) => calendar::span(site, month).map_or(Timestamp::END, |span| span.to),
        Epoch::Day(Day(day)) => Day(day.saturating_add(1)).start(),
    }
}

/// When the epoch of a lot ends that is of all sites, by UTC; none for a lot of a site.
fn end_everywhere(lot: &Lot) -> Option<Timestamp> {
    match lot {
        Lot::Seen(day) => Some(Day(day.0.saturating_add(1)).start()),
        Lot::Access(month) => Some(month.next().start()),
        Lot::Records(_)
        | Lot::Sets(_)
        | Lot::RecordKey(_)
        | Lot::WatermarkKey(_)
        | Lot::BaseKey(_)
        | Lot::Suppression(_) => None,
    }
}

/// The living lots, in their order. Who is suppressed at a site is one once the site has ended.
pub fn list(shared: &Shared) -> Vec<LotInfo> {
    let info = |((_, lot), keys): ((Option<HoldNo>, Lot), Vec<KeyInfo>)| {
        let of_keys = |keys: Vec<KeyInfo>| keys.iter().map(|key| key.id).collect();
        if let Some(ends_at) = end_everywhere(&lot) {
            return Some(LotInfo { lot, site: SiteId::everywhere(), keys: of_keys(keys), ends_at });
        }
        let site = shared.directory.by_no(site_of(&lot)?)?;
        if matches!(lot, Lot::Suppression(_)) && site.terminated_at.is_none() {
            return None;
        }
        let keys = of_keys(keys);
        let ends_at = ends_at(&shared.directory, &site, epoch_of(&lot));
        Some(LotInfo { lot, site: site.id.clone(), keys, ends_at })
    };
    living(shared).into_iter().filter_map(info).collect()
}
