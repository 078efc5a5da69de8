//! Deliveries: the form of a message, the schedule, restarts, slow and gone endpoints, addresses
//! inside.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};

use super::*;
use crate::webhooks::client::Resolving;

/// What a receiver that knows a secret would find in `webhook-signature`.
fn signature(secret: &str, seen: &Seen) -> String {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", seen.id(), seen.headers["webhook-timestamp"]).as_bytes());
    mac.update(seen.body.as_bytes());
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_message_has_the_form_of_the_specification() {
    let world = World::new().await;
    let (id, secret) = world.hook("/in?x=1", &["threshold.reached"], &["*"]).await;
    world.set(vec![november("A", 50)]);
    let got = world.turn().await;
    let [seen] = &got[..] else { panic!("{got:?}") };
    assert_eq!(seen.path, "/in?x=1");
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["host"], world.server.address().to_string());
    assert_eq!(seen.headers["webhook-timestamp"], (NOW / 1_000).to_string());
    assert_eq!(seen.headers["webhook-signature"], signature(&secret, seen));
    assert_ne!(signature("whsec_AAAA", seen), signature(&secret, seen));
    let read = seen.json();
    assert_eq!(read["type"], "threshold.reached");
    assert_eq!(read["timestamp"], "2026-11-22T04:16:00Z");
    assert_eq!(read["data"]["threshold_percent"], 50);
    let listed = world.deliveries(&id);
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&seen.id().into(), &"delivered".into()));
    assert_eq!(listed[0]["last"]["status"], 204);
    assert!(world.turn().await.is_empty(), "it was sent again");
}

#[tokio::test]
async fn retries_follow_the_schedule_and_end() {
    let world = World::new().await;
    let (id, _) = world.hook("/in", &["month.closed"], &["*"]).await;
    world.server.reply("/in", Reply::Status(503));
    let message = world.test(&id).await;
    let first = world.turn().await;
    assert_eq!(first.len(), 1);
    // The specification's table, in seconds, written down a second time on purpose.
    for (done, pause) in
        [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].into_iter().enumerate()
    {
        let listed = &world.deliveries(&id)[0];
        assert_eq!(
            (&listed["attempts"], &listed["state"]),
            (&(done + 1).into(), &"waiting".into())
        );
        world.clock.pass(pause * 1_000 - 1);
        assert!(world.turn().await.is_empty(), "too early after {pause} s");
        world.clock.pass(1);
        let again = world.turn().await;
        assert_eq!(again.len(), 1, "after {pause} s");
        assert_eq!((again[0].id(), &again[0].body), (message.as_str(), &first[0].body));
        assert_ne!(again[0].headers["webhook-signature"], first[0].headers["webhook-signature"]);
    }
    let listed = &world.deliveries(&id)[0];
    assert_eq!((&listed["attempts"], &listed["state"]), (&10.into(), &"failed".into()));
    assert_eq!(listed["next_at"], Value::Null);
    world.clock.pass(10 * DAY_MS);
    assert!(world.turn().await.is_empty());
    assert_eq!(world.desk.0.state().waiting(), 0);
}

#[tokio::test]
async fn whatever_is_no_success_is_tried_again_and_named() {
    let world = World::new().await;
    let elsewhere = world.server.url("/elsewhere");
    for (path, reply, status, error) in [
        ("/a", Reply::Status(199), None, Some("answer")),
        ("/b", Reply::Status(301), Some(301), None),
        ("/c", Reply::Redirect(elsewhere), Some(307), None),
        ("/d", Reply::Status(404), Some(404), None),
        ("/e", Reply::Hang, None, Some("timeout")),
        ("/f", Reply::Cut, None, Some("answer")),
        ("/g", Reply::Noise, None, Some("answer")),
    ] {
        let (id, _) = world.hook(path, &["month.closed"], &["*"]).await;
        world.server.reply(path, reply);
        world.test(&id).await;
        let got = world.turn().await;
        assert_eq!(got.iter().map(|seen| &*seen.path).collect::<Vec<_>>(), [path]);
        let listed = &world.deliveries(&id)[0];
        assert_eq!(listed["state"], "waiting", "{path}");
        assert_eq!(listed["last"]["status"], serde_json::json!(status), "{path}");
        assert_eq!(listed["last"]["error"], serde_json::json!(error), "{path}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_told_nothing_more() {
    let mut world = World::new().await;
    let (id, _) = world.hook("/gone", &["threshold.reached"], &["*"]).await;
    world.server.reply("/gone", Reply::Status(500));
    world.set(vec![november("A", 85)]);
    assert_eq!(world.turn().await.len(), 2);
    world.server.reply("/gone", Reply::Status(410));
    let test = world.test(&id).await;
    assert_eq!(world.turn().await.len(), 1);
    for _ in 0..2 {
        world.set(vec![november("A", 100)]);
        world.clock.pass(DAY_MS);
        assert!(world.turn().await.is_empty());
        for listed in world.deliveries(&id) {
            let own = listed["id"] == *test;
            assert_eq!(listed["state"], if own { "failed" } else { "dropped" });
        }
        let list = String::from_utf8(world.desk.list(&all())).unwrap();
        assert!(list.contains("\"state\":\"disabled\""), "{list}");
        assert_eq!(world.desk.test(&all(), &id).await, Err(HookError::Disabled));
        assert_eq!(world.desk.0.state().disabled(), 1);
        world.restart();
    }
}

#[tokio::test]
async fn what_waits_survives_a_restart_and_what_is_done_stays_done() {
    let mut world = World::new().await;
    let (id, _) = world.hook("/in", &["threshold.reached"], &["*"]).await;
    world.set(vec![november("A", 50)]);
    assert_eq!(world.turn().await.len(), 1);
    world.server.reply("/in", Reply::Status(500));
    world.set(vec![november("A", 80)]);
    let tried = world.turn().await;
    assert_eq!(tried.len(), 1);
    world.restart();
    world.server.reply("/in", Reply::Status(200));
    assert!(world.turn().await.is_empty(), "before its time");
    world.clock.pass(5_000);
    let again = world.turn().await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].id(), &again[0].body), (tried[0].id(), &tried[0].body));
    world.restart();
    world.clock.pass(DAY_MS);
    assert!(world.turn().await.is_empty());
    assert_eq!(world.deliveries(&id).len(), 2);
}

/// Cut before every change of a whole life, and gone on with by another process.
#[tokio::test]
async fn cut_anywhere_nothing_is_lost_and_no_id_changes() {
    let whole = life(usize::MAX).await;
    assert!((10..40).contains(&whole), "{whole} changes");
    for cut in 0..whole {
        life(cut).await;
    }
}

/// A life with a cut before the change of this number; how many changes there were.
async fn life(cut: usize) -> usize {
    let mut world = World::new().await;
    world.source.with(|inside| inside.changes_left = Some(cut));
    let url = world.server.url("/in");
    let body = format!(r#"{{"url":"{url}","events":["threshold.reached","month.closed"]}}"#);
    let made = world.desk.create(&all(), &mut body.clone().into_bytes()).await;
    if made.is_err() {
        world.restart();
        assert!(world.desk.0.state().endpoints.is_empty(), "cut {cut}");
        world.desk.create(&all(), &mut body.into_bytes()).await.unwrap();
        let made = |inside: &mut fake::Inside| {
            let numbers = inside.noted.iter().map(|(_, event)| format!("{event:?}"));
            let numbers: std::collections::BTreeSet<_> = numbers.collect();
            numbers.len() == inside.noted.len()
        };
        assert!(world.source.with(made), "cut {cut}: two endpoints have one number");
    }
    let mut ids = std::collections::BTreeMap::<String, Vec<String>>::new();
    world.set(vec![november("A", 100)]);
    for step in 0..3 {
        let scanned = world.desk.0.scan().await;
        world.send().await;
        if scanned.is_err() {
            world.restart();
        }
        if step == 1 {
            let mut closed = november("A", 101);
            world.clock.pass(30 * DAY_MS);
            closed.closed_at = Some(world.clock.now());
            world.set(vec![closed]);
        }
        for seen in world.server.take() {
            ids.entry(seen.id().to_owned()).or_default().push(seen.body);
        }
    }
    let left = world.source.with(|inside| inside.changes_left);
    world.restart();
    for seen in world.turn().await {
        ids.entry(seen.id().to_owned()).or_default().push(seen.body);
    }
    // Three thresholds and the close, each under its own id, each id with one text only.
    assert_eq!(ids.len(), 4, "cut {cut}: {ids:?}");
    for bodies in ids.values() {
        assert!(bodies.iter().all(|body| *body == bodies[0]), "cut {cut}: {bodies:?}");
        assert!(bodies.len() <= 2, "cut {cut}: {bodies:?}");
    }
    cut - left.unwrap_or(0)
}

#[tokio::test]
async fn a_slow_endpoint_delays_no_other() {
    let deadline = Duration::from_secs(60);
    let world =
        World::with(Settings { allow_internal: true, deadline, ..Settings::default() }).await;
    let (slow, _) = world.hook("/slow", &["threshold.reached"], &["*"]).await;
    let (quick, _) = world.hook("/quick", &["threshold.reached"], &["*"]).await;
    world.server.reply("/slow", Reply::Hang);
    world.set((0..20).map(|n| november(&format!("S{n}"), 60)).collect());
    world.look().await;
    let mut running = JoinSet::new();
    let done = |id: &str| {
        world.deliveries(id).iter().filter(|listed| listed["state"] == "delivered").count()
    };
    while done(&quick) < 20 {
        world.desk.start_due(&mut running);
        running.join_next().await.unwrap().unwrap();
    }
    assert_eq!(done(&slow), 0);
    let asked = world.server.take().iter().filter(|seen| seen.path == "/slow").count();
    assert_eq!(asked, 2, "the slow one has its own lane and no more");
    assert_eq!(world.desk.0.state().waiting(), 20);
}

#[tokio::test]
async fn two_secrets_sign_for_a_day() {
    let mut world = World::new().await;
    let (id, old) = world.hook("/in", &["month.closed"], &["*"]).await;
    let rotated = world.desk.rotate(&all(), &id).await.unwrap();
    let rotated: Value = serde_json::from_slice(&rotated).unwrap();
    let new = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated["previous_secret_until"], "2026-11-23T04:16:00Z");
    assert_ne!(new, old);
    for _ in 0..2 {
        world.test(&id).await;
        let seen = &world.turn().await[0];
        let both = format!("{} {}", signature(&new, seen), signature(&old, seen));
        assert_eq!(seen.headers["webhook-signature"], both);
        world.restart();
    }
    world.clock.pass(DAY_MS);
    world.test(&id).await;
    let seen = &world.turn().await[0];
    assert_eq!(seen.headers["webhook-signature"], signature(&new, seen));
}

#[tokio::test]
async fn a_clock_that_is_set_back_delays_nothing() {
    let world = World::new().await;
    let (id, _) = world.hook("/in", &["month.closed"], &["*"]).await;
    world.server.reply("/in", Reply::Status(500));
    world.test(&id).await;
    assert_eq!(world.turn().await.len(), 1);
    world.clock.pass(-30 * DAY_MS);
    assert_eq!(world.turn().await.len(), 1, "it would wait for a month");
    world.test(&id).await;
    world.clock.pass(-DAY_MS);
    assert_eq!(world.turn().await.len(), 2);
}

/// A resolver that answers from a list, the last one again and again.
struct Script(Vec<Vec<SocketAddr>>, AtomicUsize);

impl Resolve for Script {
    fn resolve<'a>(&'a self, host: &'a str, _port: u16) -> Resolving<'a> {
        assert_eq!(host, "hooks.example.com");
        let call = self.1.fetch_add(1, Ordering::Relaxed).min(self.0.len() - 1);
        Box::pin(std::future::ready(Ok(self.0[call].clone())))
    }
}

async fn script(world: &mut World, allow: bool, answers: Vec<Vec<SocketAddr>>) -> Arc<Script> {
    let script = Arc::new(Script(answers, AtomicUsize::new(0)));
    let settings = Settings { allow_internal: allow, ..world.settings.clone() };
    let (source, clock) = (world.source.clone(), world.clock.clone());
    world.desk = Webhooks::with_resolver(source, settings, clock, script.clone()).unwrap();
    script
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_asked() {
    let mut world = World::new().await;
    let inside = world.server.address();
    let outside: SocketAddr = "1.1.1.1:443".parse().unwrap();
    for answer in [vec![inside], vec![outside, inside], vec![], vec!["[::1]:1".parse().unwrap()]] {
        let error = if answer.is_empty() { "name" } else { "internal_address" };
        let asked = script(&mut world, false, vec![answer]).await;
        let url = format!("https://hooks.example.com:{}/", inside.port());
        let body = format!(r#"{{"url":"{url}","events":["month.closed"]}}"#);
        let made = world.desk.create(&all(), &mut body.into_bytes()).await.unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let id = made["id"].as_str().unwrap();
        world.test(id).await;
        assert!(world.turn().await.is_empty());
        assert_eq!(world.deliveries(id)[0]["last"]["error"], error);
        assert_eq!(asked.1.load(Ordering::Relaxed), 1);
        world.desk.remove(&all(), id).await.unwrap();
    }
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_asked() {
    let mut world = World::new().await;
    let (other, here) = (Server::start().await, world.server.address());
    let asked = script(&mut world, true, vec![vec![here], vec![other.address()]]).await;
    let body = r#"{"url":"http://hooks.example.com/x","events":["month.closed"]}"#;
    let made = world.desk.create(&all(), &mut body.to_owned().into_bytes()).await.unwrap();
    let made: Value = serde_json::from_slice(&made).unwrap();
    world.test(made["id"].as_str().unwrap()).await;
    let got = world.turn().await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].headers["host"], "hooks.example.com");
    assert_eq!(asked.1.load(Ordering::Relaxed), 1, "a second look may lead elsewhere");
    assert!(other.take().is_empty());
}

#[tokio::test]
async fn an_endpoint_from_inside_is_not_asked_once_that_is_forbidden() {
    let mut world = World::new().await;
    let (id, _) = world.hook("/in", &["month.closed"], &["*"]).await;
    world.settings.allow_internal = false;
    world.restart();
    world.test(&id).await;
    assert!(world.turn().await.is_empty());
    assert_eq!(world.deliveries(&id)[0]["last"]["error"], "internal_address");
}

#[tokio::test]
async fn tls_needs_a_certificate_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (known, strange) = (folder.path().join("known.pem"), folder.path().join("strange.pem"));
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (own, other) = (made("localhost"), made("localhost"));
    std::fs::write(&known, own.cert.pem()).unwrap();
    std::fs::write(&strange, other.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    let server = Server::start_with(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await;
    for (roots, host, error) in [
        (&known, "localhost", Value::Null),
        (&strange, "localhost", "tls".into()),
        (&known, "127.0.0.1", "tls".into()),
    ] {
        let roots = Some(roots.clone());
        let deadline = Duration::from_secs(20);
        let settings = Settings { allow_internal: true, roots, deadline, ..Settings::default() };
        let world = World::with(settings).await;
        let url = format!("https://{host}:{}/in", server.address().port());
        let body = format!(r#"{{"url":"{url}","events":["month.closed"]}}"#);
        let made = world.desk.create(&all(), &mut body.into_bytes()).await.unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let id = made["id"].as_str().unwrap();
        world.test(id).await;
        world.turn().await;
        assert_eq!(server.take().len(), usize::from(error.is_null()));
        assert_eq!(world.deliveries(id)[0]["last"]["error"], error, "{host}");
    }
}
