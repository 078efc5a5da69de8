//! Whatever the moment of the cut and whatever the disk kept: the register opens, what was
//! acknowledged is there with the same secret, what was retired is gone, a batch is whole or
//! absent.

use proptest::prelude::*;

use super::disk::{Cut, Disk};
use super::{Secrets, disk, holds, month, open, site, slots};
use crate::keys::KeysError;
use crate::keys::ring::KeyRing;
use crate::model::ids::KeyId;
use crate::model::time::Day;
use crate::model::vocab::Class;

#[derive(Clone, Debug)]
enum Op {
    SiteMonth(u8, u8),
    Bucket(u8, u8),
    Seen(u8),
    Access(u8),
    Journal,
    Retire(Vec<u16>),
}

/// What has been promised so far.
#[derive(Default)]
struct Promised {
    live: Secrets,
    /// Wrapped bytes of keys whose retirement was acknowledged.
    gone: Vec<(KeyId, Vec<u8>)>,
    /// Keys of the retirement that the cut met.
    unsure: Vec<KeyId>,
}

impl Op {
    /// Carries it out; `Err` when the disk died.
    fn run(&self, ring: &KeyRing, disk: &Disk, promised: &mut Promised) -> Result<(), KeysError> {
        let refused = |error| match error {
            KeysError::Retired { .. } => Ok(()),
            error => Err(error),
        };
        match self {
            Self::SiteMonth(s, m) => {
                ring.site_month(&site(*s), month(*m)).map(drop).or_else(refused)?;
            }
            Self::Bucket(s, epoch) => {
                let epoch = u32::from(*epoch);
                ring.bucket(&site(*s), Class::Records, epoch).map(drop).or_else(refused)?;
            }
            Self::Seen(day) => {
                ring.seen(Day(20_000 + u32::from(*day) * 20)).map(drop).or_else(refused)?;
            }
            Self::Access(at) => {
                ring.access(month(*at)).map(drop).or_else(refused)?;
            }
            Self::Journal => {
                let key = ring.journal()?;
                assert!(!promised.live.contains_key(&key.id()), "a number was given twice");
            }
            Self::Retire(picks) => return retire(picks, ring, disk, promised),
        }
        promised.live = ring.secrets();
        Ok(())
    }
}

fn retire(
    picks: &[u16],
    ring: &KeyRing,
    disk: &Disk,
    promised: &mut Promised,
) -> Result<(), KeysError> {
    let infos = ring.list();
    let leaves: Vec<KeyId> = infos
        .iter()
        .filter(|info| !matches!(info.kind.name(), "node" | "state"))
        .map(|info| info.id)
        .collect();
    if leaves.is_empty() {
        return Ok(());
    }
    let ids: Vec<KeyId> =
        picks.iter().map(|pick| leaves[usize::from(*pick) % leaves.len()]).collect();
    let before = wrapped(disk);
    // Nodes may go along.
    promised.unsure = infos.iter().map(|i| i.id).filter(|id| !leaves.contains(id)).collect();
    promised.unsure.extend(&ids);
    ring.retire(&ids)?;
    promised.unsure.clear();
    let now = ring.secrets();
    assert!(ids.iter().all(|id| !now.contains_key(id)));
    for (id, bytes) in before {
        if !now.contains_key(&id) {
            promised.gone.push((id, bytes));
        }
    }
    promised.live = now;
    Ok(())
}

/// The wrapped bytes of each key, as they stand in copy A.
fn wrapped(disk: &Disk) -> Vec<(KeyId, Vec<u8>)> {
    let bytes = disk.bytes(0);
    let live = slots(&bytes).chunks_exact(256).filter(|slot| slot[0] != 0);
    live.map(|slot| {
        let id = KeyId(u64::from_be_bytes(slot[8..16].try_into().unwrap()));
        (id, slot[96..169].to_vec())
    })
    .collect()
}

fn check(ring: &KeyRing, disk: &Disk, promised: &Promised) {
    let now = ring.secrets();
    for (id, secret) in &promised.live {
        match now.get(id) {
            Some(opened) => assert_eq!(opened, secret, "{id} opened to another secret"),
            None => assert!(promised.unsure.contains(id), "{id} was promised and is gone"),
        }
    }
    let leaves: Vec<&KeyId> =
        promised.unsure.iter().filter(|id| promised.live.contains_key(id)).collect();
    let infos = ring.list();
    let kept = leaves.iter().filter(|id| now.contains_key(id)).count();
    if kept < leaves.len() {
        // The retirement happened: then none of its leaves is left, only nodes that still serve.
        for info in infos.iter().filter(|info| promised.unsure.contains(&info.id)) {
            assert!(matches!(info.kind.name(), "node" | "state"), "half a retirement");
        }
    }
    for (id, bytes) in &promised.gone {
        assert!(!now.contains_key(id), "{id} was retired and is back");
        for at in 0..2 {
            assert!(!holds(&disk.bytes(at), bytes) && !holds(&disk.durable(at), bytes));
        }
    }
    let (a, b) = (disk.durable(0), disk.durable(1));
    let count = u64::from_be_bytes(a[40..48].try_into().unwrap()) as usize * 256;
    assert!(slots(&a)[..count] == slots(&b)[..count], "the copies differ after a start");
    for info in infos.iter().filter(|info| info.kind.name() == "base") {
        let site = info.site.as_ref().unwrap();
        let months = infos.iter().filter(|other| {
            other.epoch == info.epoch && other.site == info.site && other.class.is_none()
        });
        let partly_retired = months.count() < 5;
        let keys = ring.site_month_existing(site, crate::model::time::Month(info.epoch));
        assert!(keys.is_some() || partly_retired);
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0u8..3, 0u8..3).prop_map(|(s, m)| Op::SiteMonth(s, m)),
        2 => (0u8..3, 0u8..3).prop_map(|(s, e)| Op::Bucket(s, e)),
        1 => (0u8..4).prop_map(Op::Seen),
        1 => (0u8..3).prop_map(Op::Access),
        3 => Just(Op::Journal),
        3 => prop::collection::vec(any::<u16>(), 1..12).prop_map(Op::Retire),
    ];
    prop::collection::vec(op, 0..8)
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        1 => Just(Cut::Lost),
        1 => Just(Cut::Kept),
        2 => Just(Cut::Killed),
        6 => any::<u64>().prop_map(Cut::Seeded),
    ]
}

#[derive(Clone, Debug)]
struct Round {
    /// Cuts inside of starts, before one is let through.
    starts: Vec<(u32, Cut)>,
    ops: Vec<Op>,
    fuse: u32,
    cut: Cut,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let starts = prop::collection::vec((0u32..8, cut()), 0..3);
    let round = (starts, ops(), 0u32..48, cut()).prop_map(|(starts, ops, fuse, cut)| Round {
        starts,
        ops,
        fuse,
        cut,
    });
    prop::collection::vec(round, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_cut_breaks_a_promise(rounds in rounds()) {
        let disk = disk();
        let mut promised = Promised::default();
        for round in rounds {
            for (fuse, cut) in round.starts {
                disk.burn_after(fuse);
                drop(open(&disk));
                disk.power(cut);
            }
            let (ring, _) = open(&disk).unwrap();
            check(&ring, &disk, &promised);
            promised.unsure.clear();
            promised.live = ring.secrets();
            disk.burn_after(round.fuse);
            for op in &round.ops {
                if let Err(error) = op.run(&ring, &disk, &mut promised) {
                    prop_assert!(matches!(error, KeysError::Failed(_)), "{}", error);
                    let again = ring.journal();
                    prop_assert!(matches!(again, Err(KeysError::Failed(_))));
                    break;
                }
            }
            disk.power(round.cut);
        }
        let (ring, _) = open(&disk).unwrap();
        check(&ring, &disk, &promised);
    }
}

/// One scenario, cut at each of its operations, with many ways for the disk to forget.
#[test]
fn every_single_step_can_be_the_last() {
    let scenario = |ring: &KeyRing, promised: &mut Promised, disk: &Disk| {
        let ops = [
            Op::SiteMonth(0, 0),
            Op::Journal,
            Op::Bucket(0, 0),
            Op::Retire(vec![0]),
            Op::Seen(0),
            Op::Access(0),
            Op::SiteMonth(1, 0),
            Op::SiteMonth(1, 1),
            Op::Retire(vec![1, 2, 5]),
            Op::Journal,
        ];
        ops.iter().try_for_each(|op| op.run(ring, disk, promised))
    };
    let full = disk();
    let (ring, _) = open(&full).unwrap();
    let start = full.operations();
    scenario(&ring, &mut Promised::default(), &full).unwrap();
    let steps = full.operations() - start;
    assert!(steps > 40, "{steps}");
    for fuse in 0..steps {
        let seeds = (0..24).map(Cut::Seeded);
        for cut in [Cut::Lost, Cut::Kept, Cut::Killed].into_iter().chain(seeds) {
            let disk = disk();
            let (ring, _) = open(&disk).unwrap();
            let mut promised = Promised { live: ring.secrets(), ..Promised::default() };
            disk.burn_after(fuse);
            assert!(scenario(&ring, &mut promised, &disk).is_err());
            disk.power(cut);
            let (ring, _) = open(&disk).unwrap();
            check(&ring, &disk, &promised);
        }
    }
}

/// A site-month is one sync a copy, however many keys it makes; nothing is written for a second
/// ask.
#[test]
fn a_new_site_month_is_one_write() {
    let disk = super::disk_under(&super::hsm::OneKey, 1024);
    let (ring, _) = open(&disk).unwrap();
    let before = disk.operations();
    let keys = ring.site_month(&site(1), month(1)).unwrap();
    // Slots, header, sync; twice.
    assert_eq!(disk.operations() - before, 6);
    let again = ring.site_month(&site(1), month(1)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&keys, &again));
    assert_eq!(disk.operations() - before, 6);
}

/// Cut between the copies: the zeros of A win over the key in B, whether A's bytes were kept or the
/// process was only killed.
#[test]
fn a_retirement_that_is_durable_in_one_copy_is_finished() {
    for cut in [Cut::Lost, Cut::Kept, Cut::Killed] {
        let disk = disk();
        let (ring, _) = open(&disk).unwrap();
        let key = ring.journal().unwrap().id();
        // Slots, header and sync of A; the next write is B's.
        disk.burn_after(3);
        assert!(matches!(ring.retire(&[key]), Err(KeysError::Failed(_))));
        disk.power(cut);
        let (ring, repaired) = open(&disk).unwrap();
        assert!(ring.by_id(key).is_none(), "{cut:?}");
        assert!(repaired > 0);
        assert!(slots(&disk.durable(0)) == slots(&disk.durable(1)));
    }
}
