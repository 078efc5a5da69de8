//! What one month costs no other, and what a bill does not wait for.

use super::fake::Trouble;
use super::*;
use crate::wire::explained::IdQuality;

fn month(number: i64) -> Month {
    Month::new(2026, number).unwrap()
}

/// Fails instead of hanging where somebody waits for what never comes.
async fn soon<T>(asked: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("waits for another month")
}

#[tokio::test]
async fn a_month_waits_for_no_other() {
    let world = World::new();
    let stored = world.desk.statement(site_id(), month(9)).await.unwrap();
    *world.memory.stuck.lock().unwrap() = Some(month(10));
    // Somebody waits for a month whose records are never read to the end, and others with them.
    let askers: Vec<_> = (0..3)
        .map(|_| {
            let desk = world.desk.clone();
            tokio::spawn(async move { desk.statement(site_id(), month(10)).await })
        })
        .collect();
    while world.memory.asked.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(world.desk.statement(site_id(), month(9))).await.unwrap(), stored);
    soon(world.desk.versions(site_id(), month(9))).await.unwrap();
    let other = soon(world.desk.statement(site_id(), month(11))).await.unwrap();
    assert_eq!(other.body.month, month(11));
    // Nothing of it is half-way: the end waits for no reading.
    soon(world.desk.rest()).await;
    // Only one of them asks the engine.
    assert_eq!(world.memory.asked.load(Ordering::SeqCst), 3);
    for asker in askers {
        asker.abort();
        assert!(asker.await.is_err());
    }
}

#[tokio::test]
async fn what_is_stored_is_read_while_its_month_is_restated() {
    let world = World::new();
    let first = world.desk.statement(site_id(), november()).await.unwrap();
    *world.memory.stuck.lock().unwrap() = Some(november());
    let desk = world.desk.clone();
    let restating = tokio::spawn(async move { restate(&desk, "late").await });
    while world.memory.asked.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(world.desk.statement(site_id(), november())).await.unwrap(), first);
    restating.abort();
}

#[tokio::test]
async fn a_bill_does_not_hang_on_the_quality_of_its_ids() {
    let world = World::new();
    *world.memory.unread.lock().unwrap() = Some("a block");
    let statement = world.desk.statement(site_id(), november()).await.unwrap();
    let bytes = statement.to_bytes().unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains(r#""quality":null"#));
    let body = verify(&bytes, &world.key()).unwrap();
    assert_eq!((body.quality, body.billable.mau), (Some(None), 3));
    let lines = world.ledger.read(0, 1_000).unwrap();
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| Recorded::decode(line.as_bytes()).unwrap().event.kind().to_owned())
        .collect();
    assert_eq!(kinds, ["alarm", "statement_issued"]);
    // The next version has it again, and the first stays as it is.
    *world.memory.unread.lock().unwrap() = None;
    let second = world.restate().await.unwrap();
    let quality: Option<IdQuality> = second.body.quality.unwrap();
    assert!(quality.is_some());
    assert!(world.desk.versions(site_id(), november()).await.unwrap().len() > bytes.len());
}

/// A member that is never read to the end takes its share of the time, and a busy one is asked
/// again behind the others.
#[tokio::test]
async fn a_member_that_cannot_be_read_keeps_no_other_from_being_read() {
    let world = World::grouped();
    let site = |id: &str| SiteId::parse(id.as_bytes()).unwrap();
    let troubled = |id: &str, trouble: Trouble| {
        world.memory.troubles.lock().unwrap().insert(site(id), trouble);
    };
    troubled("A", Trouble::Stuck);
    troubled("B", Trouble::Slow);
    let (closed_at, within) = (Timestamp(0), Duration::from_secs(2));
    let sites = vec![site("A"), site("B")];
    let read = world.desk.0.read_all(sites, november(), (closed_at, within));
    let read = soon(read).await.unwrap();
    assert_eq!(["A", "B"].map(|id| read.0[&site(id)].is_some()), [false, true]);
    assert_eq!(world.memory.asked.load(Ordering::SeqCst), 3, "the first one twice");
    // Busy is not for ever: nobody waits for the next look at all months.
    troubled("A", Trouble::Busy);
    let body = world.desk.statement(groups::scope(), november()).await.unwrap().body;
    assert!(body.quality.is_some_and(|of| of.is_some()));
    assert_eq!(world.memory.asked.load(Ordering::SeqCst), 6);
}

/// A statement without the member is of the first form, one with `null` of the second.
#[tokio::test]
async fn a_form_that_lacks_its_quality_is_none() {
    let world = World::new();
    *world.memory.unread.lock().unwrap() = Some("a block");
    let bytes = world.desk.statement(site_id(), november()).await.unwrap().to_bytes().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let without = text.replace(r#","quality":null"#, "");
    assert_ne!(text, without);
    assert_eq!(verify(without.as_bytes(), &world.key()), Err(StatementError::Form));
}
