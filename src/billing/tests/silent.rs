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
    assert_eq!(world.issued(&site_id()).await, std::slice::from_ref(&october));
    world.closed_through(month(12));
    assert_eq!(world.issued(&site_id()).await, std::slice::from_ref(&october));
    // More comes: of two months without a statement the last one tells it, and the other nothing.
    late(4);
    let december = ("2026-12".to_owned(), vec![4]);
    for _ in 0..3 {
        let issued = world.issued(&site_id()).await;
        assert_eq!(issued, [october.clone(), december.clone()]);
    }
    // What comes then is on the next statement, and not on one of a month long ago.
    late(6);
    assert_eq!(world.issued(&site_id()).await, [october.clone(), december.clone()]);
    let january = ("2027-01".to_owned(), vec![6]);
    world.closed_through(Month::new(2027, 1).unwrap());
    for _ in 0..2 {
        let issued = world.issued(&site_id()).await;
        assert_eq!(issued, [october.clone(), december.clone(), january.clone()]);
    }
    // What a restatement says of the month itself is told.
    late(8);
    let mut text = br#"{"reason":"late"}"#.to_vec();
    let desk = &world.desk;
    let second = desk.restate(&caller(Role::Operator), site_id(), month(10), &mut text).await;
    assert_eq!(second.unwrap().statement.body.billable.mau, 7);
    world.closed_through(Month::new(2027, 2).unwrap());
    assert_eq!(world.issued(&site_id()).await.len(), 3);
    let february = Month::new(2027, 2).unwrap();
    assert_eq!(world.desk.0.stored(&site_id(), february).unwrap(), []);
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
    world.closed_through(Month::new(2027, 1).unwrap());
    assert_eq!(world.issued(&site_id()).await.len(), 3);
}

/// Months without a record cost a look at memory, however many there are.
#[tokio::test]
async fn old_silent_months_are_not_read() {
    let world = World::new().only_october();
    world.closed_through(month(12));
    let reads = |world: &World| world.memory.reads.swap(0, Ordering::SeqCst);
    world.issued(&site_id()).await;
    reads(&world);
    world.desk.0.issue_due().await.unwrap();
    let few = reads(&world);
    // A hundred months more.
    let spans = (1..=12).flat_map(|number| (2018..=2025).map(move |year| (year, number)));
    let spans: Vec<_> = spans.map(|(year, number)| Month::new(year, number).unwrap()).collect();
    world.memory.silent.lock().unwrap().extend(spans.iter().copied());
    {
        let mut usage = world.memory.usage.lock().unwrap();
        let usage = usage.as_mut().unwrap();
        let span = usage.span;
        let months = spans.iter().map(|month| MonthSpan { month: *month, ..span }).collect();
        usage.site = Arc::new(Site { months, ..(*usage.site).clone() });
    }
    world.desk.0.issue_due().await.unwrap();
    assert_eq!(reads(&world), few);
}

/// All members have left a group: what came late of its last months is told in those that follow,
/// to whoever had every member.
#[tokio::test]
async fn what_came_late_of_a_group_that_all_have_left_is_told() {
    let world = World::grouped().only_october();
    assert_eq!(world.issued(&scope()).await, [("2026-10".to_owned(), vec![])]);
    let after = [month(11), month(12)].into_iter();
    let after = after.chain((1..=12).map(|number| Month::new(2027, number).unwrap()));
    world.memory.deserted.lock().unwrap().extend(after);
    assert_eq!(world.issued(&scope()).await.len(), 1, "nothing came since");
    world.change(|group| {
        group.members[0].tally.corrections.records += 5;
        group.tally.corrections.mau += 2;
    });
    let both = [("2026-10".to_owned(), vec![]), ("2026-11".to_owned(), vec![8])];
    for _ in 0..2 {
        assert_eq!(world.issued(&scope()).await, both);
    }
    let statement = world.desk.statement(scope(), november()).await.unwrap();
    let body = verify(&statement.to_bytes().unwrap(), &world.key()).unwrap();
    assert_eq!((body.billable.mau, body.figures.records), (0, 0));
    assert_eq!(body.earlier_corrections[0].corrections.users, 3);
    assert_eq!(body.members, Some(Vec::new()), "nobody is a member");
    assert!(body.from < body.to && body.to <= body.closed_at);
    assert!(!page(&statement).unwrap().is_empty());
    // It is for whoever may ask for October, and for as long as October is told.
    let ask = |sites: &[&str], month: Month| {
        let held = sites.iter().map(|id| SiteId::parse(id.as_bytes()).unwrap()).collect();
        let token = Token { sites: SiteScope::Some(held), ..Token::clone(&caller(Role::Billing)) };
        world.desk.group(&Arc::new(token), &scope().group().unwrap(), month)
    };
    assert_eq!(ask(&["A", "B"], november()), Ok(scope()));
    assert_eq!(ask(&["A"], november()), Err(BillingError::NotFound));
    let [last, gone] = [5, 6].map(|number| Month::new(2027, number).unwrap());
    assert_eq!(ask(&["A", "B"], last), Ok(scope()));
    assert_eq!(ask(&["A", "B"], gone), Err(BillingError::NotFound));
    // It is not over before its members' own months are.
    world.memory.usage.lock().unwrap().as_mut().unwrap().state = State::Closing;
    let open = world.desk.statement(scope(), month(12)).await;
    assert_eq!(open, Err(BillingError::NotClosed));
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
