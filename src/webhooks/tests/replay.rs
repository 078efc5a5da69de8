//! Endpoints after a restore: what was removed or replaced since the backup does not come back.

use super::*;
use crate::ledger::{Actor, Event, Note, Phase, Recorded};
use crate::webhooks::replay::{Replayed, Since, replay};

fn entry(number: u64, time: i64, event: Event) -> Recorded {
    assert_eq!(event.phase(), Phase::Done);
    Recorded { number, time: Timestamp(time), operation: number, actor: Actor::Server, event }
}

fn made(webhook: u64) -> Event {
    let host = Note::parse("hooks.example.com").unwrap();
    Event::WebhookMade { webhook, host, events: Vec::new(), all_sites: true, sites: Vec::new() }
}

#[tokio::test]
async fn endpoints_come_to_where_the_ledger_has_them() {
    let mut world = World::new().await;
    let mut secrets = Vec::new();
    for _ in 0..5 {
        secrets.push(world.hook("/x", &["month.closed"], &["*"]).await.1);
    }
    let (replaced, removed) = (
        |webhook| Event::WebhookSecretReplaced { webhook },
        |webhook| Event::WebhookRemoved { webhook },
    );
    // The backup is entry 10, and its barrier NOW.
    let early = NOW - 2 * HOUR_MS;
    let entries = [
        entry(1, early, made(1)),
        // Long before: the secret of the data is the one that counts.
        entry(2, early, replaced(1)),
        // Just before, so that its row may lie behind the barrier.
        entry(9, NOW - 1_000, replaced(2)),
        entry(11, NOW + 1_000, removed(3)),
        entry(12, NOW + 2_000, replaced(3)),
        // A clock that was set back says nothing of the order.
        entry(13, early, replaced(4)),
        entry(14, NOW + HOUR_MS, made(8)),
        entry(15, NOW + HOUR_MS, removed(8)),
    ];
    let since = Since { operation: 10, barrier: Timestamp(NOW) };
    let later = Timestamp(NOW + 2 * HOUR_MS);
    let done = replay(world.source.as_ref(), &entries, since, later).await.unwrap();
    assert_eq!(done, Replayed { removed: vec![3], disabled: vec![2, 4] });
    let again = replay(world.source.as_ref(), &entries, since, later).await.unwrap();
    assert_eq!(again, Replayed::default(), "twice is once");
    let rows = world.source.with(|inside| format!("{:?}", inside.rows.keys()));
    assert!(!rows.contains("00000003"), "no secret stays either: {rows}");
    world.restart();
    world.set(vec![MonthNews { closed_at: Some(Timestamp(NOW)), ..november("A", 1) }]);
    let listed: Value = serde_json::from_slice(&world.desk.list(&all())).unwrap();
    let states: Vec<(&str, &str)> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["id"].as_str().unwrap(), item["state"].as_str().unwrap()))
        .collect();
    let wanted = [("w1", "active"), ("w2", "disabled"), ("w4", "disabled"), ("w5", "active")];
    assert_eq!(states, wanted);
    assert_eq!(world.desk.test(&all(), "w2").await, Err(HookError::Disabled));
    let (next, _) = world.hook("/x", &["month.closed"], &["*"]).await;
    assert_eq!(next, "w9", "a number is given once");
}

#[tokio::test]
async fn a_cut_replay_is_done_again() {
    for changes in 0..4 {
        let world = World::new().await;
        for _ in 0..2 {
            world.hook("/x", &["month.closed"], &["*"]).await;
        }
        let entries = [
            entry(11, NOW, Event::WebhookRemoved { webhook: 1 }),
            entry(12, NOW, Event::WebhookSecretReplaced { webhook: 2 }),
            entry(13, NOW, made(3)),
        ];
        let since = Since { operation: 10, barrier: Timestamp(NOW) };
        world.source.with(|inside| inside.changes_left = Some(changes));
        let cut = replay(world.source.as_ref(), &entries, since, Timestamp(NOW)).await;
        assert!(cut.is_err());
        world.source.with(|inside| inside.changes_left = None);
        replay(world.source.as_ref(), &entries, since, Timestamp(NOW)).await.unwrap();
        let desk = Webhooks::new(world.source.clone(), world.settings.clone(), world.clock.clone());
        let listed = String::from_utf8(desk.unwrap().list(&all())).unwrap();
        assert!(!listed.contains("w1") && listed.contains("disabled"), "{changes}: {listed}");
    }
}
