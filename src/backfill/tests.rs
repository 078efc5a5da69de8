//! The desk: what it writes down, what ends by itself, and what a cut leaves.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::audit;
use crate::engine::backfill::Change;
use crate::engine::fake::Running;
use crate::ledger::{Entry, Event, Recorded, Word};
use crate::model::backfill::{FIGURES_MS, Stage};
use crate::model::caller::{SiteScope, Token};
use crate::model::site::SiteSettings;
use crate::model::time::Timestamp;

const START: i64 = 1_780_000_000_000;

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
    desk: Backfills,
    _dir: tempfile::TempDir,
}

fn site(id: &str) -> SiteId {
    SiteId::parse(id.as_bytes()).unwrap()
}

fn caller(role: Role, producer: &str, sites: SiteScope) -> Caller {
    Arc::new(Token {
        key_id: "a".repeat(16),
        secret_hash: [0; 32],
        role,
        sites,
        name: producer.to_owned(),
        producer: producer.to_owned(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp::END,
        issuer: None,
    })
}

fn operator() -> Caller {
    caller(Role::Operator, "operator", SiteScope::All)
}

impl House {
    async fn new() -> Self {
        let (dir, desk) = audit::fake::audit();
        let clock = Arc::new(TestClock(AtomicI64::new(START)));
        let engine = Running::open(dir.path(), clock.clone());
        for id in ["ACME", "B"] {
            engine.put_site(site(id), SiteSettings::default()).await.unwrap();
        }
        let ledger = Arc::clone(desk.ledger());
        let (log, settings) = (Arc::clone(&ledger), Settings::default());
        let desk = Backfills::new(engine.clone(), log, clock.clone(), settings, || {});
        Self { clock, ledger, engine, desk, _dir: dir }
    }

    fn events(&self) -> Vec<Event> {
        let size = self.ledger.head().unwrap().size;
        let lines = self.ledger.read(0, size).unwrap();
        lines.iter().map(|line| Recorded::decode(line.as_bytes()).unwrap().event).collect()
    }

    /// The kinds and phases of what was written down about backfills.
    fn told(&self) -> Vec<(&'static str, String)> {
        let events = self.events().into_iter();
        let own = events.filter(|event| event.kind().starts_with("backfill"));
        own.map(|event| (event.kind(), event.phase().to_string())).collect()
    }

    async fn make(&self, change: impl FnOnce(&mut Value)) -> Result<Value, BackfillError> {
        let at = |ms: i64| Timestamp(ms).to_string();
        let mut body = json!({
            "site_id": "ACME", "from": at(START - 90 * DAY_MS), "to": at(START), "reason": "why",
        });
        change(&mut body);
        let mut body = body.to_string().into_bytes();
        let made = self.desk.create(&operator(), &mut body).await;
        made.map(|made| serde_json::from_slice(&made).unwrap())
    }

    async fn made(&self) -> String {
        self.make(|_| {}).await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    fn view(&self, id: &str) -> Value {
        serde_json::from_slice(&self.desk.read(&operator(), id).unwrap()).unwrap()
    }

    fn key_of(&self, id: &str) -> Option<crate::model::ids::KeyId> {
        self.engine.backfill(backfill_number(id).unwrap()).unwrap().key
    }
}

fn unfit(name: &'static str) -> BackfillError {
    let pointer = crate::wire::fault::Pointer::of(name);
    BackfillError::Unfit(Flaw { reason: Reason::BadTime, pointer })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_is_made_in_its_time_and_is_in_the_ledger() {
    let house = House::new().await;
    let time = |ms: i64| json!(Timestamp(ms).to_string());
    let oldest = START - 180 * DAY_MS;
    let old = house.make(|body| body["from"] = time(oldest - 1)).await;
    assert_eq!(old, Err(unfit("from")));
    assert_eq!(house.make(|body| body["to"] = time(START + 1)).await, Err(unfit("to")));
    let nowhere = house.make(|body| body["site_id"] = json!("NONE")).await;
    assert_eq!(nowhere, Err(BackfillError::NotFound));
    assert_eq!(house.told(), []);
    let made = house.make(|body| body["from"] = time(oldest)).await.unwrap();
    assert_eq!((&made["state"], &made["staged"]), (&json!("loading"), &json!(0)));
    assert_eq!(made["open_until"], time(START + 14 * DAY_MS));
    assert_eq!(house.told(), [("backfill_made", "done".to_owned())]);
    let key = house.key_of(made["id"].as_str().unwrap()).unwrap();
    assert!(house.engine.ring().by_id(key).is_some());
}

/// Who makes a backfill before the next pass finds the row of one that is not there writes another
/// row in its place: what is not there is said first.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_taken_back_before_the_next_one_is_made() {
    let house = House::new().await;
    let size = house.ledger.head().unwrap().size;
    house.engine.put_desk_row("backfill-making", size.to_string().as_bytes()).await.unwrap();
    let (at, made) = (Timestamp(START), "backfill_made");
    let reason = crate::ledger::Note::parse("kept with the backfill").unwrap();
    let claim = Event::BackfillMade { site: site("ACME"), from: at, to: at, reason };
    let number = house.ledger.append(Entry::new(at, Actor::Server, claim)).unwrap().operation;
    let kept = house.made().await;
    let told = [(made, "done"), ("backfill_abandoned", "intent"), ("backfill_abandoned", "result")];
    let told = told.into_iter().chain([(made, "done")]).map(|(kind, of)| (kind, of.to_owned()));
    assert_eq!(house.told(), told.collect::<Vec<_>>());
    let ends = house.events().into_iter().filter_map(|event| match event {
        Event::BackfillAbandonResult { backfill, .. } => Some(backfill),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [number]);
    assert!(house.engine.desk_rows("backfill-making").unwrap().is_empty());
    house.desk.pass().await.unwrap();
    assert_eq!((house.told().len(), &house.view(&kept)["state"]), (4, &json!("loading")));
    assert!(house.ledger.unfinished().unwrap().is_empty());
}

/// Between the entry and the engine's own look another member of the group came to read user ids
/// otherwise, or the process ended: the ledger says of both that there is no such backfill, once.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_claims_no_backfill_that_is_not_there() {
    let ends = [("backfill_abandoned", "intent"), ("backfill_abandoned", "result")]
        .map(|(kind, phase)| (kind, phase.to_owned()));
    // Cut behind the entry, behind the intent, behind the result.
    for cut in 1..=3 {
        let house = House::new().await;
        let kept = house.made().await;
        let size = house.ledger.head().unwrap().size;
        house.engine.put_desk_row("backfill-making", size.to_string().as_bytes()).await.unwrap();
        let at = Timestamp(START);
        let reason = crate::ledger::Note::parse("kept with the backfill").unwrap();
        let made = Event::BackfillMade { site: site("ACME"), from: at, to: at, reason };
        let number = house.ledger.append(Entry::new(at, Actor::Server, made)).unwrap().operation;
        let why = Word::of("not_there");
        let (backfill, site) = (number, site("ACME"));
        let intent = Event::BackfillAbandonIntent { backfill, site, why };
        if cut > 1 {
            let intent = Entry::new(at, Actor::Server, intent);
            let operation = house.ledger.append(intent).unwrap().operation;
            if cut > 2 {
                let (outcome, keys) = (Word::of("not_there"), crate::ledger::Keys::of([]));
                let result = Event::BackfillAbandonResult { backfill, outcome, records: 0, keys };
                let result = Entry::result(at, Actor::Server, operation, result);
                house.ledger.append(result).unwrap();
            }
        }
        house.desk.pass().await.unwrap();
        house.desk.pass().await.unwrap();
        let told = house.told();
        assert_eq!(told[told.len() - 2..], ends, "cut {cut}");
        assert_eq!(told.len(), 4, "cut {cut}: {told:?}");
        let Some(Event::BackfillAbandonResult { backfill, outcome, .. }) = house.events().pop()
        else {
            panic!("cut {cut}")
        };
        assert_eq!((backfill, outcome.as_str()), (number, "not_there"));
        assert!(house.engine.desk_rows("backfill-making").unwrap().is_empty());
        assert_eq!(house.view(&kept)["state"], "loading", "it is there, and goes on");
        assert!(house.ledger.unfinished().unwrap().is_empty());
    }
    // A backfill that was made is not ended, whenever the row is found.
    let house = House::new().await;
    house.engine.put_desk_row("backfill-making", b"0").await.unwrap();
    let kept = house.made().await;
    house.engine.put_desk_row("backfill-making", b"0").await.unwrap();
    house.desk.pass().await.unwrap();
    assert_eq!((house.told().len(), &house.view(&kept)["state"]), (1, &json!("loading")));
    // Refused by the engine behind the entry: the same is said at once.
    let job = house.engine.backfill(backfill_number(&kept).unwrap()).unwrap();
    let nowhere = Job { site: crate::model::ids::SiteNo(999), ..Job::clone(&job) };
    let by = actor(&operator()).unwrap();
    let refused = house.desk.0.make(by, site("ACME"), nowhere).await;
    assert_eq!(refused.unwrap_err(), BackfillError::NotFound);
    let told = house.told();
    assert_eq!((told.len(), &told[2..]), (4, &ends[..]));
    assert!(house.engine.desk_rows("backfill-making").unwrap().is_empty());
    assert_eq!(house.engine.backfills().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_an_operation_of_the_ledger_and_takes_the_key() {
    let house = House::new().await;
    let (closed, abandoned) = (house.made().await, house.made().await);
    let keys = [&closed, &abandoned].map(|id| house.key_of(id).unwrap());
    for _ in 0..2 {
        house.desk.close(&operator(), &closed).await.unwrap();
        assert!(house.desk.abandon(&operator(), &abandoned).await.unwrap().0);
    }
    let of = |kind| ["intent", "result"].map(|phase| (kind, phase.to_owned()));
    let wanted = [of("backfill_closed"), of("backfill_abandoned")].concat();
    assert_eq!(house.told().split_off(2), wanted, "once each");
    assert!(keys.iter().all(|key| house.engine.ring().by_id(*key).is_none()));
    assert_eq!(house.view(&closed)["state"], json!("closed"));
    assert_eq!(house.view(&abandoned)["abandoned_because"], json!("operator"));
    let both = [(&closed, true), (&abandoned, false)];
    for (id, is_closed) in both {
        assert_eq!(house.view(id)["key_destroyed"], json!(true));
        let other = match is_closed {
            true => house.desk.abandon(&operator(), id).await.err(),
            false => house.desk.close(&operator(), id).await.err(),
        };
        assert_eq!(other, Some(BackfillError::NotOpen));
    }
    assert!(house.ledger.unfinished().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_ends_by_itself() {
    let house = House::new().await;
    let ended = house.make(|body| body["site_id"] = json!("B")).await.unwrap();
    let (ended, old) = (ended["id"].as_str().unwrap().to_owned(), house.made().await);
    house.desk.pass().await.unwrap();
    assert_eq!(house.view(&old)["state"], json!("loading"));
    house.engine.terminate_site(site("B"), Timestamp(START)).await.unwrap();
    let close = house.desk.close(&operator(), &ended).await;
    assert_eq!(close, Err(BackfillError::NotOpen), "a site that ended counts nothing more");
    house.clock.0.fetch_add(14 * DAY_MS - 1, Ordering::SeqCst);
    house.desk.pass().await.unwrap();
    assert_eq!(house.view(&ended)["abandoned_because"], json!("site_terminated"));
    assert_eq!(house.view(&old)["state"], json!("loading"));
    house.clock.0.fetch_add(1, Ordering::SeqCst);
    assert_eq!(house.desk.close(&operator(), &old).await, Err(BackfillError::NotOpen));
    house.desk.pass().await.unwrap();
    assert_eq!(house.view(&old)["state"], json!("expired"));
    assert!([&ended, &old].iter().all(|id| house.key_of(id).is_none()));
    house.clock.0.fetch_add(FIGURES_MS - 1, Ordering::SeqCst);
    house.desk.pass().await.unwrap();
    assert_eq!(house.engine.backfills().len(), 1, "of what ended a little later");
    house.clock.0.fetch_add(1, Ordering::SeqCst);
    house.desk.pass().await.unwrap();
    assert_eq!(house.engine.backfills().len(), 0);
}

/// A cut at each step: the next pass brings it to its end, or says that nothing was done.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_anywhere_is_brought_to_its_end() {
    let house = House::new().await;
    let number = |id: &str| backfill_number(id).unwrap();
    let change = |id: &str, change: Change| {
        let (engine, number) = (house.engine.clone(), number(id));
        async move { engine.change_backfill(number, change).await.unwrap().unwrap() }
    };
    let intent = |event: Event| {
        let entry = Entry::new(Timestamp(START), Actor::Server, event);
        house.ledger.append(entry).unwrap().operation
    };
    let close =
        |id: &str| intent(Event::BackfillCloseIntent { backfill: number(id), site: site("ACME") });
    let [told, begun, counted, thrown] =
        [house.made().await, house.made().await, house.made().await, house.made().await];
    // The ledger knows, the row does not.
    close(&told);
    // The row says that it closes.
    let operation = close(&begun);
    let closing = move |job: &mut Job| (job.stage, job.operation) = (Stage::Closing, operation);
    change(&begun, Box::new(closing)).await;
    // It is counted, and nobody was told.
    let operation = close(&counted);
    let closing = move |job: &mut Job| (job.stage, job.operation) = (Stage::Closing, operation);
    change(&counted, Box::new(closing)).await;
    house.engine.close_backfill(number(&counted)).await.unwrap();
    // The row says that it is abandoned.
    let event = Event::BackfillAbandonIntent {
        backfill: number(&thrown),
        site: site("ACME"),
        why: Word::of("operator"),
    };
    let operation = intent(event);
    let abandoned = move |job: &mut Job| {
        (job.stage, job.why, job.operation) = (Stage::Abandoned, Some(Why::Operator), operation);
    };
    change(&thrown, Box::new(abandoned)).await;
    for _ in 0..2 {
        house.desk.pass().await.unwrap();
        assert!(house.ledger.unfinished().unwrap().is_empty());
        let states = [&told, &begun, &counted, &thrown].map(|id| house.view(id)["state"].clone());
        assert_eq!(states, ["loading", "closed", "closed", "abandoned"].map(|text| json!(text)));
        assert!([&begun, &counted, &thrown].iter().all(|id| house.key_of(id).is_none()));
    }
    let results = house.events().into_iter().filter_map(|event| match event {
        Event::BackfillCloseResult { outcome, .. }
        | Event::BackfillAbandonResult { outcome, .. } => Some(outcome),
        _ => None,
    });
    let mut results: Vec<String> = results.map(|word| word.to_string()).collect();
    results.sort_unstable();
    assert_eq!(results, ["counted", "counted", "cut", "destroyed"]);
    // The one that was cut before anything was done can be closed still.
    house.desk.close(&operator(), &told).await.unwrap();
}

/// An abandoned one whose close was begun has both operations ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_cannot_go_on_can_be_given_up() {
    let house = House::new().await;
    let id = house.made().await;
    let number = backfill_number(&id).unwrap();
    let event = Event::BackfillCloseIntent { backfill: number, site: site("ACME") };
    let operation =
        house.ledger.append(Entry::new(Timestamp(START), Actor::Server, event)).unwrap().operation;
    let closing: Change = Box::new(move |job| {
        (job.stage, job.operation) = (Stage::Closing, operation);
    });
    house.engine.change_backfill(number, closing).await.unwrap();
    house.desk.abandon(&operator(), &id).await.unwrap();
    assert!(house.ledger.unfinished().unwrap().is_empty());
    assert_eq!(house.view(&id)["state"], json!("abandoned"));
}

impl House {
    /// A backfill whose close is written down and not done.
    async fn closing(&self, attempts: u32) -> String {
        let id = self.made().await;
        let number = backfill_number(&id).unwrap();
        let event = Event::BackfillCloseIntent { backfill: number, site: site("ACME") };
        let entry = Entry::new(Timestamp(START), Actor::Server, event);
        let operation = self.ledger.append(entry).unwrap().operation;
        let closing: Change = Box::new(move |job| {
            (job.stage, job.operation, job.attempts) = (Stage::Closing, operation, attempts);
        });
        self.engine.change_backfill(number, closing).await.unwrap();
        id
    }

    fn alarms(&self) -> usize {
        let stuck = Event::Alarm { reason: crate::ledger::Alarm::BackfillStuck };
        self.events().iter().filter(|event| **event == stuck).count()
    }
}

/// What ends the server each time that it is tried is not tried for ever, and never at a start.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_fails_again_and_again_needs_somebody() {
    let house = House::new().await;
    let (fresh, stuck) = (house.closing(4).await, house.closing(5).await);
    house.desk.look(false).await.unwrap();
    assert_eq!(house.view(&fresh)["state"], json!("closing"), "not at a start");
    for _ in 0..2 {
        house.desk.pass().await.unwrap();
        assert_eq!(house.view(&fresh)["state"], json!("closed"));
        assert_eq!(house.view(&fresh)["close_attempts"], json!(5));
        assert_eq!(house.view(&stuck)["state"], json!("closing"));
        assert_eq!(house.alarms(), 1, "once");
    }
    house.desk.close(&operator(), &stuck).await.unwrap();
    assert_eq!(house.view(&stuck)["state"], json!("closed"));
    assert!(house.ledger.unfinished().unwrap().is_empty());
}

/// Neither is its key kept for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_has_an_end() {
    let house = House::new().await;
    let (old, ended) = (house.closing(9).await, house.closing(0).await);
    house.clock.0.fetch_add(21 * DAY_MS - 1, Ordering::SeqCst);
    house.desk.pass().await.unwrap();
    assert_eq!(house.view(&ended)["state"], json!("closed"));
    assert_eq!((house.view(&old)["state"].clone(), house.alarms()), (json!("closing"), 1));
    house.clock.0.fetch_add(1, Ordering::SeqCst);
    assert_eq!(house.desk.close(&operator(), &old).await, Err(BackfillError::NotOpen));
    house.desk.pass().await.unwrap();
    assert_eq!((house.view(&old)["state"].clone(), house.alarms()), (json!("expired"), 2));
    assert!(house.key_of(&old).is_none() && house.ledger.unfinished().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_was_begun_counts_nothing_of_a_site_that_ended() {
    let house = House::new().await;
    let id = house.closing(0).await;
    house.engine.terminate_site(site("ACME"), Timestamp(START)).await.unwrap();
    assert_eq!(house.desk.close(&operator(), &id).await, Err(BackfillError::NotOpen));
    house.desk.pass().await.unwrap();
    assert_eq!(house.view(&id)["abandoned_because"], json!("site_terminated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sees_its_own() {
    let house = House::new().await;
    let named = house.make(|body| body["producer"] = json!("offline")).await.unwrap();
    let (named, any) = (named["id"].as_str().unwrap().to_owned(), house.made().await);
    let acme = || SiteScope::Some([site("ACME")].into());
    let other = || SiteScope::Some([site("B")].into());
    let sees = |who: &Caller| {
        let list: Value = serde_json::from_slice(&house.desk.list(who)).unwrap();
        let ids = list["items"].as_array().unwrap().iter();
        let ids: Vec<String> = ids.map(|of| of["id"].as_str().unwrap().to_owned()).collect();
        for id in [&named, &any] {
            assert_eq!(house.desk.read(who, id).is_ok(), ids.contains(id));
            assert_eq!(house.desk.loadable(who, id).is_ok(), ids.contains(id));
        }
        ids
    };
    let both = [any.clone(), named.clone()];
    assert_eq!(sees(&caller(Role::Auditor, "x", acme())), both);
    assert_eq!(sees(&caller(Role::Producer, "offline", acme())), both);
    assert_eq!(sees(&caller(Role::Producer, "other", acme())), std::slice::from_ref(&any));
    assert_eq!(sees(&caller(Role::Operator, "x", other())), Vec::<String>::new());
    let stranger = caller(Role::Operator, "x", other());
    assert_eq!(house.desk.close(&stranger, &any).await, Err(BackfillError::NotFound));
    assert_eq!(house.desk.abandon(&stranger, &any).await, Err(BackfillError::NotFound));
    let at = |ms: i64| Timestamp(ms).to_string();
    let (from, to) = (at(START - DAY_MS), at(START));
    let body = json!({"site_id": "ACME", "from": from, "to": to, "reason": "why"});
    let made = house.desk.create(&stranger, body.to_string().into_bytes().as_mut_slice()).await;
    assert_eq!(made, Err(BackfillError::NotFound));
}
