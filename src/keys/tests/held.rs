//! Keys of pseudonyms cannot be wiped under a request's hands, so the ring knows who has them.

use std::sync::Arc;

use super::destroy::{done, filled};
use super::hsm::OneKey;
use super::{disk, month, open_under, site};
use crate::keys::ring::KeyRing;
use crate::keys::{KeyInfo, KeyKind, LedgerMark};
use crate::model::ids::{GroupId, KeyId, SiteId};
use crate::model::time::Day;

/// Every kind of key that is handed out for pseudonyms, each destroyed while somebody has it.
#[test]
fn who_holds_keys_of_pseudonyms_is_known_for_each_kind() {
    type Hold = Box<dyn Fn(&KeyRing) -> Box<dyn std::any::Any>>;
    let group = SiteId::of_group(&GroupId::parse(b"g").unwrap());
    let day = Day(20_000);
    let hold_group = group.clone();
    let holds: [(&str, KeyKind, Hold); 8] = [
        ("month", KeyKind::Tally, Box::new(|ring| Box::new(ring.site_month(&site(0), month(1))))),
        ("base", KeyKind::Base, Box::new(|ring| Box::new(ring.site_month(&site(0), month(1))))),
        (
            "group",
            KeyKind::Tally,
            Box::new(move |ring| Box::new(ring.group_month(&hold_group, month(1)).unwrap())),
        ),
        (
            "mark",
            KeyKind::Watermark,
            Box::new(|ring| Box::new(ring.watermark(&site(0), month(1)).unwrap())),
        ),
        ("seen", KeyKind::Seen, Box::new(move |ring| Box::new(ring.seen(day).unwrap()))),
        (
            "look-up",
            KeyKind::Record,
            Box::new(|ring| Box::new(ring.record_keys(&site(0)).unwrap())),
        ),
        (
            "base of a look-up",
            KeyKind::Base,
            Box::new(|ring| Box::new(ring.record_keys(&site(0)).unwrap())),
        ),
        (
            "suppression",
            KeyKind::Suppression,
            Box::new(|ring| Box::new(ring.suppression(&site(0)).unwrap())),
        ),
    ];
    for (name, kind, hold) in holds {
        let disk = disk();
        let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
        filled(&ring);
        ring.group_month(&group, month(1)).unwrap();
        drop((ring.suppression(&site(0)).unwrap(), ring.seen(day).unwrap()));
        let first = hold(&ring);
        let second = hold(&ring);
        let owner = if name == "group" { &group } else { &site(0) };
        let is_it = |info: &KeyInfo| {
            let own = info.site.as_ref() == Some(owner) && info.epoch == month(1).0;
            info.kind == kind && (own || matches!(kind, KeyKind::Seen | KeyKind::Suppression))
        };
        let ids: Vec<KeyId> = ring.list().iter().filter(|i| is_it(i)).map(|i| i.id).collect();
        assert_eq!(ids.len(), 1, "{name}");
        assert_eq!(ring.held(), 0, "{name}: it lives");
        assert!(done(ring.destroy(&ids, LedgerMark::default(), &())).held > 0, "{name}");
        drop(first);
        assert!(ring.held() > 0, "{name}: one of two");
        drop(second);
        assert_eq!(ring.held(), 0, "{name}");
    }
}
