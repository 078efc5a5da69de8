//! Due times, against a calendar that counts day by day.

use proptest::prelude::*;

use super::*;
use crate::model::limits::AGE_MS_MAX;
use crate::retention::due::{Terms, add_months};

/// A date that is found by counting from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

fn month_days(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1]
}

impl Date {
    fn next(self) -> Self {
        let Self { year, month, day } = self;
        match (day < month_days(year, month), month < 12) {
            (true, _) => Self { day: day + 1, ..self },
            (false, true) => Self { month: month + 1, day: 1, ..self },
            (false, false) => Self { year: year + 1, month: 1, day: 1 },
        }
    }
}

/// The same time of day so many months later, by counting days.
fn naive(at: Timestamp, months: i64) -> Timestamp {
    let (days, rest) = (at.0 / DAY_MS, at.0 % DAY_MS);
    let mut date = Date { year: 1970, month: 1, day: 1 };
    for _ in 0..days {
        date = date.next();
    }
    let (mut year, mut month) = (date.year, date.month);
    for _ in 0..months {
        (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    }
    let wanted = Date { year, month, day: date.day.min(month_days(year, month)) };
    let mut later = days;
    while date != wanted {
        date = date.next();
        later += 1;
    }
    Timestamp(later * DAY_MS + rest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn months_are_those_of_the_calendar(
        ms in 1_700_000_000_000i64..2_200_000_000_000, months in 0u32..40,
    ) {
        prop_assert_eq!(add_months(Timestamp(ms), months), naive(Timestamp(ms), months.into()));
    }

    /// Every lot of a random site and month, by the words of the rules.
    #[test]
    fn dues_follow_the_rules(
        zone in prop::sample::select(vec!["UTC", "Asia/Seoul", "America/New_York"]),
        name in prop::sample::select(vec!["2026-02", "2026-05", "2026-08", "2026-11"]),
        days in prop::option::of(1u32..400),
        ended in prop::option::of(0i64..500),
        created in 0i64..200,
        closing in 24u32..=240,
    ) {
        let mut site = site("A", 1, zone, days);
        site.settings.closing_hours = closing;
        site.created_at = Timestamp(at("2026-01-01T00:00:00Z").0 + created * DAY_MS);
        let new_year = at("2026-01-01T00:00:00Z").0;
        site.terminated_at = ended.map(|days| Timestamp(new_year + days * DAY_MS));
        let span = calendar::span(&site, month(name)).unwrap();
        let mut lots = lots_of(&site, name, 1);
        if days.is_some() {
            for info in &mut lots {
                if let Lot::Records(bucket) = &mut info.lot {
                    let day = Timestamp(span.to.0 - 1).day();
                    bucket.epoch = Epoch::Day(day);
                    info.ends_at = Timestamp(day.start().0 + DAY_MS);
                }
            }
        }
        let policy = Policy::of(Profile::KrPipa);
        let dues = Terms { policy: &policy, site: &site, age_ms: AGE_MS_MAX }.dues(&lots);
        let last = site.terminated_at.map_or(Timestamp::END, |ended| naive(ended, 6));
        for info in &lots {
            let bucket_end = |info: &LotInfo| {
                let own = days.map_or(i64::MAX, |days| info.ends_at.0 + i64::from(days) * DAY_MS);
                naive(info.ends_at, 6).min(Timestamp(own))
            };
            let bucket = lots.iter().filter(|info| matches!(info.lot, Lot::Records(_)));
            let buckets = bucket.map(bucket_end).max().unwrap();
            let accepted = Timestamp(span.to.0 + AGE_MS_MAX);
            let hours = i64::from(site.settings.closing_hours) * 3_600_000;
            let closed = (span.to.0 + hours).max(site.created_at.0 + 3 * DAY_MS);
            let sets = Timestamp(closed + 60 * DAY_MS).max(accepted).min(naive(span.to, 6));
            let wanted = match info.lot {
                Lot::Records(_) => bucket_end(info),
                Lot::Sets(_) => sets,
                Lot::RecordKey(_) | Lot::WatermarkKey(_) => buckets.max(accepted),
                Lot::BaseKey(_) => buckets.max(accepted).max(sets),
                Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => Timestamp::END,
            };
            prop_assert_eq!(dues[&info.lot], wanted.min(last), "{:?}", info.lot);
        }
    }
}

#[test]
fn a_month_in_seoul_is_due_six_months_after_its_own_end() {
    let site = site("A", 1, "Asia/Seoul", None);
    let lots = lots_of(&site, "2026-08", 1);
    let policy = Policy::of(Profile::KrPipa);
    let dues = Terms { policy: &policy, site: &site, age_ms: AGE_MS_MAX }.dues(&lots);
    // The end of August there is 31 August 15:00 UTC; February has 28 days.
    assert_eq!(dues[&lots[0].lot], at("2027-02-28T15:00:00Z"));
    assert_eq!(dues[&lots[2].lot], at("2026-11-02T15:00:00Z"));
}

#[test]
fn a_living_bucket_keeps_the_key_of_its_records() {
    // The site had months of its own until July, and days from then on.
    let mut site = site("A", 1, "UTC", Some(10));
    site.past = vec![(month("2026-07"), SiteSettings::default())];
    let mut lots = lots_of(&site, "2026-07", 1);
    lots.retain(|info| !matches!(info.lot, Lot::Records(_)));
    let old =
        Bucket { class: Class::Records, site: site.no, epoch: Epoch::Month(month("2026-07")) };
    let ends_at = at("2026-08-01T00:00:00Z");
    lots.push(LotInfo { lot: Lot::Records(old), site: site.id.clone(), keys: vec![], ends_at });
    let policy = Policy::of(Profile::KrPipa);
    let dues = Terms { policy: &policy, site: &site, age_ms: AGE_MS_MAX }.dues(&lots);
    let key = SiteMonth { site: site.no, month: month("2026-07") };
    assert_eq!(dues[&Lot::RecordKey(key)], at("2027-02-01T00:00:00Z"));
}

#[tokio::test]
async fn a_bucket_is_over_when_it_would_be_due_and_nothing_holds_it() {
    let vault = Memory::default();
    let site = site("ACME", 1, "UTC", Some(1));
    vault.with(|inside| inside.sites.insert(site.id.clone(), Arc::new(site.clone())));
    let world = World::over(vault, at("2026-11-22T04:16:00Z"), Settings::default());
    world.run().await.unwrap();
    let is_over = |class, text: &str| {
        let day = at(text).day();
        let bucket = Bucket { class, site: site.no, epoch: Epoch::Day(day) };
        let ends_at = Timestamp(day.start().0 + DAY_MS);
        let site = world.vault.site(&site.id).unwrap();
        world.vault.with(|inside| inside.dues.as_ref().unwrap().is_over(&site, bucket, ends_at))
    };
    for class in [Class::Records, Class::Detections] {
        assert!(is_over(class, "2026-11-02T00:00:00Z") && is_over(class, "2026-11-20T00:00:00Z"));
        assert!(!is_over(class, "2026-11-21T00:00:00Z") && !is_over(class, "2026-11-22T00:00:00Z"));
    }
    // A month's bucket of another rule: six months.
    let month =
        Bucket { class: Class::Records, site: site.no, epoch: Epoch::Month(month("2026-05")) };
    let of_month = |ends_at| {
        world.vault.with(|inside| inside.dues.as_ref().unwrap().is_over(&site, month, at(ends_at)))
    };
    assert!(of_month("2026-05-22T04:16:00Z") && !of_month("2026-05-22T04:16:00.001Z"));
    // A clock that nobody believes costs no record, and one set back keeps none.
    world.clock.jump(at("2027-11-22T00:00:00Z"));
    assert!(!is_over(Class::Records, "2026-11-21T00:00:00Z"));
    world.clock.jump(at("2026-11-01T00:00:00Z"));
    assert!(is_over(Class::Records, "2026-11-20T00:00:00Z"));
    // What is held is kept, also what comes later.
    let hold = r#"{"months":["2026-11"],"classes":["records"],"ground":"unpaid",
        "review_at":"2027-01-01T00:00:00Z"}"#;
    let mut text = hold.as_bytes().to_vec();
    world.desk.open_hold(&caller(Role::Privacy, 7), site.id.clone(), &mut text).await.unwrap();
    assert!(!is_over(Class::Records, "2026-11-02T00:00:00Z"));
    assert!(is_over(Class::Detections, "2026-11-02T00:00:00Z"));
    assert!(is_over(Class::Records, "2026-10-30T00:00:00Z"), "of another month");
    for person in [1, 2] {
        let custodian = caller(Role::Custodian, person);
        world.desk.release_hold(&custodian, site.id.clone(), "h1").await.unwrap();
    }
    assert!(is_over(Class::Records, "2026-11-02T00:00:00Z"));
}
