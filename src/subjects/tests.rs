//! The desk by itself: its budget, and what a cut leaves in the ledger.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::audit;
use crate::engine::fake::Running;
use crate::identity::RawId;
use crate::model::caller::{Role, SiteScope, Token};
use crate::model::site::SiteSettings;
use crate::model::time::{DAY_MS, Timestamp};
use crate::model::vocab::DeviceKind;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct House {
    clock: Arc<TestClock>,
    ledger: Arc<Ledger>,
    engine: Running,
    dir: tempfile::TempDir,
}

fn site() -> SiteId {
    SiteId::parse(b"ACME").unwrap()
}

impl House {
    async fn new() -> Self {
        let (dir, desk) = audit::fake::audit();
        let clock = Arc::new(TestClock(AtomicI64::new(1_780_000_000_000)));
        let engine = Running::open(dir.path(), clock.clone());
        engine.put_site(site(), SiteSettings::default()).await.unwrap();
        Self { dir, clock, ledger: Arc::clone(desk.ledger()), engine }
    }

    fn desk(&self, requests_per_day: u32) -> Subjects {
        let (engine, ledger) = (self.engine.clone(), Arc::clone(&self.ledger));
        let settings = Settings { requests_per_day };
        Subjects::new(engine, ledger, Arc::new(|_, _| false), self.clock.clone(), settings)
    }

    fn events(&self) -> Vec<Event> {
        let size = self.ledger.head().unwrap().size;
        let lines = self.ledger.read(0, size).unwrap();
        lines.iter().map(|line| Recorded::decode(line.as_bytes()).unwrap().event).collect()
    }
}

fn officer() -> Caller {
    Arc::new(Token {
        key_id: "a".repeat(16),
        secret_hash: [0; 32],
        role: Role::Privacy,
        sites: SiteScope::All,
        name: "officer".to_owned(),
        producer: "officer".to_owned(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp::END,
        issuer: None,
    })
}

async fn erase(desk: &Subjects, text: &str) -> Result<(bool, Vec<u8>), SubjectError> {
    desk.erase(&officer(), site(), WipedVec::from(text.as_bytes().to_vec())).await
}

/// Check 51: one question more than the budget is refused, and the ledger says so.
#[tokio::test(flavor = "multi_thread")]
async fn check_51_one_question_more_than_the_budget_is_refused_and_written_down() {
    let house = House::new().await;
    let desk = house.desk(2);
    for _ in 0..2 {
        assert!(erase(&desk, r#"{"user_id":"somebody"}"#).await.unwrap().0);
    }
    let refused = || async { erase(&desk, r#"{"user_id":"somebody"}"#).await };
    assert_eq!(refused().await, Err(SubjectError::OverBudget));
    let over = Event::OverBudget { route: ERASE, site: site(), limit: 2 };
    assert_eq!(house.events().last(), Some(&over));
    // The clock set back gives nothing; the next day does.
    house.clock.0.fetch_sub(DAY_MS, Ordering::SeqCst);
    assert_eq!(refused().await, Err(SubjectError::OverBudget));
    house.clock.0.fetch_add(DAY_MS, Ordering::SeqCst);
    house.clock.0.fetch_add(DAY_MS, Ordering::SeqCst);
    assert!(refused().await.unwrap().0);
    let told = |house: &House| house.events().iter().filter(|event| **event == over).count();
    assert_eq!(told(&house), 1, "once a day, however often it is refused");
    assert!(refused().await.unwrap().0);
    for _ in 0..3 {
        assert_eq!(refused().await, Err(SubjectError::OverBudget));
    }
    assert_eq!(told(&house), 2);
    assert!(house.dir.path().exists());
}

/// A record that comes late begins a month while somebody waits for their turn: they were not
/// looked for there, and nothing is said to be erased.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_begins_meanwhile_is_not_missed() {
    let house = House::new().await;
    let desk = house.desk(9);
    let look = || async {
        let text = WipedVec::from(br#"{"user_id":"somebody"}"#.to_vec());
        desk.0.look(house.engine.site(&site()).unwrap(), text).await.unwrap()
    };
    let month = Timestamp(1_775_000_000_000).day().month();
    let early = look().await;
    house.engine.ring().site_month(&site(), month).unwrap();
    let entries = house.events().len();
    assert_eq!(desk.0.erase(Actor::Server, early).await.err(), Some(SubjectError::Busy));
    assert_eq!((house.events().len(), house.engine.erasures().len()), (entries, 0));
    let again = look().await;
    assert!(again.known.months.contains(&month));
    assert!(desk.0.erase(Actor::Server, again).await.unwrap().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_hid_nobody_is_closed_as_cut_and_one_that_did_is_not() {
    let house = House::new().await;
    let desk = house.desk(9);
    let intent = || Event::ErasureIntent {
        site: site(),
        months: Vec::new(),
        ground: Word::of("person_request"),
        suppressed: false,
    };
    let now = Timestamp(5);
    let [cut, lost, hidden] = [(); 3]
        .map(|()| house.ledger.append(Entry::new(now, Actor::Server, intent())).unwrap().operation);
    // The row of a repeat stands, and the word that closes the lost one was not said any more.
    let order = Order { number: hidden, repeats: Some(lost), ..Order::default() };
    house.engine.hide(&site(), order).await.unwrap();
    desk.tidy().await.unwrap();
    let open: Vec<u64> = house.ledger.unfinished().unwrap().iter().map(|of| of.number).collect();
    assert_eq!(open, [hidden], "{cut}");
    let outcome = |event: &Event| match event {
        Event::ErasureResult { outcome, .. } => Some(outcome.clone()),
        _ => None,
    };
    let outcomes = |house: &House| house.events().iter().filter_map(outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(&house), [Word::of("cut"), Word::of("repeated")]);
    desk.pass().await.unwrap();
    let words = ["cut", "repeated", "nothing"].map(Word::of);
    assert_eq!(outcomes(&house), words);
    assert_eq!((house.ledger.unfinished().unwrap().len(), house.engine.erasures()), (0, vec![]));
    desk.tidy().await.unwrap();
    desk.pass().await.unwrap();
    assert_eq!(outcomes(&house).len(), 3);
}

/// A PlayReady client id as UUID text has its first groups turned round, unless the record said
/// otherwise; nobody who asks knows which. As hex it has one order.
#[tokio::test(flavor = "multi_thread")]
async fn a_playready_client_id_is_looked_for_in_both_orders() {
    let house = House::new().await;
    let month = Month::parse(b"2026-06").unwrap();
    house.engine.ring().site_month(&site(), month).unwrap();
    let of = |text: &str| {
        let site = house.engine.site(&site()).unwrap();
        let subject = Subject::Device(DeviceKind::PlayreadyClientId, RawId::new(text.as_bytes()));
        let known = known(house.engine.ring(), &site, subject, false).unwrap().unwrap();
        known.person.devices
    };
    let text = of("00112233-4455-6677-8899-aabbccddeeff");
    let wire = of("33221100554477668899aabbccddeeff");
    let turned = of("00112233445566778899aabbccddeeff");
    assert_eq!((wire.len(), turned.len()), (1, 1));
    let mut both = [wire, turned].concat();
    both.sort_unstable();
    assert_eq!(text, both);
}
