//! What is told, to whom, and how often.

use super::queue::EVENTS_MAX;
use super::*;
use crate::model::explained::Suspects;
use crate::wire::webhooks::rows::EventRow;

fn told(got: &[Seen]) -> Vec<String> {
    let mut told: Vec<String> = got
        .iter()
        .map(|seen| {
            let read = seen.json();
            let percent = &read["data"]["threshold_percent"];
            let percent =
                percent.as_u64().map_or_else(String::new, |percent| format!(" {percent}"));
            let topic = read["type"].as_str().unwrap();
            format!("{topic} {}{percent}", read["data"]["site_id"].as_str().unwrap())
        })
        .collect();
    told.sort();
    told
}

fn closed(id: &str, closed_at: Timestamp) -> MonthNews {
    MonthNews { closed_at: Some(closed_at), plan_mau: None, ..november(id, 7) }
}

#[tokio::test]
async fn each_threshold_is_told_once_a_month() {
    let world = World::new().await;
    world.hook("/in", &["threshold.reached"], &["*"]).await;
    let expected: [(u64, &[&str]); 8] = [
        (0, &[]),
        (49, &[]),
        (50, &["threshold.reached A 50"]),
        (51, &[]),
        (79, &[]),
        // Two at once.
        (100, &["threshold.reached A 100", "threshold.reached A 80"]),
        (5_000, &[]),
        // Less than before, as after a change of the plan.
        (50, &[]),
    ];
    for (mau, expected) in expected {
        world.set(vec![november("A", mau)]);
        assert_eq!(told(&world.turn().await), expected, "at {mau}");
        world.clock.pass(HOUR_MS);
    }
    // Another month is another story.
    let mut december = november("A", 60);
    december.span.month = december.span.month.next();
    world.set(vec![november("A", 100), december]);
    assert_eq!(told(&world.turn().await), ["threshold.reached A 50"]);
    // Without a plan there is nothing to reach, and the largest numbers are no trouble.
    let plans = [None, Some(0), Some(u64::MAX)];
    let months = plans.into_iter().enumerate().map(|(n, plan_mau)| {
        let mau = u64::MAX - 1;
        MonthNews { plan_mau, ..november(&format!("P{n}"), mau.min(1 << 62)) }
    });
    world.set(months.collect());
    assert!(world.turn().await.is_empty());
}

/// Who is counted by devices reaches the plan by devices.
#[tokio::test]
async fn a_plan_is_measured_by_users_and_devices_that_stand_for_users() {
    let world = World::new().await;
    world.hook("/in", &["threshold.reached", "month.closed"], &["*"]).await;
    let month = |mau, device_users| {
        let mut month = november("A", mau);
        month.counters.device_users = device_users;
        month
    };
    world.set(vec![month(20, 29)]);
    assert!(world.turn().await.is_empty());
    world.set(vec![month(20, 30)]);
    let got = world.turn().await;
    assert_eq!(told(&got), ["threshold.reached A 50"]);
    let data = &got[0].json()["data"];
    assert_eq!((&data["mau"], &data["device_users"]), (&20.into(), &30.into()));
    world.set(vec![MonthNews { closed_at: Some(world.clock.now()), ..month(0, 100) }]);
    let got = world.turn().await;
    assert_eq!(told(&got), ["month.closed A", "threshold.reached A 100", "threshold.reached A 80"]);
    let closed = got.iter().map(|seen| seen.json()).find(|read| read["type"] == "month.closed");
    assert_eq!(closed.unwrap()["data"]["device_users"], 100);
}

#[tokio::test]
async fn a_new_endpoint_learns_where_a_month_stands_and_nothing_of_the_past() {
    let world = World::new().await;
    world.hook("/first", &["threshold.reached", "month.closed"], &["*"]).await;
    let before = Timestamp(world.clock.now().0 - 1);
    world.clock.pass(HOUR_MS);
    let months = || vec![november("A", 50), closed("B", world.clock.now())];
    world.set(vec![november("A", 50), closed("B", before)]);
    assert_eq!(told(&world.turn().await), ["threshold.reached A 50"], "B closed before");
    world.set(months());
    assert_eq!(told(&world.turn().await), ["month.closed B"]);
    world.clock.pass(1);
    world.hook("/second", &["threshold.reached", "month.closed"], &["*"]).await;
    let got = world.turn().await;
    assert_eq!(told(&got), ["threshold.reached A 50"]);
    assert_eq!(got[0].path, "/second");
    assert!(world.turn().await.is_empty());
}

#[tokio::test]
async fn a_closed_month_is_told_with_its_figures() {
    let world = World::new().await;
    world.hook("/in", &["month.closed"], &["A", "C"]).await;
    let now = world.clock.now();
    world.set(vec![closed("A", now), closed("B", now), november("C", 7)]);
    let got = world.turn().await;
    assert_eq!(told(&got), ["month.closed A"], "B is not its site, C is not closed");
    let data = &got[0].json()["data"];
    assert_eq!((&data["mau"], &data["licenses_issued"]), (&7.into(), &14.into()));
    assert_eq!((&data["month"], &data["rule_set"]), (&"2026-11".into(), &"mau/1".into()));
    assert_eq!(data["closed_at"], now.to_string());
}

/// Who may not see each member would learn of the others' users.
#[tokio::test]
async fn a_group_is_told_to_whoever_has_every_member() {
    let mut world = World::new().await;
    world.hook("/both", &["month.closed"], &["A", "B", "C"]).await;
    world.hook("/one", &["month.closed"], &["A"]).await;
    world.hook("/other", &["threshold.reached"], &["*"]).await;
    let (all, _) = world.hook("/all", &["month.closed"], &["*"]).await;
    let news = GroupNews {
        scope: SiteId::of_group(&crate::model::ids::GroupId::parse(b"acme").unwrap()),
        members: vec![site("A"), site("B")],
        month: Month::parse(b"2026-11").unwrap(),
        from: at("2026-10-31T15:00:00Z"),
        to: at("2026-12-01T00:00:00Z"),
        closed_at: world.clock.now(),
        rule_set: RuleSet::default(),
        counters: Counters { mau: 7, licenses_issued: 12, ..Counters::default() },
    };
    world.source.with(|inside| inside.groups = vec![news.clone()]);
    let got = world.turn().await;
    let mut paths: Vec<&str> = got.iter().map(|seen| seen.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/all", "/both"]);
    let read = got[0].json();
    let data = &read["data"];
    assert_eq!((&read["type"], &data["billing_group"]), (&"month.closed".into(), &"acme".into()));
    assert_eq!((&data["mau"], &data["licenses_issued"]), (&7.into(), &12.into()));
    assert_eq!((&data["members"], &data["month"]), (&2.into(), &"2026-11".into()));
    assert_eq!((data.get("site_id"), data.get("devices")), (None, None));
    // A site of the group's name is another thing.
    world.set(vec![closed("acme", world.clock.now())]);
    assert_eq!(told(&world.turn().await), ["month.closed acme"]);
    // Once, over a start, and until nobody can find it any more.
    world.restart();
    assert!(world.turn().await.is_empty());
    let listed = world.deliveries(&all);
    let groups: Vec<&Value> = listed.iter().map(|one| &one["billing_group"]).collect();
    assert!(groups.contains(&&Value::from("acme")) && groups.contains(&&Value::Null));
    for _ in 0..60 {
        world.clock.pass(DAY_MS);
        assert!(world.turn().await.is_empty());
    }
    assert!(world.desk.0.state().events.is_empty());
}

#[tokio::test]
async fn an_alarm_needs_a_share_and_a_number() {
    let world = World::new().await;
    world.hook("/in", &["quality.alarm"], &["*"]).await;
    for (issued, nobodys, expected) in [
        (999, 999, 0),
        (1_000, 0, 0),
        (1_000, 50, 0),
        (1_000, 51, 1),
        (2_000, 2_000, 0),
        (u64::MAX, u64::MAX, 0),
    ] {
        let mut month = november("A", 1);
        month.counters.licenses_issued = issued;
        month.counters.unattributed_licenses = nobodys;
        world.set(vec![month]);
        let got = world.turn().await;
        assert_eq!(got.len(), expected, "{nobodys} of {issued}");
        for seen in got {
            let data = &seen.json()["data"];
            assert_eq!(data["unattributed_licenses"], nobodys);
            assert_eq!(data["limit_percent"], 5);
        }
    }
}

#[tokio::test]
async fn ids_that_look_shared_are_told_once() {
    let world = World::new().await;
    world.hook("/in", &["quality.alarm"], &["*"]).await;
    let suspects = Suspects { users: 1, user_licenses: 70, devices: 2, ..Suspects::default() };
    for (suspects, expected) in [
        (None, 0),
        (Some(Suspects::default()), 0),
        (Some(suspects), 1),
        (Some(Suspects { users: 5, ..suspects }), 0),
    ] {
        world.set(vec![MonthNews { suspects, ..november("A", 90) }]);
        let got = world.turn().await;
        assert_eq!(got.len(), expected, "{suspects:?}");
        for seen in got {
            let data = &seen.json()["data"];
            assert_eq!(data["reason"], "shared_ids");
            assert_eq!(
                (&data["suspect_shared_users"], &data["suspect_user_licenses"]),
                (&1.into(), &70.into())
            );
            assert_eq!(data["suspect_shared_devices"], 2);
        }
    }
}

fn destroyed(number: u64, id: &str, issued_at: Timestamp) -> DestroyedNews {
    DestroyedNews {
        number,
        certificate: format!("c{number}"),
        issued_at,
        site: site(id),
        lots: 3,
        records: Some(100),
    }
}

#[tokio::test]
async fn a_destruction_is_told_to_those_whose_site_it_was() {
    let mut world = World::new().await;
    let now = world.clock.now();
    let before = Timestamp(now.0 - 1);
    world.source.with(|inside| inside.destroyed = vec![destroyed(3, "A", before)]);
    world.hook("/a", &["destruction.done"], &["A"]).await;
    world.hook("/all", &["destruction.done"], &["*"]).await;
    assert!(world.turn().await.is_empty(), "it was before");
    world.source.with(|inside| {
        let more = [destroyed(7, "A", now), destroyed(7, "B", now), destroyed(9, "A", now)];
        inside.destroyed.extend(more);
    });
    let got = world.turn().await;
    let of = |path: &str| {
        let own: Vec<Seen> = got.iter().filter(|seen| seen.path == path).cloned().collect();
        assert!(path == "/all" || own.iter().all(|seen| !seen.body.contains("\"B\"")));
        told(&own)
    };
    assert_eq!(of("/a"), ["destruction.done A"; 2]);
    let all = ["destruction.done A", "destruction.done A", "destruction.done B"];
    assert_eq!(of("/all"), all);
    world.restart();
    assert!(world.turn().await.is_empty());
    assert_eq!(world.desk.0.state().cursor, 9, "certificates are read once");
    let ids: std::collections::BTreeSet<&str> = got.iter().map(Seen::id).collect();
    assert_eq!(ids.len(), 3, "one id an event");
}

/// A queue that is full for longer than news are looked for delays what it has no room for.
#[tokio::test]
async fn a_full_queue_loses_no_destruction() {
    let world = World::new().await;
    let now = world.clock.now();
    world.hook("/in", &["destruction.done"], &["*"]).await;
    world.source.with(|inside| inside.destroyed = vec![destroyed(3, "A", now)]);
    assert_eq!(told(&world.turn().await), ["destruction.done A"]);
    let row = world.desk.0.state().events.values().next().unwrap().clone();
    let filled = EventRow { keep_until: Timestamp::END, deliveries: Vec::new(), ..row };
    let room = EVENTS_MAX - 1 - world.desk.0.state().events.len();
    for number in 0..room {
        world.desk.0.state().events.insert(format!("filled/{number}"), filled.clone());
    }
    // Room for one of three.
    world.source.with(|inside| {
        let more = [destroyed(5, "A", now), destroyed(5, "B", now), destroyed(8, "A", now)];
        inside.destroyed.extend(more);
    });
    assert_eq!(told(&world.turn().await), ["destruction.done A"]);
    assert_eq!(world.desk.0.state().cursor, 3, "what was told in part is not passed");
    world.clock.pass(40 * 24 * HOUR_MS);
    world.desk.0.state().events.retain(|name, _| !name.starts_with("filled/"));
    let late = told(&world.turn().await);
    assert!(late.contains(&"destruction.done B".to_owned()), "{late:?}");
    assert_eq!(world.desk.0.state().cursor, 8);
    assert!(world.turn().await.is_empty());
}

#[tokio::test]
async fn events_go_after_their_time_and_never_come_again() {
    let mut world = World::new().await;
    let (id, _) = world.hook("/in", &["threshold.reached", "month.closed"], &["*"]).await;
    world.set(vec![november("A", 50)]);
    assert_eq!(world.turn().await.len(), 1);
    let closed_at = Timestamp(at("2026-12-01T00:00:00Z").0 + 72 * HOUR_MS);
    world.clock.pass(closed_at.0 - NOW);
    let end = MonthNews { closed_at: Some(closed_at), ..november("A", 50) };
    world.set(vec![end]);
    assert_eq!(told(&world.turn().await), ["month.closed A"]);
    let mut counts = Vec::new();
    for _ in 0..60 {
        world.clock.pass(DAY_MS);
        assert!(world.turn().await.is_empty());
        counts.push(world.deliveries(&id).len());
        world.restart();
    }
    assert_eq!((counts[28], counts[59]), (2, 0), "{counts:?}");
    let events = |inside: &mut fake::Inside| {
        inside.rows.keys().filter(|name| name.starts_with("hook/event/")).count()
    };
    assert_eq!(world.source.with(events), 0);
}

/// The server was off over the close, or a site came long after the month.
#[tokio::test]
async fn a_month_that_closes_late_is_told_as_well() {
    let mut world = World::new().await;
    world.hook("/in", &["threshold.reached", "month.closed"], &["*"]).await;
    world.set(vec![november("A", 50)]);
    assert_eq!(told(&world.turn().await), ["threshold.reached A 50"]);
    // Until 20 January nothing closes it, and nothing is told anew.
    for _ in 0..59 {
        world.clock.pass(DAY_MS);
        assert!(world.turn().await.is_empty());
        world.restart();
    }
    let closed_at = world.clock.now();
    world.set(vec![MonthNews { closed_at: Some(closed_at), ..november("A", 85) }]);
    assert_eq!(told(&world.turn().await), ["month.closed A", "threshold.reached A 80"]);
    for _ in 0..60 {
        world.clock.pass(DAY_MS);
        assert!(world.turn().await.is_empty());
    }
    assert!(world.desk.0.state().events.is_empty());
}

#[tokio::test]
async fn a_flood_is_taken_in_parts_and_whole() {
    let world = World::new().await;
    world.hook("/in", &["threshold.reached"], &["*"]).await;
    world.set((0..150).map(|n| november(&format!("S{n:03}"), 100)).collect());
    let mut looks = 1;
    let rows = || world.desk.0.state().events.len();
    while world.desk.0.scan().await.unwrap() {
        assert!(rows() <= looks * 66, "{} after {looks}", rows());
        looks += 1;
    }
    assert_eq!(rows(), 450);
    assert!(looks > 6, "{looks}");
    world.send().await;
    assert_eq!(world.server.take().len(), 450);
}

#[tokio::test]
async fn nobody_to_tell_costs_nothing() {
    let world = World::new().await;
    world.set(vec![november("A", 100)]);
    assert!(world.turn().await.is_empty());
    assert_eq!(world.source.with(|inside| (inside.looks, inside.rows.len())), (0, 0));
}

/// Every day has a certificate of what is of no site.
#[tokio::test]
async fn certificates_that_say_nothing_of_a_site_are_passed() {
    let world = World::new().await;
    let now = world.clock.now();
    world.hook("/in", &["destruction.done"], &["*"]).await;
    world.source.with(|inside| inside.silent = (1..40).collect());
    assert!(world.turn().await.is_empty());
    assert_eq!(world.desk.0.state().cursor, 39, "they are read once");
    world.source.with(|inside| inside.destroyed = vec![destroyed(41, "A", now)]);
    assert_eq!(told(&world.turn().await), ["destruction.done A"]);
}

#[tokio::test]
async fn messages_about_what_is_removed_go_once_they_are_delivered() {
    let mut world = World::new().await;
    let now = world.clock.now();
    world.hook("/good", &["month.closed", "destruction.done"], &["*"]).await;
    world.hook("/bad", &["month.closed"], &["C"]).await;
    world.server.reply("/bad", Reply::Status(503));
    world.set(vec![closed("A", now), closed("B", now), closed("C", now)]);
    world.source.with(|inside| inside.destroyed = vec![destroyed(3, "A", now)]);
    assert_eq!(world.turn().await.len(), 5);
    let names = |world: &World| {
        let state = world.desk.0.state();
        let names: Vec<String> = state.events.keys().cloned().collect();
        let stored = world.source.with(|inside| {
            inside.rows.keys().filter(|name| name.starts_with("hook/event/")).count()
        });
        assert_eq!(stored, names.len());
        names
    };
    let month = |id: &str| format!("month.closed/{id}/2026-11");
    let done = "destruction.done/c3/A".to_owned();
    assert_eq!(names(&world), [done.clone(), month("A"), month("B"), month("C")]);
    // The month of A, and all of C; of these nothing is news any more.
    let november = Month::parse(b"2026-11").unwrap();
    world.source.with(|inside| {
        inside.removed = [(site("A"), Some(november)), (site("C"), Some(november))].into();
        inside.removed.insert((site("C"), None));
        inside.months.retain(|of| of.site == site("B"));
    });
    assert!(world.turn().await.is_empty());
    assert_eq!(names(&world), [done.clone(), month("B"), month("C")], "C waits for its tries");
    world.restart();
    world.server.reply("/bad", Reply::Status(204));
    world.clock.pass(HOUR_MS);
    assert_eq!(told(&world.turn().await), ["month.closed C"]);
    world.look().await;
    assert_eq!(names(&world), [done, month("B")]);
    world.source.with(|inside| inside.removed.insert((site("A"), None)));
    world.look().await;
    assert_eq!(names(&world), [month("B")]);
}
