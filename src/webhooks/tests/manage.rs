//! Endpoints are made, shown, removed; who may, and what is written down.

use super::*;
use crate::ledger::Event;

fn of(sites: &[&str]) -> Caller {
    caller(Role::Operator, SiteScope::Some(sites.iter().map(|id| site(id)).collect()))
}

async fn make(world: &World, caller: &Caller, more: &str) -> Result<Value, HookError> {
    let url = "https://hooks.example.com/x?token=canary";
    let body = format!(r#"{{"url":"{url}","events":["month.closed"]{more}}}"#);
    let made = world.desk.create(caller, &mut body.into_bytes()).await?;
    Ok(serde_json::from_slice(&made).unwrap())
}

#[tokio::test]
async fn a_secret_is_shown_once_and_the_address_is_not_written_down() {
    let mut world = World::new().await;
    let made = make(&world, &all(), "").await.unwrap();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    assert_eq!((&made["id"], &made["sites"]), (&"w1".into(), &serde_json::json!(["*"])));
    for _ in 0..2 {
        let listed = String::from_utf8(world.desk.list(&all())).unwrap();
        assert!(listed.contains("\"id\":\"w1\"") && listed.contains("token=canary"), "{listed}");
        assert!(!listed.contains(&secret[6..]), "{listed}");
        world.restart();
    }
    world.desk.rotate(&all(), "w1").await.unwrap();
    world.desk.remove(&all(), "w1").await.unwrap();
    assert_eq!(world.desk.remove(&all(), "w1").await, Err(HookError::NotFound));
    let noted = world.source.with(|inside| std::mem::take(&mut inside.noted));
    assert!(!format!("{noted:?}").contains("canary"), "{noted:?}");
    let [(_, Event::WebhookMade { webhook: 1, host, .. }), (_, replaced), (_, removed)] =
        &noted[..]
    else {
        panic!("{noted:?}")
    };
    assert_eq!(host.to_string(), "hooks.example.com");
    assert_eq!(*replaced, Event::WebhookSecretReplaced { webhook: 1 });
    assert_eq!(*removed, Event::WebhookRemoved { webhook: 1 });
    // Nothing but the number that was given is left, and the next one is another.
    let rows = world.source.with(|inside| inside.rows.keys().cloned().collect::<Vec<_>>());
    assert_eq!(rows, ["hook/last"]);
    world.restart();
    assert_eq!(make(&world, &all(), "").await.unwrap()["id"], "w2");
}

#[tokio::test]
async fn a_caller_gives_and_sees_its_own_sites_only() {
    let world = World::new().await;
    let everything = make(&world, &all(), "").await.unwrap();
    let own = make(&world, &of(&["A", "B"]), "").await.unwrap();
    assert_eq!(own["sites"], serde_json::json!(["A", "B"]), "what is not said is what it has");
    for beyond in [r#","sites":["*"]"#, r#","sites":["A","C"]"#] {
        let refused = make(&world, &of(&["A", "B"]), beyond).await;
        assert_eq!(refused, Err(HookError::BeyondCaller), "{beyond}");
    }
    let listed = String::from_utf8(world.desk.list(&of(&["A", "B", "C"]))).unwrap();
    assert!(listed.contains("\"w2\"") && !listed.contains("\"w1\""), "{listed}");
    assert_eq!(String::from_utf8(world.desk.list(&of(&["A"]))).unwrap(), "{\"items\":[]}");
    let (stranger, id) = (of(&["A"]), own["id"].as_str().unwrap());
    for id in [id, everything["id"].as_str().unwrap(), "w9", "x", ""] {
        let missing = HookError::NotFound;
        assert_eq!(world.desk.remove(&stranger, id).await, Err(missing));
        assert_eq!(world.desk.rotate(&stranger, id).await.err(), Some(missing));
        assert_eq!(world.desk.test(&stranger, id).await, Err(missing));
        assert_eq!(world.desk.deliveries(&stranger, id, 9), Err(missing));
    }
    assert!(world.desk.deliveries(&of(&["A", "B"]), id, 9).is_ok());
}

#[tokio::test]
async fn bounds_hold() {
    let world = World::new().await;
    let first = make(&world, &all(), "").await.unwrap();
    for _ in 1..100 {
        make(&world, &all(), "").await.unwrap();
    }
    assert_eq!(make(&world, &all(), "").await, Err(HookError::TooMany));
    let id = first["id"].as_str().unwrap();
    for _ in 0..10 {
        world.test(id).await;
    }
    assert_eq!(world.desk.test(&all(), id).await, Err(HookError::Busy));
    let mut bad = br#"{"url":"ftp://x/","events":["month.closed"]}"#.to_vec();
    let refused = world.desk.create(&all(), &mut bad).await;
    assert!(matches!(refused, Err(HookError::Unfit(flaw)) if flaw.pointer.to_string() == "/url"));
    let refused = world.desk.create(&all(), &mut b"nonsense".to_vec()).await;
    assert_eq!(refused, Err(HookError::Unreadable));
}

#[tokio::test]
async fn a_damaged_row_refuses_the_start() {
    let world = World::new().await;
    let (id, _) = world.hook("/in", &["month.closed"], &["*"]).await;
    world.test(&id).await;
    let names = world.source.with(|inside| inside.rows.keys().cloned().collect::<Vec<_>>());
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        let kept = world.source.with(|inside| inside.rows.insert(name.clone(), b"{}x".to_vec()));
        let (source, clock) = (world.source.clone(), world.clock.clone());
        let refused = Webhooks::new(source, world.settings.clone(), clock).err();
        assert!(matches!(refused, Some(StartError::Damaged(_))), "{name}");
        world.source.with(|inside| inside.rows.insert(name.clone(), kept.unwrap()));
    }
}
