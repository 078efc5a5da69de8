//! Own periods of sites in data that was put back, beside an engine that lost nothing.

use super::*;
use crate::engine::restore::LedgerPeriod;
use crate::model::site::SiteSettings;

const MONTHS: [&str; 9] = [
    "2026-11", "2026-12", "2027-01", "2027-02", "2027-03", "2027-04", "2027-05", "2027-06",
    "2027-07",
];

impl World {
    /// The period that each month of a site has.
    fn periods(&self, site: u8) -> Vec<Option<u32>> {
        let site = self.engine().site(&site_id(site)).unwrap();
        let of =
            |month: &&str| site.settings_in(Month::parse(month.as_bytes()).unwrap()).records_days;
        MONTHS.iter().map(of).collect()
    }
}

/// A site that has no record yet, so that its settings hold at once.
const NEW: u8 = 9;

/// Changes of three sites, the days after the backup that each was said, and how many days it says:
/// shorter, longer and back, and one that another follows before it holds.
const SAID: [(u8, i64, Option<u32>); 10] = [
    (NEW, 0, Some(7)),
    (0, 1, Some(7)),
    (2, 1, None),
    (2, 5, Some(90)),
    (0, 14, None),
    (2, 20, Some(10)),
    (2, 46, Some(60)),
    (0, 80, Some(5)),
    (2, 81, Some(3)),
    (0, 82, Some(9)),
];

#[test]
fn months_have_the_periods_that_they_would_have_had() {
    for said in 1..=SAID.len() {
        let mut world = World::filled();
        let made = world.engine().put_site(site_id(NEW), SiteSettings::default());
        world.runtime.block_on(made).unwrap();
        let kept = world.back_up("backup");
        let mut replay = Replay::default();
        let start = world.now();
        for (number, (site, days, records_days)) in (8..).zip(&SAID[..said]) {
            world.clock.0.store(start + days * DAY, Ordering::SeqCst);
            let before = world.engine().site(&site_id(*site)).unwrap();
            let last = before.last_said();
            let settings = SiteSettings { records_days: *records_days, ..last.clone() };
            let put = world.engine().put_site(site_id(*site), settings);
            world.runtime.block_on(put).unwrap();
            let at = Timestamp(start + days * DAY);
            let site = site_id(*site);
            replay.periods.push(LedgerPeriod { number, site, records_days: *records_days, at });
        }
        let live = [0, 2, NEW].map(|site| world.periods(site));
        // Lost long after the last of them, so that what was announced holds by then.
        world.clock.0.store(start + 150 * DAY, Ordering::SeqCst);
        // What the backup knows already is not said again.
        let old = LedgerPeriod { number: 6, records_days: Some(1), ..replay.periods[0].clone() };
        replay.periods.insert(0, old);
        world.restore(&kept, &replay);
        assert_eq!([0, 2, NEW].map(|site| world.periods(site)), live, "{:?}", &SAID[..said]);
        world.reopen();
        assert_eq!([0, 2, NEW].map(|site| world.periods(site)), live, "after a start");
        world.close();
    }
}
