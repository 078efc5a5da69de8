//! What must hold of a statement whatever is cut, and when there is none.

mod apart;
mod challenge;
mod export;
mod few;
mod groups;
mod older;
mod silent;

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::fake::{Memory, usage};
use super::months::Recount;
use super::*;
use crate::ledger::{Event, Recorded, Settings as LedgerSettings};
use crate::model::caller::{Role, SiteScope, Token};
use crate::model::site::{MonthSpan, Site};
use crate::model::time::Timestamp;
use crate::model::usage::State;
use crate::wire::statement::Body;

/// A clock that shows a later time with each look.
struct Ticking(std::sync::atomic::AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1_000, Ordering::SeqCst))
    }
}

struct World {
    _folder: tempfile::TempDir,
    memory: Arc<Memory>,
    ledger: Arc<Ledger>,
    clock: Arc<Ticking>,
    desk: Billing,
}

fn november() -> Month {
    Month::parse(b"2026-11").unwrap()
}

fn site_id() -> SiteId {
    SiteId::parse(b"A").unwrap()
}

fn caller(role: Role) -> Caller {
    Arc::new(Token {
        key_id: "a".repeat(16),
        secret_hash: [0; 32],
        role,
        sites: SiteScope::All,
        name: String::new(),
        producer: String::new(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp::END,
        issuer: None,
    })
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = LedgerSettings {
            dir: folder.path().join("ledger"),
            signing_key: folder.path().join("ledger.key"),
            name: "example.com/ledger".to_owned(),
            second_copy: None,
            marks: Vec::new(),
        };
        let now = 1_797_000_000_000;
        let ledger = Arc::new(Ledger::open(&settings, Timestamp(now)).unwrap().0);
        let memory = Arc::new(Memory::default());
        *memory.usage.lock().unwrap() = Some(usage());
        *memory.recount.lock().unwrap() = Some(found());
        let clock = Arc::new(Ticking(now.into()));
        let desk = Billing::new(memory.clone(), ledger.clone(), Settings::default(), clock.clone());
        Self { _folder: folder, memory, ledger, clock, desk }
    }

    /// Versions of the statements that the ledger knows of.
    fn entries(&self) -> Vec<u32> {
        let lines = self.ledger.read(0, 1_000).unwrap();
        let read = lines.iter().map(|line| Recorded::decode(line.as_bytes()).unwrap());
        let version = |entry: Recorded| match entry.event {
            Event::StatementIssued { version, .. } => Some(version),
            _ => None,
        };
        read.filter_map(version).collect()
    }

    /// A desk over the same data and ledger, after a start.
    fn another(&self) -> Billing {
        let clock = Arc::new(Ticking(1_798_000_000_000.into()));
        Billing::new(self.memory.clone(), self.ledger.clone(), Settings::default(), clock)
    }

    fn key(&self) -> String {
        self.ledger.verifier_key().to_string()
    }

    async fn restate(&self) -> Result<Statement, BillingError> {
        self.restate_for("late").await
    }

    async fn restate_for(&self, reason: &str) -> Result<Statement, BillingError> {
        restate(&self.desk, reason).await
    }
}

/// What the sets of a month with three users hold.
fn found() -> Recount {
    Recount {
        users: 3,
        users_by_drm: [0; 8],
        devices: 0,
        watermark_users: 0,
        device_users: 0,
        late_users: 1,
        late_device_users: 0,
        sessions: 0,
        late_devices: 0,
        late_watermark_users: 0,
        digest: [7; 32],
    }
}

async fn restate(desk: &Billing, reason: &str) -> Result<Statement, BillingError> {
    let mut text = format!(r#"{{"reason":"{reason}"}}"#).into_bytes();
    let restated = desk.restate(&caller(Role::Operator), site_id(), november(), &mut text).await;
    restated.map(|restated| restated.statement)
}

#[tokio::test]
async fn a_cut_anywhere_leaves_one_version_and_one_entry() {
    for cut in 1..=6 {
        let world = World::new();
        world.memory.fails_in.store(cut, Ordering::SeqCst);
        let mut kept: Option<Vec<u8>> = None;
        // The draft, the statement, the end of the draft, and the same for the second version.
        for _ in 0..3 {
            let Ok(statement) = world.desk.statement(site_id(), november()).await else { continue };
            let bytes = statement.to_bytes().unwrap();
            assert_eq!(*kept.get_or_insert(bytes.clone()), bytes, "cut {cut}");
        }
        assert_eq!(world.entries(), [1], "cut {cut}");
        let second = match world.restate().await {
            Ok(second) => second,
            // Its last cut leaves a second version that is whole: it is what is asked for again.
            Err(_) => world.restate().await.unwrap(),
        };
        assert_eq!(world.entries(), [1, 2], "cut {cut}");
        let body = verify(&second.to_bytes().unwrap(), &world.key()).unwrap();
        assert_eq!((body.version, body.billable.mau, body.billable.licenses_issued), (2, 4, 9));
        let first = verify(&kept.unwrap(), &world.key()).unwrap();
        assert_eq!((first.billable.mau, first.billable.licenses_issued), (3, 7));
        let replaced = body.replaces.unwrap();
        assert_eq!(replaced.digest.0, crate::crypto::sha256(&[&first.to_bytes().unwrap()]));
    }
}

#[tokio::test]
async fn two_counts_that_differ_make_no_statement() {
    let world = World::new();
    world.memory.recount.lock().unwrap().as_mut().unwrap().users = 2;
    let refused = world.desk.statement(site_id(), november()).await;
    assert_eq!(refused, Err(BillingError::Failed));
    assert!(world.entries().is_empty());
    assert!(world.memory.rows.lock().unwrap().is_empty());
}

/// A statement has what came until the time that it names, however long the sets take: what comes
/// while they are counted has a later time.
#[tokio::test]
async fn what_comes_while_sets_are_counted_came_after_the_issue() {
    let world = World::new();
    let (clock, came) = (Arc::clone(&world.clock), Arc::new(Mutex::new(None)));
    let came_at = Arc::clone(&came);
    *world.memory.meanwhile.lock().unwrap() = Some(Box::new(move |memory| {
        memory.usage.lock().unwrap().as_mut().unwrap().tally.corrections.records += 1;
        *came_at.lock().unwrap() = Some(clock.now());
    }));
    let body = world.desk.statement(site_id(), november()).await.unwrap().body;
    let came = came.lock().unwrap().unwrap();
    assert_eq!((body.corrections.records, body.earlier_corrections[0].corrections.records), (2, 2));
    assert!(body.issued_at < came, "{} and {came}", body.issued_at);
}

/// What a second version bills is counted again, too: what came late is in sets of its own.
#[tokio::test]
async fn late_ones_that_differ_make_no_second_version() {
    for (late_users, late_device_users) in [(0, 3), (2, 3), (1, 2), (1, 4)] {
        let world = World::new();
        let change = |change: &dyn Fn(&mut Recount)| {
            change(world.memory.recount.lock().unwrap().as_mut().unwrap());
        };
        let mut usage = world.memory.usage.lock().unwrap().clone().unwrap();
        usage.tally.corrections.device_users = 3;
        *world.memory.usage.lock().unwrap() = Some(usage);
        change(&|found| {
            (found.late_users, found.late_device_users) = (late_users, late_device_users);
        });
        let first = world.desk.statement(site_id(), november()).await.unwrap().body;
        assert_eq!(first.billable.device_users, Some(0), "the first one bills nothing late");
        assert_eq!(first.recount.unwrap().late_users, None);
        assert_eq!(world.restate().await, Err(BillingError::Failed));
        assert_eq!(world.entries(), [1]);
        change(&|found| (found.late_users, found.late_device_users) = (1, 3));
        let second = world.restate().await.unwrap().body;
        assert_eq!((second.billable.mau, second.billable.device_users), (4, Some(3)));
        let recount = second.recount.unwrap();
        assert_eq!((recount.late_users, recount.late_device_users), (Some(1), Some(3)));
    }
}

/// Where nothing is counted again the statement says what became of the sets.
#[tokio::test]
async fn a_month_on_hold_is_not_said_to_be_destroyed() {
    use crate::model::usage::Evidence;
    for (evidence, name, sentence) in [
        (Evidence::Held, "held", "on hold, and read by nobody"),
        (Evidence::Destroyed, "destroyed", "the sets were destroyed"),
    ] {
        let world = World::new();
        *world.memory.recount.lock().unwrap() = None;
        world.memory.usage.lock().unwrap().as_mut().unwrap().evidence = evidence;
        let statement = world.desk.statement(site_id(), november()).await.unwrap();
        let text = String::from_utf8(statement.to_bytes().unwrap()).unwrap();
        let said = format!(r#""evidence":"{name}","recount":null"#);
        assert!(text.contains(&said), "{text}");
        assert!(verify(text.as_bytes(), &world.key()).is_ok());
        let page = String::from_utf8(page(&statement).unwrap()).unwrap();
        assert!(page.contains(sentence), "{page}");
        // A form that has it does not lack it.
        let without = text.replace(&said, r#""recount":null"#);
        assert_eq!(verify(without.as_bytes(), &world.key()), Err(StatementError::Form));
    }
}

#[tokio::test]
async fn a_month_that_is_not_closed_has_no_statement() {
    for state in [State::Open, State::Closing] {
        let world = World::new();
        world.memory.usage.lock().unwrap().as_mut().unwrap().state = state;
        let refused = world.desk.statement(site_id(), november()).await;
        assert_eq!(refused, Err(BillingError::NotClosed));
        assert_eq!(world.restate().await, Err(BillingError::NotClosed));
        assert!(world.entries().is_empty());
        // Asking for it again and again costs no fold.
        assert_eq!(world.memory.folds.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn what_closed_is_issued_unasked_and_once() {
    let world = World::new();
    world.desk.0.issue_due().await.unwrap();
    world.desk.0.issue_due().await.unwrap();
    // Every month of this site is alike, and three are looked at, after one fold for all.
    assert_eq!(world.entries(), [1, 1, 1]);
    assert_eq!(world.memory.folds.load(Ordering::SeqCst), 1);
    let rows: Vec<String> = world.memory.rows.lock().unwrap().keys().cloned().collect();
    let row = |month: &str| format!("statement/A/{month}/0000000001");
    assert_eq!(rows, ["2026-09", "2026-10", "2026-11"].map(row));
}

#[tokio::test]
async fn a_version_that_only_the_ledger_knows_is_not_given_to_other_figures() {
    let world = World::new();
    let first = world.desk.statement(site_id(), november()).await.unwrap();
    // Data from before it is put back, and the month closes with less.
    world.memory.rows.lock().unwrap().clear();
    world.memory.usage.lock().unwrap().as_mut().unwrap().tally.counters.mau = 2;
    world.memory.recount.lock().unwrap().as_mut().unwrap().users = 2;
    let desk = world.another();
    let again = desk.statement(site_id(), november()).await.unwrap();
    assert_eq!(world.entries(), [1, 2]);
    assert_eq!(again.body.version, 2);
    let replaced = again.body.replaces.as_ref().unwrap();
    let digest = crate::crypto::sha256(&[&first.body.to_bytes().unwrap()]);
    assert_eq!((replaced.version, replaced.digest.0), (1, digest));
    assert_eq!(desk.statement(site_id(), november()).await.unwrap(), again);
}

#[tokio::test]
async fn a_cut_after_a_restore_gives_no_number_twice() {
    for cut in 1..=3 {
        let world = World::new();
        let first = world.desk.statement(site_id(), november()).await.unwrap();
        world.memory.rows.lock().unwrap().clear();
        world.memory.usage.lock().unwrap().as_mut().unwrap().tally.counters.mau = 2;
        world.memory.recount.lock().unwrap().as_mut().unwrap().users = 2;
        world.memory.fails_in.store(cut, Ordering::SeqCst);
        world.another().statement(site_id(), november()).await.unwrap_err();
        let again = world.another().statement(site_id(), november()).await.unwrap();
        assert_eq!((again.body.version, world.entries()), (2, vec![1, 2]), "cut {cut}");
        let replaced = again.body.replaces.unwrap().digest.0;
        assert_eq!(replaced, crate::crypto::sha256(&[&first.body.to_bytes().unwrap()]));
    }
}

#[tokio::test]
async fn a_restatement_after_a_restore_gives_no_number_twice() {
    for cut in 0..=3 {
        let world = World::new();
        world.desk.statement(site_id(), november()).await.unwrap();
        let kept = world.memory.rows.lock().unwrap().clone();
        let second = world.restate().await.unwrap();
        // Data from between the two is put back.
        *world.memory.rows.lock().unwrap() = kept;
        world.memory.fails_in.store(cut, Ordering::SeqCst);
        let third = match restate(&world.another(), "lost").await {
            Err(_) if cut > 0 => restate(&world.another(), "lost").await.unwrap(),
            third => third.unwrap(),
        };
        // The last cut leaves a third version that is whole, which is what is asked for again.
        assert_eq!((second.body.version, third.body.version), (2, 3), "cut {cut}");
        assert_eq!(third.body.replaces.as_ref().unwrap().version, 2);
        assert_eq!(world.entries(), [1, 2, 3], "cut {cut}");
    }
}

/// A proxy gives up, and the operator asks again: the customer has one invoice to look at.
#[tokio::test]
async fn a_restatement_that_is_asked_for_again_is_the_same_one() {
    let world = World::new();
    let ask = async |role: Role, key: &str, reason: &str| {
        let caller = Arc::new(Token { key_id: key.repeat(16), ..(*caller(role)).clone() });
        let mut text = format!(r#"{{"reason":"{reason}"}}"#).into_bytes();
        let restated = world.desk.restate(&caller, site_id(), november(), &mut text).await;
        let restated = restated.unwrap();
        (restated.statement.body.version, restated.is_new)
    };
    assert_eq!(ask(Role::Operator, "a", "late").await, (2, true));
    assert_eq!(ask(Role::Operator, "a", "late").await, (2, false));
    assert_eq!(world.entries(), [1, 2]);
    // Another reason, another person, or more that came since, is another version.
    assert_eq!(ask(Role::Operator, "a", "later").await, (3, true));
    assert_eq!(ask(Role::Operator, "b", "later").await, (4, true));
    world.memory.usage.lock().unwrap().as_mut().unwrap().tally.corrections.records += 1;
    assert_eq!(ask(Role::Operator, "b", "later").await, (5, true));
    assert_eq!(ask(Role::Operator, "b", "later").await, (5, false));
    // One that is lost is not answered for by the one before it, which says what there is to say.
    world.memory.usage.lock().unwrap().as_mut().unwrap().tally.corrections.records -= 1;
    let lost = world.memory.rows.lock().unwrap().remove("statement/A/2026-11/0000000005");
    assert!(lost.is_some());
    assert_eq!(ask(Role::Operator, "b", "later").await, (6, true));
}

/// A version that was begun behind the last one is finished before anybody is told of the last.
#[tokio::test]
async fn a_restatement_is_not_answered_past_one_that_was_begun() {
    let world = World::new();
    let ask = async |reason: &str| {
        let mut text = format!(r#"{{"reason":"{reason}"}}"#).into_bytes();
        let caller = caller(Role::Operator);
        let restated = world.desk.restate(&caller, site_id(), november(), &mut text).await?;
        Ok::<_, BillingError>((restated.statement.body.version, restated.is_new))
    };
    assert_eq!(ask("late").await, Ok((2, true)));
    // Its draft is written, and its statement is not.
    world.memory.fails_in.store(2, Ordering::SeqCst);
    assert!(ask("other").await.is_err());
    assert_eq!(ask("late").await, Ok((4, true)));
    assert_eq!(world.entries(), [1, 2, 3, 4]);
}

/// A month that closed months late, was put back, or failed again and again.
#[tokio::test]
async fn a_month_of_long_ago_is_issued_unasked() {
    let world = World::new();
    let march = Month::parse(b"2026-03").unwrap();
    {
        let mut usage = world.memory.usage.lock().unwrap();
        let usage = usage.as_mut().unwrap();
        let span = MonthSpan { month: march, ..usage.span };
        usage.site = Arc::new(Site { months: vec![span], ..(*usage.site).clone() });
    }
    world.desk.0.issue_due().await.unwrap();
    assert_eq!(world.entries(), [1; 4]);
    let row = |month: &str| format!("statement/A/{month}/0000000001");
    assert!(world.memory.rows.lock().unwrap().contains_key(&row("2026-03")));
    world.desk.0.issue_due().await.unwrap();
    assert_eq!(world.entries(), [1; 4]);
    // One that was issued and is gone is not issued anew after so long a time.
    world.memory.rows.lock().unwrap().clear();
    world.desk.0.issue_due().await.unwrap();
    assert!(!world.memory.rows.lock().unwrap().keys().any(|name| name.contains("2026-03")));
    assert_eq!(world.entries().len(), 7);
}

#[tokio::test]
async fn what_a_cut_left_of_one_restatement_is_not_the_answer_to_another() {
    let world = World::new();
    world.desk.statement(site_id(), november()).await.unwrap();
    // The draft is kept, and the statement is not.
    world.memory.fails_in.store(2, Ordering::SeqCst);
    world.restate_for("late").await.unwrap_err();
    let other = world.restate_for("later").await.unwrap();
    assert_eq!((other.body.version, other.body.reason.as_deref()), (3, Some("later")));
    assert_eq!(world.entries(), [1, 2, 3]);
}

#[tokio::test]
async fn many_askers_get_one_statement() {
    let world = World::new();
    let asked = (0..8).map(|_| {
        let desk = world.desk.clone();
        tokio::spawn(async move { desk.statement(site_id(), november()).await.unwrap() })
    });
    let mut answers = std::collections::BTreeSet::new();
    for answer in asked.collect::<Vec<_>>() {
        answers.insert(answer.await.unwrap().to_bytes().unwrap());
    }
    assert_eq!((answers.len(), world.entries()), (1, vec![1]));
}

/// A record may be 180 days old, and a backfill's too: what came late of a month so long ago is on
/// the statement of the month in which it came.
#[tokio::test]
async fn seven_months_before_are_on_a_statement() {
    let world = World::new();
    let body = world.desk.statement(site_id(), november()).await.unwrap().body;
    let months: Vec<String> =
        body.earlier_corrections.iter().map(|of| of.month.to_string()).collect();
    let numbers = 4..=10;
    assert_eq!(months, numbers.map(|number| format!("2026-{number:02}")).collect::<Vec<_>>());
    let oldest = november().next().next();
    // Who sends on the last day of a month, and the month of the oldest record that is accepted.
    let sent = Timestamp::parse(format!("{oldest}-01T00:00:00Z").as_bytes()).unwrap();
    let accepted = Timestamp(sent.0 - 180 * crate::model::time::DAY_MS).day().month();
    let earlier = world.desk.0.earlier(&site_id(), november().next()).unwrap();
    assert!(earlier.iter().any(|of| of.month <= accepted), "{accepted}");
}

/// What the retention desk has removed is not issued again, whatever was asked before.
#[tokio::test]
async fn a_statement_that_was_removed_is_not_issued_anew() {
    use crate::ledger::Entry;
    let world = World::new();
    world.desk.statement(site_id(), november()).await.unwrap();
    let restated = world.restate().await.unwrap();
    // Lost with its data, it is issued under a new number.
    world.memory.rows.lock().unwrap().clear();
    let again = world.desk.statement(site_id(), november()).await.unwrap();
    assert_eq!(again.body.version, restated.body.version + 1);
    world.memory.rows.lock().unwrap().clear();
    let (site, month) = (site_id(), november());
    let event = Event::StatementRemoved { site, month, version: again.body.version };
    let entry = Entry::new(Timestamp(1_798_000_000_000), Actor::Server, event);
    world.ledger.append(entry).unwrap();
    for _ in 0..2 {
        let asked = world.desk.statement(site_id(), november()).await;
        assert_eq!(asked.err(), Some(BillingError::Ended));
        assert_eq!(world.restate().await.err(), Some(BillingError::Ended));
    }
    assert_eq!(world.entries(), [1, 2, 3]);
}
