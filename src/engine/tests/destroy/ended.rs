//! What ends without a record: plain counts, who is suppressed, and the list of files.

use std::path::PathBuf;

use super::checks::copy;
use super::*;
use crate::engine::destroy::lots::suppression_of;
use crate::engine::erase::{Order, Waits};
use crate::model::ids::SiteNo;
use crate::model::person::Person;

impl World {
    /// All rows of the lists of files.
    fn lists(&self) -> Vec<u8> {
        let entries = std::fs::read_dir(self.dir.path().join("data")).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        let is_list =
            |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST-");
        files.filter(is_list).flat_map(|path| std::fs::read(path).unwrap()).collect()
    }

    fn end_figures(&self, of: &[(u8, Month)]) -> Result<u64, EngineError> {
        let months = of.iter().map(|(site, month)| (site_id(*site), *month)).collect();
        self.runtime.block_on(self.engine().end_figures(months))
    }

    fn counters(&self) -> Vec<SiteMonth> {
        let rows = self.engine().store().scan(Table::Counters, &[], None).unwrap();
        rows.map(|row| store::keys::counters_of(&row.unwrap().0).unwrap()).collect()
    }

    fn suppressed_rows(&self) -> usize {
        let (from, to) = (store::keys::SUPPRESSED, store::keys::SUPPRESSED_END);
        self.engine().store().scan(Table::Meta, from, Some(to)).unwrap().count()
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

/// The list of files has the first and last row key of each file, also of those that are gone. No
/// key of a row that was destroyed is in it afterwards.
#[test]
fn no_key_of_what_is_destroyed_is_in_the_list_of_files() {
    let mut world = World::filled();
    world.fold_now();
    let (at, lots) = world.month_lots(2);
    let days = lots.iter().filter_map(|lot| match lot {
        Lot::Records(bucket) => Some(*bucket),
        _ => None,
    });
    let days: Vec<Bucket> = days.collect();
    assert!(days.len() > 1);
    // Flushed with the fold or now, each in files of its own.
    for table in world.engine().store().tables() {
        world.engine().store().files(&[table].into()).unwrap();
    }
    let before = world.lists();
    let mut wanted: Vec<Vec<u8>> = world
        .rows()
        .into_iter()
        .filter(|row| matches!(world.try_row(row).0, Lot::Records(of) if days.contains(&of)))
        .map(|(_, key, _)| key)
        .collect();
    let page = store::keys::page(at.site.0, 0, 0, 0);
    wanted.push(page[..5].to_vec());
    assert!(wanted.iter().any(|key| holds(&before, key)), "the search finds what is there");
    let tally = Table::Tally(at.month).name();
    assert!(holds(&before, tally.as_bytes()));
    let all: Vec<Lot> = (0..3).flat_map(|site| world.month_lots(site).1).collect();
    world.destroyed(&all);
    let after = world.lists();
    for key in &wanted[..wanted.len() - 1] {
        assert!(!holds(&after, key), "{key:?}");
    }
    assert!(!holds(&after, tally.as_bytes()), "a table that is dropped");
    assert!(after.len() < before.len() + (64 << 10), "what filled the list is not in the next one");
    assert!(!world.engine().store().tables().contains(&Table::Roll));
    world.check_blocks();
    world.reopen();
    world.check_blocks();
}

/// A cut while the list of files is replaced leaves a table that a start removes.
#[test]
fn a_table_that_a_cut_left_is_removed_by_the_next_start() {
    let mut world = World::filled();
    world.engine().store().ensure(Table::Roll).unwrap();
    world.reopen();
    assert!(!world.engine().store().tables().contains(&Table::Roll));
    world.check();
}

/// Figures end for good, and what arrived still agrees with what is counted; no month ends whose
/// keys live.
#[test]
fn figures_end_and_stay_so_and_other_months_have_theirs() {
    let mut world = World::filled();
    let (at, lots) = world.month_lots(0);
    assert!(matches!(world.end_figures(&[(0, at.month)]), Err(EngineError::Refused(_))));
    world.destroyed(&lots);
    let others: Vec<SiteMonth> = world.counters().into_iter().filter(|of| *of != at).collect();
    assert!(!others.is_empty() && world.counters().len() == others.len() + 1);
    let kept = world.engine().figures_kept().unwrap();
    let of = |month: &Month, site: u8| {
        kept.iter().find(|of| (&of.month, &of.site) == (month, &site_id(site))).unwrap().lives
    };
    assert!(!of(&at.month, 0) && of(&at.month, 1));
    assert_eq!(world.end_figures(&[(0, at.month)]), Ok(1));
    for _ in 0..2 {
        let usage = world.engine().usage(&site_id(0), at.month);
        assert_eq!(usage.err(), Some(EngineError::Ended));
        assert!(world.engine().usage(&site_id(1), at.month).is_ok());
        assert_eq!(world.counters(), others);
        assert_eq!(world.engine().arrivals_difference(), 0);
        assert_eq!(world.end_figures(&[(0, at.month)]), Ok(0), "they have ended");
        world.fold_now();
        assert_eq!(world.counters(), others);
        world.reopen();
    }
    let store = world.engine().store();
    let row = store.get(Table::Meta, store::keys::ENDED_RECORDS).unwrap().unwrap();
    assert!(store::rows::decode_count(&row).unwrap() > 0);
    world.runtime.block_on(world.engine().rewrite_counts()).unwrap();
    let list = world.lists();
    assert!(!holds(&list, &store::keys::counters(at)));
}

/// Who is suppressed at a site ends with it: the key in the register, the tags, and what memory
/// has of them, cut at every step.
#[test]
fn who_is_suppressed_at_a_site_ends_with_it_cut_at_every_step() {
    const STEPS: u32 = 20;
    let nobody: Waits = Arc::new(|_| false);
    let mut cuts = 0;
    for step in 0..=STEPS {
        let mut world = World::filled();
        let tags = [Tag(tag("user record", 1)), Tag(tag("suppressed", 1))];
        for (site, number) in [(0, 50), (1, 51)] {
            let person = Person { users: vec![tags[0]], devices: Vec::new() };
            let suppress = vec![tags[1]];
            let order = Order { number, person, suppress, ..Order::default() };
            world.runtime.block_on(world.engine().hide(&site_id(site), order)).unwrap();
            let erased = world.engine().erase(number, nobody.clone(), MARK, Arc::new(()));
            assert!(world.runtime.block_on(erased).unwrap().done);
            world.runtime.block_on(world.engine().end_erasure(number)).unwrap();
        }
        let listed = |world: &World| {
            let lots = world.engine().lots().into_iter().map(|info| info.lot);
            lots.filter(|lot| matches!(lot, Lot::Suppression(_))).collect::<Vec<Lot>>()
        };
        assert_eq!(listed(&world), [], "while the site runs it is no lot");
        let now = Timestamp(world.now());
        world.runtime.block_on(world.engine().terminate_site(site_id(0), now)).unwrap();
        let site = world.engine().site(&site_id(0)).unwrap();
        assert_eq!(listed(&world), [suppression_of(&site)]);
        assert_eq!(world.suppressed_rows(), 2);
        world.close();
        let old = world.dir.path().join("old-keys");
        copy(&world.dir.path().join("keys"), &old);
        world.open();
        let lots = [suppression_of(&site)];
        let cut = Cut::at(step);
        let report = world.destroy(&lots, cut.clone());
        assert_eq!(report.is_none(), cut.was_reached(), "{step}");
        cuts += u32::from(cut.was_reached());
        if report.is_none() && world.finish(&lots).is_none() {
            assert_eq!(step, 0, "nothing had begun");
            world.destroy(&lots, Arc::new(())).unwrap();
        }
        for _ in 0..2 {
            let none = world.engine().ring().suppression_existing(&site.id).unwrap();
            assert!(none.is_none() && world.engine().suppressed(site.no).is_none(), "{step}");
            assert_eq!((world.suppressed_rows(), listed(&world)), (1, Vec::new()), "{step}");
            let other = world.engine().site(&site_id(1)).unwrap().no;
            assert_eq!(world.engine().suppressed(other).unwrap().tags.len(), 1, "{step}");
            world.reopen();
        }
        let list = world.lists();
        assert!(!holds(&list, &store::keys::suppressed(site.no, 50)), "{step}");
        assert_ne!(site.no, SiteNo(0));
        if report.is_some() {
            assert!(cuts > 12 && step <= STEPS, "{cuts}");
            return;
        }
    }
    panic!("more steps than {STEPS}");
}
