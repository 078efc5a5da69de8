//! A customer's list: what is told of it, what is not, and what it costs.

use super::groups::scope;
use super::*;
use crate::billing::fake::keys;
use crate::identity::{RawId, Roll, UserRules};
use crate::model::ids::ShortTag;
use crate::model::pseudonym::Algorithm;
use crate::model::reason::Reason;
use serde_json::{Value, json};

/// A desk whose month has so many users, viewer-0 and so on.
fn world(users: u32) -> World {
    let world = World::new();
    *world.memory.users.lock().unwrap() = tags(0..users);
    *world.memory.keys.lock().unwrap() = Some(keys());
    let mut usage = world.memory.usage.lock().unwrap();
    usage.as_mut().unwrap().tally.counters.mau = users.into();
    drop(usage);
    world
}

fn tags(numbers: std::ops::Range<u32>) -> std::collections::BTreeSet<ShortTag> {
    let keys = keys();
    let mut roll = Roll::new(keys.base.under(Algorithm::HmacSha256), &keys.tally);
    for number in numbers {
        let id = format!("viewer-{number}");
        roll.add(Some(RawId::new(id.as_bytes())), &UserRules::default());
    }
    roll.finish().tags().iter().copied().collect()
}

impl World {
    /// So many users came late, after those of the month.
    fn late(&self, users: u32) {
        let before = self.memory.users.lock().unwrap().len() as u32;
        *self.memory.late.lock().unwrap() = tags(before..before + users);
        let mut usage = self.memory.usage.lock().unwrap();
        usage.as_mut().unwrap().tally.corrections.mau = users.into();
        self.memory.recount.lock().unwrap().as_mut().unwrap().late_users = users.into();
    }
}

fn list(numbers: impl IntoIterator<Item = u32>) -> String {
    numbers.into_iter().map(|number| format!("{{\"user_id\":\"viewer-{number}\"}}\n")).collect()
}

impl World {
    async fn challenge(&self, text: &str) -> Result<Value, BillingError> {
        let (caller, body) = (caller(Role::Billing), text.as_bytes().to_vec());
        let answer = self.desk.challenge(&caller, site_id(), november(), body).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    async fn challengeable(&self, month: Month) -> Result<(), BillingError> {
        self.desk.challengeable(&caller(Role::Billing), site_id(), month).await
    }

    /// The kinds of the entries about lists, with their fields.
    fn told(&self) -> Vec<(&'static str, Value)> {
        let lines = self.ledger.read(0, 1_000).unwrap();
        let read = lines.iter().map(|line| Recorded::decode(line.as_bytes()).unwrap());
        let fields = |entry: Recorded| {
            let fields = serde_json::to_value(&entry.event).unwrap();
            entry.event.kind().contains("challenge").then(|| (entry.event.kind(), fields))
        };
        read.filter_map(fields).collect()
    }
}

#[tokio::test]
async fn counts_are_told_and_nothing_else() {
    let world = world(150);
    // Twice viewer-50, four that are nobody's.
    let nobody = "{\"user_id\":\"guest\"}\n{\"user_id\":null}\n\n{\"user_id\":\"\"}\n";
    let text = list(50..250) + nobody + &list([50]);
    let answer = world.challenge(&text).await.unwrap();
    let expected = json!({
        "site_id": "A", "month": "2026-11", "version": 1, "mau": 150, "lines": 204, "repeated": 1,
        "unattributed": 3, "listed": 200, "counted": 100, "not_counted": 100,
        "counted_not_listed": 50,
        "suppressed": false, "counted_min": 10, "challenges_left": 4, "entry": 0,
    });
    assert_eq!(answer, expected);
    let fields = json!({
        "site": "A", "month": "2026-11", "listed": 200, "counted": 100, "counted_not_listed": 50,
    });
    assert_eq!(world.told(), [("statement_challenged", fields)]);
    let rows = world.memory.rows.lock().unwrap().clone();
    let row = ("challenge/A/2026-11".to_owned(), b"{\"challenges\":1}".to_vec());
    assert_eq!(Vec::from_iter(rows), [row]);
}

/// Whoever is billed by a second version finds the users that it bills, apart from the others.
#[tokio::test]
async fn late_users_that_a_version_bills_are_counted_apart() {
    let world = world(150);
    world.memory.recount.lock().unwrap().as_mut().unwrap().users = 150;
    world.late(40);
    let answer = world.challenge(&list(0..190)).await.unwrap();
    let told = |answer: &Value, name: &str| answer[name].clone();
    assert_eq!((told(&answer, "counted"), told(&answer, "not_counted")), (json!(150), json!(40)));
    assert!(answer.get("counted_late").is_none(), "the first version bills none: {answer}");
    let second = world.restate().await.unwrap().body;
    assert_eq!((second.billable.mau, second.version), (190, 2));
    let answer = world.challenge(&list(0..190)).await.unwrap();
    let expected = json!({
        "site_id": "A", "month": "2026-11", "version": 2, "mau": 150, "lines": 190, "repeated": 0,
        "unattributed": 0, "listed": 190, "counted": 150, "not_counted": 40,
        "counted_not_listed": 0, "billed_late": 40, "late": 40, "counted_late": 40,
        "late_not_listed": 0,
        "suppressed": false, "counted_min": 10, "challenges_left": 3, "entry": 3,
    });
    assert_eq!(answer, expected);
    // What comes after the version is late, and not billed.
    world.late(45);
    let answer = world.challenge(&list(20..185)).await.unwrap();
    let late = ["billed_late", "late", "counted_late", "late_not_listed"];
    assert_eq!(late.map(|name| answer[name].clone()), [40, 45, 35, 10].map(|of| json!(of)));
    // Few are not told.
    let answer = world.challenge(&list(0..159)).await.unwrap();
    assert_eq!((told(&answer, "counted"), told(&answer, "not_counted")), (json!(150), json!(9)));
    assert_eq!(
        (told(&answer, "counted_late"), told(&answer, "late_not_listed")),
        Default::default()
    );
    assert_eq!(answer["suppressed"], json!(true), "something of it is not told");
    let (kind, fields) = world.told().pop().unwrap();
    let fields_of = json!({
        "site": "A", "month": "2026-11", "version": 2, "listed": 159, "counted": 150,
        "counted_not_listed": 0, "counted_late": null,
    });
    assert_eq!((kind, fields), ("restatement_challenged", fields_of));
    // A set that lacks what was billed is no answer; and the ledger knows how many were answered.
    world.late(39);
    assert_eq!(world.challenge(&list(0..159)).await, Err(BillingError::Failed));
    world.memory.rows.lock().unwrap().retain(|name, _| !name.starts_with("challenge/"));
    world.late(45);
    let answer = world.challenge(&list(0..159)).await.unwrap();
    assert_eq!(answer["challenges_left"], 0);
    assert_eq!(world.challengeable(november()).await, Err(BillingError::BudgetSpent));
}

#[tokio::test]
async fn a_few_counted_users_are_not_told() {
    // A list of strangers and of one to nine people says the same as one of strangers alone.
    let mut told = Vec::new();
    for known in [0, 1, 9] {
        let world = world(150);
        let mut answer =
            world.challenge(&list((0..known).chain(1_000..1_200 - known))).await.unwrap();
        let unknown = ["counted", "not_counted", "counted_not_listed"];
        assert_eq!(unknown.map(|name| answer[name].clone()), [(); 3].map(|()| Value::Null));
        assert_eq!((&answer["suppressed"], &answer["counted_min"]), (&json!(true), &json!(10)));
        assert_eq!(world.told()[0].1["counted"], Value::Null);
        assert_eq!(world.told()[0].1["counted_not_listed"], Value::Null);
        answer.as_object_mut().unwrap().remove("entry");
        told.push(answer);
    }
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:?}");
    let answer = world(150).challenge(&list((0..10).chain(1_000..1_200))).await.unwrap();
    assert_eq!((&answer["counted"], &answer["not_counted"]), (&json!(10), &json!(200)));
    assert_eq!(answer["suppressed"], json!(false));
    // A month with fewer users than that tells nobody how many of them a list has.
    let few = world(9).challenge(&list(0..200)).await.unwrap();
    assert_eq!((&few["counted"], &few["suppressed"]), (&Value::Null, &json!(true)));
}

#[tokio::test]
async fn lists_are_budgeted_and_what_is_refused_is_written_down() {
    let world = world(150);
    // What is not answered costs nothing.
    let small = list(0..99) + &list(0..99) + "{\"user_id\":\"guest\"}\n";
    assert_eq!(world.challenge(&small).await, Err(BillingError::ListTooSmall));
    let flaw = Flaw { reason: Reason::MissingField, pointer: Pointer::of("user_id") };
    let bad = world.challenge(&(list(0..100) + "{}")).await;
    assert_eq!(bad, Err(BillingError::BadLine(100, flaw)));
    world.memory.fails_in.store(1, Ordering::SeqCst);
    assert_eq!(world.challenge(&list(0..100)).await, Err(BillingError::Stopped));
    assert!(world.told().is_empty());
    for left in (0..5).rev() {
        let answer = world.challenge(&list(0..100)).await.unwrap();
        assert_eq!(answer["challenges_left"], json!(left));
    }
    assert_eq!(world.challenge(&list(0..100)).await, Err(BillingError::BudgetSpent));
    assert_eq!(world.challengeable(november()).await, Err(BillingError::BudgetSpent));
    let kinds: Vec<&str> = world.told().into_iter().map(|(kind, _)| kind).collect();
    let refused = ["challenge_refused"];
    assert_eq!(kinds, [&["statement_challenged"; 5][..], &refused].concat());
    // Data from before them is put back: what was answered stays answered.
    world.memory.rows.lock().unwrap().clear();
    let (desk, by) = (world.another(), caller(Role::Billing));
    for _ in 0..3 {
        let refused = desk.challengeable(&by, site_id(), november()).await;
        assert_eq!(refused, Err(BillingError::BudgetSpent));
    }
    assert_eq!(world.told().len(), 7);
    // Another day is written down again.
    let later = Arc::new(Ticking(1_798_100_000_000.into()));
    let desk = Billing::new(world.memory.clone(), world.ledger.clone(), Settings::default(), later);
    for _ in 0..3 {
        let refused = desk.challengeable(&by, site_id(), november()).await;
        assert_eq!(refused, Err(BillingError::BudgetSpent));
    }
    assert_eq!(world.told().len(), 8);
    // A month of its own has its own.
    assert_eq!(world.challengeable(november().next()).await, Ok(()));
}

/// Of five lists one that comes to nothing here is still there.
#[tokio::test]
async fn a_list_without_an_answer_costs_nothing() {
    let world = world(150);
    world.memory.is_busy.store(true, Ordering::SeqCst);
    assert_eq!(world.challenge(&list(0..100)).await, Err(BillingError::Busy));
    world.memory.is_busy.store(false, Ordering::SeqCst);
    let mau = |mau| world.memory.usage.lock().unwrap().as_mut().unwrap().tally.counters.mau = mau;
    mau(151);
    assert_eq!(world.challenge(&list(0..100)).await, Err(BillingError::Failed));
    mau(150);
    assert!(world.told().is_empty());
    let answer = world.challenge(&list(0..100)).await.unwrap();
    assert_eq!(answer["challenges_left"], json!(4));
}

#[tokio::test]
async fn many_at_once_spend_no_more_than_there_is() {
    let world = world(150);
    let asked = (0..12).map(|_| {
        let (desk, body) = (world.desk.clone(), list(0..100).into_bytes());
        tokio::spawn(async move {
            desk.challenge(&caller(Role::Billing), site_id(), november(), body).await.is_ok()
        })
    });
    let mut answered = 0;
    for asked in asked.collect::<Vec<_>>() {
        answered += u32::from(asked.await.unwrap());
    }
    assert_eq!(answered, 5);
}

#[tokio::test]
async fn there_is_no_answer_before_the_close_and_after_the_destruction() {
    let world = world(150);
    *world.memory.keys.lock().unwrap() = None;
    assert_eq!(world.challenge(&list(0..100)).await, Err(BillingError::NotAttributable));
    assert_eq!(world.challengeable(november()).await, Err(BillingError::NotAttributable));
    world.memory.usage.lock().unwrap().as_mut().unwrap().state = State::Closing;
    assert_eq!(world.challenge(&list(0..100)).await, Err(BillingError::NotClosed));
    assert!(world.told().is_empty() && world.memory.rows.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_set_that_differs_from_the_statement_is_no_answer() {
    let world = world(150);
    world.memory.users.lock().unwrap().pop_first();
    assert_eq!(world.challenge(&list(0..100)).await, Err(BillingError::Failed));
    assert!(world.told().is_empty());
}

/// A group's list is compared with the group's own set, under its own keys and name; who is nobody
/// at one member may be somebody at another.
#[tokio::test]
async fn a_list_against_a_group_is_of_its_own_set() {
    let world = World::grouped();
    let count = |sites: std::ops::Range<u32>| {
        let keys = keys();
        let mut roll = Roll::new(keys.base.under(Algorithm::Blake3), &keys.tally);
        for number in sites {
            let id = format!("viewer-{number}");
            roll.add(Some(RawId::new(id.as_bytes())), &UserRules::default());
        }
        roll.finish().tags().iter().copied().collect()
    };
    *world.memory.users.lock().unwrap() = count(0..150);
    *world.memory.keys.lock().unwrap() = Some(keys());
    world.change(|group| {
        group.tally.counters.mau = 150;
        for (member, own) in group.members.iter_mut().zip([&["viewer-1", "x"][..], &["x"]]) {
            let mut site = Site::clone(&member.site);
            site.settings.sentinel_user_ids = own.iter().map(|id| (*id).to_owned()).collect();
            member.site = Arc::new(site);
        }
    });
    world.memory.recount.lock().unwrap().as_mut().unwrap().users = 150;
    let ask = |text: String| {
        let (desk, by) = (world.desk.clone(), caller(Role::Billing));
        async move {
            desk.challengeable(&by, scope(), november()).await?;
            let answer = desk.challenge(&by, scope(), november(), text.into_bytes()).await?;
            Ok::<Value, BillingError>(serde_json::from_slice(&answer).unwrap())
        }
    };
    let text = list(0..160) + "{\"user_id\":\"x\"}\n";
    let answer = ask(text).await.unwrap();
    let expected = json!({
        "billing_group": "acme", "month": "2026-11", "version": 1, "mau": 150, "lines": 161,
        "repeated": 0, "unattributed": 1, "listed": 160, "counted": 150, "not_counted": 10,
        "counted_not_listed": 0,
        "suppressed": false, "counted_min": 10, "challenges_left": 4, "entry": 0,
    });
    assert_eq!(answer, expected);
    let (kind, fields) = world.told().pop().unwrap();
    assert_eq!((kind, &fields["site"]), ("statement_challenged", &json!("+acme")));
    // A second version bills who came late, and the list is compared with these apart.
    world.change(|group| group.tally.corrections.mau = 20);
    *world.memory.late.lock().unwrap() = count(150..170);
    world.memory.recount.lock().unwrap().as_mut().unwrap().late_users = 20;
    assert_eq!(world.restate_group().await.unwrap().body.billable.mau, 170);
    let answer = ask(list(0..170)).await.unwrap();
    let told = ["counted", "billed_late", "counted_late", "late_not_listed", "challenges_left"];
    assert_eq!(told.map(|name| answer[name].clone()), [150, 20, 20, 0, 3].map(|of| json!(of)));
    // The budget is the group's own, and so is what is refused.
    for _ in 0..3 {
        ask(list(0..170)).await.unwrap();
    }
    assert_eq!(ask(list(0..170)).await, Err(BillingError::BudgetSpent));
    let (kind, fields) = world.told().pop().unwrap();
    assert_eq!((kind, &fields["site"]), ("challenge_refused", &json!("+acme")));
    assert_eq!(world.challengeable(november()).await, Ok(()));
    *world.memory.keys.lock().unwrap() = None;
    let other = november().next();
    let gone = world.desk.challengeable(&caller(Role::Billing), scope(), other).await;
    assert_eq!(gone, Err(BillingError::NotAttributable));
}

/// A list against a group is about its members' users, and the other way round: there is one budget
/// for both, and none of another group, site or month.
#[tokio::test]
async fn a_group_and_its_members_have_one_budget() {
    let world = World::grouped();
    *world.memory.users.lock().unwrap() = tags(0..150);
    *world.memory.keys.lock().unwrap() = Some(keys());
    world.change(|group| {
        group.tally.counters.mau = 150;
        group.algorithm = Algorithm::HmacSha256;
        group.members.truncate(1);
        *world.memory.usage.lock().unwrap() = Some(group.members[0].clone());
    });
    world.memory.usage.lock().unwrap().as_mut().unwrap().tally.counters.mau = 150;
    let ask = |scope: SiteId| {
        let (desk, by, text) = (world.desk.clone(), caller(Role::Billing), list(0..160));
        async move {
            let answer = desk.challenge(&by, scope, november(), text.into_bytes()).await?;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            Ok::<_, BillingError>(answer["challenges_left"].as_u64().unwrap())
        }
    };
    for (of, left) in [(scope(), 4), (site_id(), 3), (scope(), 2), (site_id(), 1), (site_id(), 0)] {
        assert_eq!(ask(of).await, Ok(left));
    }
    for of in [scope(), site_id()] {
        assert_eq!(ask(of.clone()).await, Err(BillingError::BudgetSpent));
        let asked = world.desk.challengeable(&caller(Role::Billing), of, november()).await;
        assert_eq!(asked, Err(BillingError::BudgetSpent));
    }
    let refused = world.told().into_iter().filter(|(kind, _)| *kind == "challenge_refused");
    let answered: Vec<Value> = refused.map(|(_, fields)| fields["answered"].clone()).collect();
    assert_eq!(answered, [5, 5].map(|of| json!(of)));
    // Each has its own in its row: what is put back is not added up twice.
    let row = |scope: &str| {
        let rows = world.memory.rows.lock().unwrap();
        let row: Value =
            serde_json::from_slice(&rows[&format!("challenge/{scope}/2026-11")]).unwrap();
        row["challenges"].clone()
    };
    assert_eq!([row("+acme"), row("A")], [2, 3].map(|of| json!(of)));
    world.memory.rows.lock().unwrap().clear();
    let (desk, by) = (world.another(), caller(Role::Billing));
    let asked = desk.challengeable(&by, scope(), november()).await;
    assert_eq!(asked, Err(BillingError::BudgetSpent));
    assert_eq!(desk.challengeable(&by, scope(), november().next()).await, Ok(()));
}
