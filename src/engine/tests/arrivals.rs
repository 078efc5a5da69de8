//! What arrived from whom: more senders than an hour tells apart, more than a table of the past
//! keeps, pages, and data that does not agree.

use super::*;
use crate::engine::arrivals::Look;
use crate::engine::log::Log;
use crate::model::arrival::{Credential, HOUR_NAMES_MAX, KEPT_DAYS, NAMES_MAX, OTHERS, Place};
use crate::model::caller::{Role, SiteScope};
use crate::model::reason::Reason;

const DAY: i64 = 24 * HOUR;
const EVERYTHING: Look = Look { rows: usize::MAX, hours: usize::MAX, senders: usize::MAX };

/// Who the rows of a batch may be from.
pub(super) const SENDERS: u16 = 4;

/// A sender of two credentials.
pub(super) fn sender(number: u16) -> Sender {
    let credential = Credential { producer: format!("c{}", number % 2).into(), sites: "*".into() };
    Sender { credential: Arc::new(credential), producer: format!("p{number}").into() }
}

/// All senders; the first one sent some more that was refused at the door.
pub(super) fn senders(rows: &[(Row, i64)]) -> Vec<(Sender, Received)> {
    let mut senders: Vec<_> =
        (0..SENDERS).map(|number| (sender(number), Received::default())).collect();
    senders[0].1.reject(Reason::UnknownSite, rows.len() as u64 % 3);
    senders
}

fn named(producer: &str) -> Sender {
    Sender { producer: producer.into(), ..sender(0) }
}

/// A batch of so many refused records of each of these producers.
fn refused(producers: impl Iterator<Item = String>, records: u64) -> Batch {
    let mut batch = Batch::default();
    for producer in producers {
        let mut received = Received::default();
        received.reject(Reason::BadValue, records);
        batch.arrival.senders.push((named(&producer), received));
    }
    batch
}

impl World {
    /// Everything that arrived and is kept.
    pub(super) fn arrivals(&self) -> BTreeMap<(Hour, Sender), Received> {
        let all = Hour(0)..Hour(u32::MAX);
        let (rows, next) = self.engine().arrivals(all, None, &EVERYTHING, |_| true).unwrap();
        assert_eq!(next, None);
        rows.into_iter().map(|(hour, sender, received)| ((hour, sender), received)).collect()
    }

    /// Sends so many refused records of each of these producers.
    fn refused(&self, producers: impl Iterator<Item = String>, records: u64) {
        let batch = refused(producers, records);
        self.runtime.block_on(self.engine().commit(batch, Vec::new(), None)).unwrap();
    }

    fn restart(&mut self) {
        self.close();
        self.open();
    }

    fn fold_all(&self) {
        self.runtime.block_on(self.engine().fold()).unwrap();
    }
}

#[test]
fn an_hour_tells_so_many_senders_apart_and_counts_the_rest_together() {
    let mut world = World::new(settings(false));
    let names = |range: std::ops::Range<usize>| range.map(|at| format!("n{at:04}"));
    world.refused(names(0..40), 1);
    world.fold_all();
    world.refused(names(30..100), 2);
    let check = |world: &World| {
        let found = world.arrivals();
        assert_eq!(found.len(), NAMES_MAX + 1);
        let records: u64 = found.values().map(Received::records).sum();
        assert_eq!(records, 40 + 140);
        let of = |name: &str| {
            let here = found.iter().find(|((_, sender), _)| *sender == named(name));
            here.map(|(_, received)| received.records())
        };
        assert_eq!([of("n0000"), of("n0035"), of("n0063")], [Some(1), Some(3), Some(2)]);
        assert_eq!([of("n0064"), of(OTHERS)], [None, Some(72)]);
    };
    check(&world);
    world.restart();
    check(&world);
    // The next fold begins with the row of the first.
    world.fold_all();
    check(&world);
    world.restart();
    world.refused(names(80..81), 5);
    world.refused(names(0..1), 5);
    let records: u64 = world.arrivals().values().map(Received::records).sum();
    assert_eq!(records, 190);
    assert_eq!(world.arrivals().len(), NAMES_MAX + 1);
    // The credential's own name has its place all the same.
    world.refused(["c0".to_owned()].into_iter(), 5);
    assert_eq!(world.arrivals().len(), NAMES_MAX + 2);
    // The next hour has room again.
    world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
    world.refused(names(80..81), 5);
    assert_eq!(world.arrivals().len(), NAMES_MAX + 3);
    world.close();
}

/// A producer that makes names up takes none of those of others away, and very many that do so
/// together leave everybody its own.
#[test]
fn nobody_takes_the_names_of_others() {
    let mut world = World::new(settings(false));
    let credentials = HOUR_NAMES_MAX / NAMES_MAX;
    let of = |credential: usize, producer: &str| {
        let credential =
            Credential { producer: format!("c{credential}").into(), sites: "A".into() };
        Sender { credential: Arc::new(credential), producer: producer.into() }
    };
    let send = |world: &World, senders: &mut dyn Iterator<Item = Sender>| {
        let mut batch = Batch::default();
        let received = Received { unreadable: 1, ..Received::default() };
        batch.arrival.senders = senders.map(|sender| (sender, received.clone())).collect();
        world.runtime.block_on(world.engine().commit(batch, Vec::new(), None)).unwrap();
    };
    for credential in 0..credentials - 1 {
        send(&world, &mut (0..2 * NAMES_MAX).map(|at| of(credential, &format!("n{at}"))));
    }
    let last = credentials - 1;
    send(&world, &mut (0..NAMES_MAX).map(|at| of(last, &format!("n{at}"))));
    let found = world.arrivals();
    assert_eq!(found.len(), HOUR_NAMES_MAX + credentials - 1, "names, and the rest of each");
    assert!(found.keys().all(|(_, sender)| *sender != of(last, OTHERS)), "it lost none");
    let more = credentials + 1;
    send(&world, &mut [of(more, "n0"), of(more, "c65")].into_iter());
    let check = |world: &World| {
        let found = world.arrivals();
        let has = |sender| found.keys().any(|(_, found)| *found == sender);
        assert_eq!(
            [has(of(more, "c65")), has(of(more, OTHERS)), has(of(more, "n0"))],
            [true, true, false]
        );
    };
    check(&world);
    world.restart();
    check(&world);
    world.fold_all();
    world.restart();
    check(&world);
    // Also where the hour was read from its row, it has no room.
    send(&world, &mut [of(more, "n1"), of(0, "x"), of(0, "c0")].into_iter());
    check(&world);
    assert_eq!(world.arrivals().len(), HOUR_NAMES_MAX + credentials - 1 + 3);
    world.close();
}

/// A batch without rows has next to nothing that is sealed; what it has waits in memory all the
/// same.
#[test]
fn batches_without_rows_take_their_place_in_the_queue() {
    let world = World::new(Settings { queue_bytes: 64 << 10, ..settings(false) });
    let engine = world.engine().clone();
    let names = || (0..NAMES_MAX).map(|at| format!("n{at}"));
    // The writer stops where it would publish.
    let holds_writer = engine.shared.published.read().unwrap();
    let append = |_| engine.append(refused(names(), 1), Vec::new(), None).ok();
    let taken: Vec<_> = (0..100).map_while(append).collect();
    assert!((2..8).contains(&taken.len()), "{} were taken", taken.len());
    assert!(engine.figures().queued_bytes > 32 << 10);
    drop(holds_writer);
    let batches = taken.len();
    for queued in taken {
        world.runtime.block_on(engine.outcome(queued)).unwrap();
    }
    assert_eq!(engine.figures().queued_bytes, 0);
    let records: u64 = world.arrivals().values().map(Received::records).sum();
    assert_eq!(records, (batches * NAMES_MAX) as u64);
}

/// What comes while a fold is under way is in none of its rows, also when its hour ends meanwhile.
#[test]
fn what_comes_during_a_fold_is_in_the_next() {
    let mut world = World::new(settings(false));
    let names = || ["x".to_owned()].into_iter();
    world.refused(names(), 1);
    let (engine, clock) = (world.engine().clone(), Arc::clone(&world.clock));
    world.runtime.block_on(async {
        engine.store().fault.store(99, Ordering::SeqCst);
        let mut fold = std::pin::pin!(engine.fold());
        tokio::select! {
            biased;
            _ = &mut fold => panic!("the fold did not wait"),
            () = std::future::ready(()) => {}
        }
        for records in [2, 4] {
            engine.commit(refused(names(), records), Vec::new(), None).await.unwrap();
            clock.0.fetch_add(HOUR, Ordering::SeqCst);
        }
        engine.store().fault.store(0, Ordering::SeqCst);
        fold.await.unwrap();
    });
    drop(engine);
    let check = |world: &World| {
        let records: Vec<u64> = world.arrivals().values().map(Received::records).collect();
        assert_eq!(records, [3, 4]);
    };
    check(&world);
    world.fold_all();
    check(&world);
    world.restart();
    check(&world);
    world.close();
}

/// Rejected records by reason, and those whose reasons have ended, over all hours and in the total.
fn refused_by(world: &World) -> (u64, u64, u64) {
    let found = world.arrivals();
    let known = found.values().flat_map(|of| of.by_reason().map(|(_, records)| records)).sum();
    let ended = found.values().map(|of| of.reasons_ended).sum();
    (known, ended, found.values().map(Received::records).sum())
}

#[test]
fn reasons_end_in_memory_rows_and_files_and_their_sum_stays() {
    let mut world = World::new(settings(false));
    let names = || ["seek-me".to_owned()].into_iter();
    let first = Hour::of(Timestamp(world.now()));
    world.refused(names(), 3);
    world.fold_all();
    world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
    world.refused(names(), 4);
    let second = Hour(first.0 + 1);
    assert_eq!(refused_by(&world), (7, 0, 7));
    let end = |world: &World, before: Hour| {
        world.runtime.block_on(world.engine().end_reasons(before)).unwrap()
    };
    // One that a fold wrote, one that is in memory.
    let files = || {
        let listed = std::fs::read_dir(world.dir.path().join("data")).unwrap();
        let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".sst") || name.ends_with(".log")).collect()
    };
    let before: BTreeSet<String> = files();
    assert_eq!(end(&world, second), 1);
    assert_eq!(refused_by(&world), (4, 3, 7));
    let logs = files().into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(before.is_disjoint(&logs), "the log with the row of before is gone");
    assert_eq!(end(&world, second), 0, "again there is nothing to do");
    let open = Hour(second.0 + 1);
    end(&world, open);
    assert_eq!(refused_by(&world), (0, 7, 7));
    for _ in 0..2 {
        // A clock that is set back brings none back.
        world.clock.0.fetch_sub(HOUR, Ordering::SeqCst);
        world.refused(names(), 1);
        world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
        world.fold_all();
        world.restart();
    }
    assert_eq!(refused_by(&world), (0, 9, 9));
    world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
    world.refused(names(), 2);
    assert_eq!(refused_by(&world), (2, 9, 11));
    world.fold_all();
    // The total never knew a reason.
    let key = world.engine().ring().state_key();
    let row = world.engine().store().get(Table::Arrivals, &keys_total()).unwrap().unwrap();
    let aad = crate::crypto::Aad::new("arrivals/1").bytes(&keys_total());
    let total = store::arrivals::Total::decode(&key.open(&aad, &row).unwrap()).unwrap();
    assert_eq!((total.received.reasons_ended, total.received.records()), (11, 11));
    world.close();
}

/// Cut before its files are rewritten it is done again by the same call.
#[test]
fn an_end_of_reasons_that_was_cut_is_done_again() {
    let mut world = World::new(settings(false));
    world.refused(["x".to_owned()].into_iter(), 3);
    world.fold_all();
    let next = Hour(Hour::of(Timestamp(world.now())).0 + 1);
    let row = store::keys::ARRIVALS_REASONS;
    let (store, key) = (world.engine().store(), world.engine().ring().state_key());
    // As far as the rows.
    assert_eq!(crate::engine::arrivals::end_stored(store, &key, &(Hour(0)..next)).unwrap(), 1);
    assert_eq!(store.get(Table::Arrivals, &row).unwrap(), None);
    world.restart();
    assert_eq!(refused_by(&world), (0, 3, 3));
    assert_eq!(world.runtime.block_on(world.engine().end_reasons(next)).unwrap(), 0);
    assert!(world.engine().store().get(Table::Arrivals, &row).unwrap().is_some());
    world.close();
}

#[test]
fn hours_are_kept_so_long_and_their_sum_for_good() {
    let mut world = World::new(settings(false));
    let row = |event| Row { site: 0, event, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit(vec![row(1)]));
    world.run(Op::Fold);
    for _ in 0..KEPT_DAYS / 30 {
        world.clock.0.fetch_add(30 * DAY, Ordering::SeqCst);
        world.run(Op::Submit(vec![row(1)]));
        world.run(Op::Fold);
    }
    let first = world.model.arrivals.keys().next().unwrap().clone();
    let days = (world.now() - first.0.start().0) / DAY;
    assert_eq!(days, 390, "still kept, as the comparison above says");
    world.clock.0.fetch_add(11 * DAY, Ordering::SeqCst);
    world.submit(vec![(row(2), world.now())]);
    world.fold_all();
    world.model.arrivals.retain(|(hour, _), _| hour.0 > first.0.0);
    world.check();
    // Without traffic as well.
    world.clock.0.fetch_add(2 * i64::from(KEPT_DAYS) * DAY, Ordering::SeqCst);
    let now = Timestamp(world.now());
    world.runtime.block_on(world.engine().expire(now)).unwrap();
    assert!(world.arrivals().len() <= SENDERS as usize, "but for the hour that is in memory");
    world.restart();
    assert!(world.arrivals().is_empty());
    assert_eq!(world.engine().arrivals_difference(), 0);
    world.close();
}

#[test]
fn pages_join_without_gap_or_repeat() {
    let world = World::new(settings(false));
    for hour in 0..5 {
        world.refused((0..7).map(|at| format!("n{at}")), 1);
        if hour % 2 == 0 {
            world.fold_all();
        }
        world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
    }
    let first = Hour::of(Timestamp(START));
    let range = Hour(first.0 + 1)..Hour(first.0 + 4);
    let wanted = |sender: &Sender| &*sender.producer != "n3";
    let page = |from: Option<&Place>, look: &Look| {
        world.engine().arrivals(range.clone(), from, look, wanted).unwrap()
    };
    let (all, next) = page(None, &EVERYTHING);
    assert_eq!(next, None);
    assert_eq!(all.len(), 3 * 6);
    let looks = [(99, 99), (1, 99), (2, 99), (99, 1), (99, 8), (99, 15)];
    for (rows, (hours, senders)) in (1..=19).flat_map(|rows| looks.map(|look| (rows, look))) {
        let look = Look { rows, hours, senders };
        let (mut joined, mut from) = (Vec::new(), None);
        loop {
            let (rows, next) = page(from.as_ref(), &look);
            joined.extend(rows);
            if next.is_none() {
                break;
            }
            assert!(next > from, "it goes on");
            from = next;
        }
        assert_eq!(joined, all, "{look:?}");
    }
    let backwards = range.end..range.start;
    assert!(world.engine().arrivals(backwards, None, &EVERYTHING, wanted).unwrap().0.is_empty());
    // Hours without anything wanted are looked at as well, and those in memory like others.
    let none = |from: Option<&Place>, hours| {
        let (all, look) = (Hour(0)..Hour(u32::MAX), Look { hours, ..EVERYTHING });
        let (rows, next) = world.engine().arrivals(all, from, &look, |_| false).unwrap();
        assert!(rows.is_empty());
        next
    };
    for hours in 1..5 {
        let ends = Hour(first.0 + u32::try_from(hours).unwrap());
        let place = none(None, hours).unwrap();
        assert_eq!(place, Place { hour: ends, behind: None });
        assert_eq!(none(Some(&place), 5 - hours), None);
    }
    assert_eq!(none(None, 5), None, "no cursor where nothing is left");
}

/// The check at the start bites: rows that are counted, but for nobody.
#[test]
fn data_whose_arrivals_do_not_agree_is_refused() {
    let mut world = World::new(settings(false));
    let row = Row { site: 0, event: 1, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit(vec![row]));
    world.run(Op::Fold);
    let row = world.engine().store().get(Table::Arrivals, &keys_total()).unwrap().unwrap();
    let mut changes = store::Changes::default();
    changes.delete(Table::Arrivals, keys_total());
    world.engine().store().apply(&changes).unwrap();
    world.restart();
    assert_eq!(world.engine().arrivals_difference(), 0, "as data from before they were counted");
    let more = Row { site: 0, event: 2, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit(vec![more]));
    world.run(Op::Fold);
    let mut changes = store::Changes::default();
    changes.put(Table::Arrivals, keys_total(), row);
    world.engine().store().apply(&changes).unwrap();
    world.close();
    let data = world.dir.path().join("data");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(world.dir.path().join("keys"))).unwrap();
    let opened = Engine::open(store, ring, settings(false), world.clock.clone());
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("are not as many as those that are counted"), "{error}");
}

/// A fault that counts a duplicate twice shows while the server runs, and keeps the next from
/// starting; duplicates that come after the close are in no month, and are no fault.
#[test]
fn duplicates_are_compared_as_well() {
    let mut world = World::new(settings(false));
    let row = |event| Row { site: 0, event, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    let times = |world: &World, rows: Vec<Row>| -> Vec<(Row, i64)> {
        rows.into_iter().map(|row| (row, world.now() - HOUR)).collect()
    };
    let rows = times(&world, vec![row(1), row(2), row(1)]);
    world.submit(rows.clone());
    world.submit(rows.clone());
    world.run(Op::Advance(300));
    // The month is closed.
    world.submit(rows);
    for op in [Op::Restart, Op::Fold, Op::Restart] {
        world.run(op);
        let found = world.engine().usage(&site_id(0), Month::parse(b"2026-11").unwrap());
        assert_eq!(found.unwrap().unwrap().tally.counters.duplicates, 4);
        let came: u64 = world.arrivals().values().map(|received| received.duplicates).sum();
        assert_eq!((came, world.engine().arrivals_difference()), (7, 0));
    }
    let shared = &world.engine().shared;
    let published = shared.published.read().unwrap();
    let (at, tally) = published.iter().find(|(_, of)| of.counters.duplicates == 4).unwrap();
    let mut twice = tally.clone();
    twice.counters.duplicates += 1;
    shared.arrivals.note(Some(tally), &twice);
    assert_eq!(shared.arrivals.difference(), 1);
    shared.arrivals.note(Some(&twice), tally);
    assert_eq!(shared.arrivals.difference(), 0);
    let mut changes = store::Changes::default();
    // Four more than came at all.
    twice.counters.duplicates += 3;
    changes.put(Table::Counters, store::keys::counters(*at), store::verdict::encode_tally(&twice));
    shared.store.apply(&changes).unwrap();
    drop(published);
    world.close();
    let data = world.dir.path().join("data");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(world.dir.path().join("keys"))).unwrap();
    let opened = Engine::open(store, ring, settings(false), world.clock.clone());
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("are not as many as those that are counted"), "{error}");
}

fn keys_total() -> [u8; 4] {
    store::keys::ARRIVALS_TOTAL
}

#[test]
fn a_credential_is_known_by_its_producer_and_sites() {
    let site = |at: usize| SiteId::parse(format!("site-{at:04}").as_bytes()).unwrap();
    let token = |sites: SiteScope| Token {
        key_id: "k".into(),
        secret_hash: [0; 32],
        role: Role::Producer,
        sites,
        name: String::new(),
        producer: "p".into(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp(0),
        issuer: None,
    };
    let of = |count: usize| SiteScope::Some((0..count).map(site).collect());
    let known = |scope| crate::engine::arrivals::credential(&token(scope)).sites;
    assert_eq!(&*known(SiteScope::All), "*");
    assert_eq!(&*known(of(2)), "site-0000,site-0001");
    let many = known(of(2_000));
    assert_eq!((many.len(), &many[..1]), (65, "#"));
    assert_ne!(many, known(of(2_001)));
}
