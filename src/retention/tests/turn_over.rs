//! The turn-over of the vault epoch: by itself, in time, and only where it is of use.

use super::*;
use crate::observe::metrics::Exposition;
use crate::retention::fake::Cut;
use crate::wire::retention::view::RunView;

const HOUR_MS: i64 = 3_600_000;

impl World {
    /// A world in which nothing is due, after its first run.
    async fn idle() -> Self {
        let world = Self::at("2026-06-01T00:00:00Z");
        world.run().await.unwrap();
        world
    }

    fn epoch(&self) -> u64 {
        self.vault.with(|inside| inside.epoch)
    }

    /// Retires a key, as a fold does.
    fn retire(&self) {
        self.vault.with(|inside| inside.ended += 1);
    }

    /// A run at each hour; the hours, from 1, in which the epoch was turned over.
    async fn hours(&self, hours: i64) -> Vec<i64> {
        let mut turned = Vec::new();
        for hour in 1..=hours {
            self.clock.set(Timestamp(self.clock.now().0 + HOUR_MS));
            let before = self.epoch();
            self.run().await.unwrap();
            if self.epoch() > before {
                turned.push(hour);
            }
        }
        turned
    }

    fn turn_over(&self) -> serde_json::Value {
        let listed: serde_json::Value = serde_json::from_str(&self.list(None)).unwrap();
        listed["turn_over"].clone()
    }
}

#[tokio::test]
async fn it_comes_in_time_where_a_key_was_retired_and_not_otherwise() {
    let mut world = World::idle().await;
    assert_eq!(world.hours(50).await, [0; 0], "no key has ended");
    assert!(world.turn_over()["next_by"].is_null() && world.turn_over()["last"].is_null());
    world.retire();
    assert!(world.turn_over()["next_by"].is_string());
    // Nobody knows when in the last two days it ended, so it is due at once.
    assert_eq!(world.hours(30).await, [1]);
    let last = world.turn_over();
    assert_eq!((&last["vek_epoch"], &last["last"]), (&8.into(), &"2026-06-03T03:00:00Z".into()));
    // Each hour one: within a day of the turn-over before, with runs an hour apart.
    let mut all = Vec::new();
    for hour in 0..60 {
        world.retire();
        all.extend(world.hours(1).await.iter().map(|_| hour));
        if hour == 30 {
            world.restart();
        }
    }
    assert_eq!(all, [0, 23, 46]);
    assert!(world.alarms().is_empty(), "{:?}", world.alarms());
}

#[tokio::test]
async fn a_destruction_is_one_too() {
    let world = World::at("2026-08-01T00:00:00Z");
    world.run().await.unwrap();
    world.retire();
    world.clock.set(at("2026-08-03T00:00:00Z"));
    assert_eq!((world.run().await.unwrap().destroyed, world.epoch()), (2, 8));
    assert_eq!(world.turn_over()["last"], "2026-08-03T00:00:00Z");
    assert!(world.turn_over()["next_by"].is_null());
    assert_eq!(world.hours(48).await, [0; 0], "what it destroyed needs no second one");
}

#[tokio::test]
async fn one_that_waits_is_tried_again_and_keeps_a_destruction_waiting() {
    let mut world = World::at("2026-08-02T00:00:00Z");
    world.run().await.unwrap();
    world.retire();
    world.vault.with(|inside| inside.no_copy = true);
    world.clock.set(at("2026-08-02T23:30:00Z"));
    assert_eq!(world.run().await.unwrap(), RunView::default(), "nothing was due");
    assert_eq!(world.epoch(), 8);
    world.clock.set(at("2026-08-03T00:30:00Z"));
    let waits = RunView { waiting: true, ..RunView::default() };
    assert_eq!(world.run().await.unwrap(), waits);
    assert_eq!(world.alarms(), ["turn_over_late"], "once");
    world.restart();
    world.clock.set(at("2026-08-03T01:30:00Z"));
    assert_eq!(world.run().await.unwrap(), waits);
    assert_eq!((world.alarms().len(), world.epoch()), (1, 8));
    world.vault.with(|inside| inside.no_copy = false);
    assert_eq!(world.run().await.unwrap().destroyed, 2);
    assert!(!world.vault.with(|inside| inside.turn_waits));
    assert_eq!(world.alarms().len(), 1);
}

#[tokio::test]
async fn a_failure_is_counted_and_tried_again() {
    let world = World::idle().await;
    let registry = Registry::default();
    world.desk.register(&registry);
    world.retire();
    world.clock.set(at("2026-06-02T00:00:00Z"));
    let (changes, epoch) = (world.vault.with(|inside| inside.changes), world.epoch());
    // The first change of this run is the clock's row, the second one the turn-over.
    world.vault.with(|inside| inside.cut = Some(Cut::Before(changes + 1)));
    world.run().await.unwrap();
    let text = registry.render(Exposition::Prometheus);
    assert!(text.contains("blindtally_keys_turn_over_failures_total 1"), "{text}");
    assert_eq!(world.epoch(), epoch);
    world.vault.with(|inside| inside.cut = None);
    world.run().await.unwrap();
    assert_eq!(world.epoch(), epoch + 1);
    let text = registry.render(Exposition::Prometheus);
    assert!(text.contains("blindtally_keys_turned_over_seconds 1780358400"), "{text}");
}

#[tokio::test]
async fn a_cut_makes_the_next_one_early_and_never_late() {
    let mut turned = 0;
    for number in 0..4 {
        for cut in [Cut::Before as fn(usize) -> Cut, Cut::After] {
            let mut world = World::idle().await;
            world.retire();
            world.clock.set(at("2026-06-02T00:00:00Z"));
            world.vault.with(|inside| inside.cut = Some(cut(inside.changes + number)));
            let _ = world.run().await;
            turned += world.epoch() - 7;
            // Another process, which did not see it.
            world.vault.with(|inside| (inside.cut, inside.ended_before) = (None, None));
            world.retire();
            world.restart();
            let hours = world.hours(24).await;
            assert!(hours.first().is_some_and(|hour| *hour <= 23), "{number} {hours:?}");
        }
    }
    assert!(turned >= 3, "only {turned} were cut behind the turn-over");
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_put_it_off() {
    let world = World::idle().await;
    world.retire();
    world.clock.set(at("2026-06-02T00:00:00Z"));
    world.run().await.unwrap();
    assert_eq!(world.epoch(), 8);
    world.retire();
    world.clock.set(at("2026-05-20T00:00:00Z"));
    world.run().await.unwrap();
    assert_eq!(world.epoch(), 9);
    world.retire();
    assert_eq!(world.hours(24).await, [23]);
}
