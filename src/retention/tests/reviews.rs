//! Reviews of holds: within a year, by somebody, and said again and again while they are missed.

use super::*;
use crate::retention::fake::Cut;
use crate::wire::retention::rows::HoldRow;

fn body(review_at: &str) -> String {
    format!(r#"{{"months":["2026-05"],"ground":"unpaid","review_at":"{review_at}"}}"#)
}

async fn open(world: &World, review_at: &str) -> Result<Vec<u8>, DeskError> {
    let mut text = body(review_at).into_bytes();
    world.desk.open_hold(&caller(Role::Privacy, 7), site_id("ACME"), &mut text).await
}

async fn review(world: &World, hold: &str, review_at: &str) -> Result<String, DeskError> {
    let mut text = format!(r#"{{"review_at":"{review_at}","reason":"not paid"}}"#).into_bytes();
    let privacy = caller(Role::Privacy, 8);
    let said = world.desk.review_hold(&privacy, site_id("ACME"), hold, &mut text).await?;
    Ok(String::from_utf8(said).unwrap())
}

fn is_too_far<T: std::fmt::Debug>(result: Result<T, DeskError>) -> bool {
    matches!(result, Err(DeskError::ReviewTooFar(flaw)) if flaw.pointer.to_string() == "/review_at")
}

/// The row of the first hold.
fn row(world: &World) -> HoldRow {
    let name = super::super::holds::row_of(1);
    HoldRow::parse(&world.vault.with(|inside| inside.rows[&name].clone())).unwrap()
}

fn reviews(world: &World) -> Vec<Event> {
    let all = world.entries().into_iter().map(|entry| entry.event);
    all.filter(|event| matches!(event, Event::HoldReviewed { .. })).collect()
}

#[tokio::test]
async fn a_review_lies_ahead_and_within_a_year() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    assert!(is_too_far(open(&world, "2027-06-01T00:00:00.001Z").await));
    assert!(matches!(open(&world, "2026-06-01T00:00:00Z").await, Err(DeskError::Unfit(_))));
    assert!(!world.kinds().contains(&"hold_opened"), "what was refused holds nothing");
    open(&world, "2027-06-01T00:00:00Z").await.unwrap();
    assert!(is_too_far(review(&world, "h1", "2027-06-01T00:00:00.001Z").await));
    assert!(matches!(review(&world, "h1", "2026-05-01T00:00:00Z").await, Err(DeskError::Unfit(_))));
    for unknown in ["h2", "1", "h01"] {
        let refused = review(&world, unknown, "2026-09-01T00:00:00Z").await;
        assert_eq!(refused, Err(DeskError::NotFound), "{unknown}");
    }
    assert_eq!(reviews(&world), []);
    // Of a clock that jumped ahead nothing is believed, so nothing lies further.
    world.clock.jump(at("2030-01-01T00:00:00Z"));
    assert!(is_too_far(review(&world, "h1", "2030-06-01T00:00:00Z").await));
    review(&world, "h1", "2026-12-01T00:00:00Z").await.unwrap();
    for person in [1, 2] {
        let custodian = caller(Role::Custodian, person);
        world.desk.release_hold(&custodian, site_id("ACME"), "h1").await.unwrap();
    }
    assert_eq!(review(&world, "h1", "2026-12-02T00:00:00Z").await, Err(DeskError::Released));
}

#[tokio::test]
async fn a_review_ends_the_alarms_until_the_next_one_is_missed() {
    let mut world = World::at("2026-08-30T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "2026-09-01T00:00:00Z").await.unwrap();
    world.live_until(at("2026-09-02T00:00:00Z")).await;
    assert_eq!(world.alarms(), ["hold_unreviewed"]);
    let said = review(&world, "h1", "2026-09-10T00:00:00Z").await.unwrap();
    assert!(said.contains("\"review_overdue\":false"), "{said}");
    assert!(said.contains("\"reason\":\"not paid\",") || said.contains("\"reason\":\"not paid\"}"));
    world.restart();
    world.run().await.unwrap();
    assert_eq!(world.desk.0.figures.last().unreviewed, 0);
    // Less than a week after the alarm before: the next date counts anew.
    world.live_until(at("2026-09-10T00:00:00Z")).await;
    assert_eq!(world.alarms().len(), 1);
    world.clock.set(at("2026-09-10T00:00:01Z"));
    world.run().await.unwrap();
    assert_eq!(world.alarms(), ["hold_unreviewed"; 2]);
    // A new date within the week of that alarm that is missed, too, is said at once.
    review(&world, "h1", "2026-09-11T00:00:00Z").await.unwrap();
    world.live_until(at("2026-09-11T00:00:01Z")).await;
    assert_eq!(world.alarms(), ["hold_unreviewed"; 3]);
    let site = site_id("ACME");
    let event = |text| Event::HoldReviewed { hold: 1, site: site.clone(), review_at: at(text) };
    let told = [event("2026-09-10T00:00:00Z"), event("2026-09-11T00:00:00Z")];
    assert_eq!(reviews(&world), told);
    let entries = world.entries();
    let entry = entries.iter().rfind(|entry| entry.event == told[1]).unwrap();
    assert_eq!(entry.actor.to_string(), "i".repeat(16));
    assert_eq!(row(&world).reviewed.unwrap().entry, entry.number);
}

/// A hold of an earlier build whose review lies further ahead than one may today.
#[tokio::test]
async fn a_hold_with_a_later_date_counts_as_it_is() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "2026-09-01T00:00:00Z").await.unwrap();
    let old = HoldRow { review_at: at("2040-01-01T00:00:00Z"), ..row(&world) };
    let (name, bytes) = (super::super::holds::row_of(1), old.to_bytes().unwrap());
    world.vault.with(|inside| inside.rows.insert(name, bytes));
    world.restart();
    world.live_until(at("2026-12-20T00:00:00Z")).await;
    assert_eq!(world.alarms(), [""; 0]);
    assert_eq!(world.desk.0.figures.last().held, 6, "it holds");
    let said = review(&world, "h1", "2027-12-20T00:00:00Z").await.unwrap();
    assert!(said.contains("\"review_at\":\"2027-12-20T00:00:00Z\""), "{said}");
}

/// Cut between entry and row: the ledger has it, and the next run takes it over.
#[tokio::test]
async fn a_review_that_is_cut_is_taken_over_from_the_ledger() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    open(&world, "2026-06-10T00:00:00Z").await.unwrap();
    world.vault.with(|inside| inside.cut = Some(Cut::Before(inside.changes)));
    let cut = review(&world, "h1", "2026-07-01T00:00:00Z").await;
    assert_eq!(cut, Err(DeskError::Stopped));
    world.vault.with(|inside| inside.cut = None);
    world.restart();
    assert_eq!((reviews(&world).len(), row(&world).reviewed), (1, None));
    world.live_until(at("2026-06-10T00:00:01Z")).await;
    let entries = world.entries();
    let entry = entries.iter().rfind(|entry| entry.event.kind() == "hold_reviewed").unwrap();
    let kept = row(&world);
    assert_eq!(kept.review_at, at("2026-07-01T00:00:00Z"));
    let (by, reviewed) = (entry.actor.to_string(), kept.reviewed.unwrap());
    assert_eq!((reviewed.entry, reviewed.by.by, reviewed.reason), (entry.number, by, None));
    assert_eq!(world.alarms(), [""; 0], "somebody has looked");
    // Likewise where the row could not be written and the process lives on.
    world.vault.with(|inside| inside.cut = Some(Cut::Before(inside.changes)));
    assert!(review(&world, "h1", "2026-08-01T00:00:00Z").await.is_err());
    world.vault.with(|inside| inside.cut = None);
    world.run().await.unwrap();
    assert_eq!(row(&world).review_at, at("2026-08-01T00:00:00Z"));
    world.live_until(at("2026-08-01T00:00:01Z")).await;
    assert_eq!(world.alarms(), ["hold_unreviewed"], "and the next one is missed");
}

/// Rows from before a review come to where the ledger is; a row that has it keeps what was said.
#[tokio::test]
async fn reviews_come_back_with_the_ledger() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let mut moments = vec![world.vault.with(|inside| inside.rows.clone())];
    open(&world, "2026-06-03T00:00:00Z").await.unwrap();
    world.live_until(at("2026-06-04T00:00:00Z")).await;
    assert!(row(&world).alarmed);
    moments.push(world.vault.with(|inside| inside.rows.clone()));
    for review_at in ["2026-08-01T00:00:00Z", "2026-07-01T00:00:00Z"] {
        review(&world, "h1", review_at).await.unwrap();
        moments.push(world.vault.with(|inside| inside.rows.clone()));
    }
    let (last, entries) = (row(&world), world.entries());
    for (number, moment) in moments.into_iter().enumerate() {
        world.vault.with(|inside| inside.rows = moment);
        let changed = replay(world.vault.as_ref(), &entries).await.unwrap();
        assert_eq!(changed, u64::from(number < 3), "{number}");
        let mut expected = last.clone();
        if number < 3 {
            // What somebody wrote freely is not in the ledger.
            expected.reviewed.as_mut().unwrap().reason = None;
        }
        assert_eq!(row(&world), expected, "{number}");
        assert_eq!(replay(world.vault.as_ref(), &entries).await.unwrap(), 0, "twice is once");
    }
    world.restart();
    world.live_until(at("2026-07-02T00:00:00Z")).await;
    assert_eq!(world.alarms(), ["hold_unreviewed"; 2], "the date of the last review counts");
}
