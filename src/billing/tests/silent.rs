//! Who sends nothing any more: what came late of the last months is told all the same.

use super::groups::scope;
use super::*;

/// Months of 2026 by their numbers.
fn month(number: i64) -> Month {
    Month::new(2026, number).unwrap()
}

impl World {
    /// Only October has records, of all months until the end of the next year.
    fn only_october(self) -> Self {
        let all = (1..=12).filter(|number| *number != 10).map(month);
        let next = (1..=12).map(|number| Month::new(2027, number).unwrap());
        let before = (1..=12).map(|number| Month::new(2025, number).unwrap());
        *self.memory.silent.lock().unwrap() = all.chain(next).chain(before).collect();
        self
    }

    /// The last closed month.
    fn closed_through(&self, month: Month) {
        let mut usage = self.memory.usage.lock().unwrap();
        let usage = usage.as_mut().unwrap();
        usage.site = Arc::new(Site { closed_through: Some(month), ..(*usage.site).clone() });
    }

    /// So many records came late of October, and half as many users.
    fn late_records(&self, records: u64) {
        let mut usage = self.memory.usage.lock().unwrap();
        let corrections = &mut usage.as_mut().unwrap().tally.corrections;
        (corrections.records, corrections.mau) = (records, records / 2);
        let mut recount = self.memory.recount.lock().unwrap();
        recount.as_mut().unwrap().late_users = records / 2;
    }

    /// Months of a scope that have a statement, with the records that each tells of October.
    async fn issued(&self, scope: &SiteId) -> Vec<(String, Vec<u64>)> {
        self.desk.0.issue_due().await.unwrap();
        let stored = |month: Month| self.desk.0.stored(scope, month).unwrap().pop();
        let said = |month: Month| {
            let body = stored(month)?.body;
            let earlier = body.earlier_corrections.iter();
            Some((month.to_string(), earlier.map(|of| of.corrections.records).collect()))
        };
        let months = (8..=12).map(month).chain([Month::new(2027, 1).unwrap()]);
        months.filter_map(said).collect()
    }
}

#[tokio::test]
async fn a_silent_site_has_a_statement_of_its_late_users() {
    let world = World::new().only_october();
    let late = |records| world.late_records(records);
    let october = ("2026-10".to_owned(), vec![]);
    // Its own statement tells what there was of it, and no other month has anything to tell.
    assert_eq!(world.issued(&site_id()).await, [october.clone()]);
    world.closed_through(month(12));
    assert_eq!(world.issued(&site_id()).await, [october.clone()]);
    // More comes: of two months without a statement the first one tells it, once.
    late(4);
    let november = ("2026-11".to_owned(), vec![4]);
    for _ in 0..3 {
        let issued = world.issued(&site_id()).await;
        assert_eq!(issued, [october.clone(), november.clone()]);
    }
    late(6);
    let december = ("2026-12".to_owned(), vec![6]);
    for closed in [month(12), Month::new(2027, 1).unwrap()] {
        let issued = world.issued(&site_id()).await;
        assert_eq!(issued, [october.clone(), november.clone(), december.clone()]);
        world.closed_through(closed);
    }
    late(7);
    let january = ("2027-01".to_owned(), vec![7]);
    let issued = world.issued(&site_id()).await;
    assert_eq!(issued, [october, november, december, january]);
    // What a restatement says of the month itself is told.
    late(8);
    let mut text = br#"{"reason":"late"}"#.to_vec();
    let desk = &world.desk;
    let second = desk.restate(&caller(Role::Operator), site_id(), month(10), &mut text).await;
    assert_eq!(second.unwrap().statement.body.billable.mau, 7);
    assert_eq!(world.issued(&site_id()).await.len(), 4);
}

/// Somebody asked for a later month first, and that one told.
#[tokio::test]
async fn what_a_later_statement_told_is_not_told_again() {
    let world = World::new().only_october();
    assert_eq!(world.issued(&site_id()).await.len(), 1);
    world.closed_through(month(12));
    world.late_records(4);
    let asked = world.desk.statement(site_id(), month(12)).await.unwrap().body;
    assert_eq!(asked.earlier_corrections.len(), 1);
    let both = [("2026-10".to_owned(), vec![]), ("2026-12".to_owned(), vec![4])];
    assert_eq!(world.issued(&site_id()).await, both);
    world.late_records(5);
    assert_eq!(world.issued(&site_id()).await.len(), 3);
}

#[tokio::test]
async fn a_silent_group_has_one_too() {
    let world = World::grouped().only_october();
    let asked = world.desk.statement(scope(), month(9)).await;
    assert_eq!(asked, Err(BillingError::NotFound), "there is nothing to tell");
    assert_eq!(world.issued(&scope()).await, [("2026-10".to_owned(), vec![])]);
    world.change(|group| group.members[0].tally.corrections.records += 5);
    let both = [("2026-10".to_owned(), vec![]), ("2026-11".to_owned(), vec![8])];
    for _ in 0..2 {
        assert_eq!(world.issued(&scope()).await, both);
    }
    let statement = world.desk.statement(scope(), month(11)).await.unwrap();
    let body = verify(&statement.to_bytes().unwrap(), &world.key()).unwrap();
    assert_eq!((body.billable.mau, body.figures.records), (0, 0));
    assert_eq!(world.desk.statement(scope(), month(9)).await, Err(BillingError::NotFound));
}
