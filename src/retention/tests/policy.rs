//! The policy as data, and its notice.

use super::super::clock::ROW;
use super::*;
use crate::model::time::Day;
use crate::model::vocab::RecordType;
use crate::retention::inventory::{
    By, DESK_ROWS, HERE, Inventory, Life, ROWS, Sweep, TABLES, TYPES, covered,
};
use crate::retention::policy::{Period, RetentionClass};
use crate::store::{Half, Table};
use crate::wire::retention::rows::ClockRow;

fn text(published: &str, effective: &str, material: bool, periods: &str) -> String {
    format!(
        r#"{{"profile":"kr-pipa","published":"{published}","effective":"{effective}",
            "material":{material},"periods":{periods}}}"#
    )
}

fn read(text: &str) -> Result<Policy, PolicyError> {
    Policy::read(text.as_bytes(), &Policy::of(Profile::KrPipa), Profile::KrPipa)
}

#[test]
fn check_39_every_record_type_and_table_has_a_rule() {
    for profile in Profile::ALL {
        let policy = Policy::of(*profile);
        policy.check(crate::model::limits::AGE_MS_MAX).unwrap();
        for class in RetentionClass::ALL {
            let rule = policy.rule(*class).unwrap();
            assert!(!rule.ground.is_empty() && !rule.content.is_empty(), "{class}");
        }
    }
    for kind in RecordType::ALL {
        let (_, class) = TYPES.iter().find(|(known, _)| known == kind).unwrap();
        // The buckets of the engine are those of the policy.
        assert_eq!(*class, RetentionClass::from(kind.class()));
    }
    let month = month("2026-05");
    let class = Class::Records;
    let tables = [
        Table::Meta,
        Table::Journal(Half::A),
        Table::Counters,
        Table::Arrivals,
        Table::Answers,
        Table::Backfill,
        Table::Seen,
        Table::Tally(month),
        Table::Blocks(class, month),
        Table::Headers(class, month),
        Table::BlockKeys(class, month),
        Table::HoldRows,
        Table::HoldKeys,
        Table::Roll,
    ];
    // `kind` fails to compile when a table is added, and then it belongs into both lists.
    assert_eq!(tables.map(Table::kind), Table::KINDS);
    for table in tables {
        assert!(table.name().starts_with(table.kind()));
        assert!(TABLES.iter().any(|(kind, _)| *kind == table.kind()), "{}", table.kind());
    }
    assert_eq!(TABLES.len(), Table::KINDS.len());
}

#[test]
fn check_39_what_has_no_rule_stops_the_start() {
    let rules = Policy::of(Profile::KrPipa).rules;
    assert_eq!(covered(&rules, HERE), Ok(()));
    for at in 0..TYPES.len() {
        let mut types = TYPES.to_vec();
        let (kind, _) = types.remove(at);
        let here = Inventory { types: &types, ..HERE };
        assert_eq!(covered(&rules, here), Err(PolicyError::Type(kind)));
    }
    for at in 0..TABLES.len() {
        let mut tables = TABLES.to_vec();
        let (kind, _) = tables.remove(at);
        let here = Inventory { tables: &tables, ..HERE };
        assert_eq!(covered(&rules, here), Err(PolicyError::Table(kind)));
    }
    for at in 0..ROWS.len() {
        let mut rows = ROWS.to_vec();
        let (kind, _) = rows.remove(at);
        let here = Inventory { rows: &rows, ..HERE };
        assert_eq!(covered(&rules, here), Err(PolicyError::Row(kind)));
    }
    for at in 0..rules.len() {
        let mut rules = rules.clone();
        let gone = rules.remove(at).class;
        assert_eq!(covered(&rules, HERE), Err(PolicyError::Class(gone)));
    }
    assert!(TABLES.iter().any(|(_, life)| matches!(life, Life::Engine(_))));
    let policy = Policy::of(Profile::KrPipa);
    assert_eq!(policy.check(181 * DAY_MS), Err(PolicyError::Age));
    // A row of the desk that nobody knows.
    let world = World::at("2026-06-01T00:00:00Z");
    world.vault.with(|inside| inside.rows.insert("novel/1".to_owned(), Vec::new()));
    let (vault, clock) = (world.vault.clone(), world.clock.clone());
    let opened = Desk::new(vault, world.ledger.clone(), Settings::default(), clock);
    assert!(opened.err().unwrap().to_string().contains("a row of a kind without"));
    assert_eq!(DESK_ROWS.iter().filter(|(name, _)| name.ends_with('/')).count(), 12);
}

/// Whatever has an end has somebody who makes it, and whatever has none has nobody who does.
#[test]
fn check_39_a_rule_that_nobody_carries_out_stops_the_start() {
    let rules = Policy::of(Profile::KrPipa).rules;
    let other = |life: Life| match life {
        Life::Class(class, By::Nobody) => Some(Life::Class(class, By::Lots)),
        Life::Class(class, _) => Some(Life::Class(class, By::Nobody)),
        Life::Hold | Life::Engine(_) | Life::Sweep(..) | Life::Lots(_) => None,
    };
    let mut tried = 0;
    for at in 0..TABLES.len() {
        let mut tables = TABLES.to_vec();
        let Some(life) = other(tables[at].1) else { continue };
        tables[at].1 = life;
        let here = Inventory { tables: &tables, ..HERE };
        assert_eq!(covered(&rules, here), Err(PolicyError::Endless(tables[at].0)));
        tried += 1;
    }
    for at in 0..ROWS.len() {
        let mut rows = ROWS.to_vec();
        let Some(life) = other(rows[at].1) else { continue };
        rows[at].1 = life;
        let here = Inventory { rows: &rows, ..HERE };
        assert_eq!(covered(&rules, here), Err(PolicyError::Endless(rows[at].0)));
        tried += 1;
    }
    for at in 0..DESK_ROWS.len() {
        let mut rows = DESK_ROWS.to_vec();
        let Some(life) = other(rows[at].1) else { continue };
        rows[at].1 = life;
        let here = Inventory { desk: &rows, ..HERE };
        assert_eq!(covered(&rules, here), Err(PolicyError::Endless(rows[at].0)));
        tried += 1;
    }
    assert_eq!(tried, 19, "a new row with a rule is counted here");
    // A sweep that ends nothing is none. (That each is carried out the compiler sees.)
    let lives = TABLES.iter().chain(ROWS).chain(DESK_ROWS).map(|(_, life)| *life);
    let lives: Vec<Life> = lives.collect();
    for sweep in Sweep::ALL {
        let own = |life: &Life| match life {
            Life::Class(_, By::Sweep(of)) | Life::Sweep(of, _) => of == sweep,
            _ => false,
        };
        assert!(lives.iter().any(own), "{sweep}");
    }
}

#[test]
fn check_59_too_little_notice_is_refused() {
    let shorter = r#"{"c2_months":5}"#;
    let notice = |given, needed| Err(PolicyError::Notice { given, needed });
    let short = |effective| read(&text("2026-11-01", effective, false, shorter)).map(|_| ());
    assert_eq!(short("2026-11-07"), notice(6, 7));
    assert_eq!(short("2026-11-08"), Ok(()));
    assert_eq!(short("2026-10-01"), notice(-31, 7));
    let long = |effective| read(&text("2026-11-01", effective, true, shorter)).map(|_| ());
    assert_eq!(long("2026-11-30"), notice(29, 30));
    assert_eq!(long("2026-12-01"), Ok(()));
}

#[test]
fn keeping_longer_is_a_material_change() {
    for longer in [r#"{"c2_months":7}"#, r#"{"c3_objection_days":61}"#, r#"{"c7_months":7}"#] {
        let hidden = read(&text("2026-11-01", "2026-12-31", false, longer));
        assert_eq!(hidden, Err(PolicyError::Material), "{longer}");
        read(&text("2026-11-01", "2026-12-01", true, longer)).unwrap();
    }
}

#[test]
fn periods_and_form_are_checked() {
    let good = read(&text("2026-11-01", "2026-12-01", true, r#"{"c7_months":12}"#)).unwrap();
    let rule = |class| good.rule(class).unwrap().period;
    assert_eq!(rule(RetentionClass::Detections), Period::Months(12));
    assert_eq!(rule(RetentionClass::Records), Period::Months(6));
    assert_eq!((good.published, good.effective), (Day(20_758), Day(20_788)));
    for bad in [r#"{"c2_months":0}"#, r#"{"c2_months":121}"#, r#"{"c3_objection_days":181}"#] {
        let refused = read(&text("2026-11-01", "2026-12-01", true, bad));
        assert_eq!(refused, Err(PolicyError::Range), "{bad}");
    }
    for bad in ["", "[]", "{}", r#"{"c9_days":1}"#] {
        assert_eq!(read(bad), Err(PolicyError::Form), "{bad}");
    }
    let unknown = text("2026-11-01", "2026-12-01", true, r#"{"c9_days":1}"#);
    assert_eq!(read(&unknown), Err(PolicyError::Form));
    let elsewhere = text("2026-11-01", "2026-12-01", true, "{}").replace("kr-pipa", "eu-gdpr");
    assert_eq!(read(&elsewhere), Err(PolicyError::Profile));
    let sentences =
        [PolicyError::Form, PolicyError::Range, PolicyError::Notice { given: 6, needed: 7 }];
    for sentence in sentences {
        assert!(sentence.to_string().contains("retention policy"), "{sentence}");
    }
}

/// A world whose only lot, the records of May, is due on 1 December, or on 1 November by a policy
/// with these dates that keeps records for five months.
fn with_policy(now: &str, published: &str, effective: &str) -> (World, PathBuf) {
    let vault = Memory::default();
    let site = site("ACME", 1, "UTC", None);
    vault.with(|inside| {
        inside.lots = vec![lots_of(&site, "2026-05", 100).remove(0)];
        inside.sites.insert(site.id.clone(), Arc::new(site));
    });
    let folder = tempfile::tempdir().unwrap().keep();
    let path = folder.join("policy.json");
    std::fs::write(&path, text(published, effective, false, r#"{"c2_months":5}"#)).unwrap();
    let settings = Settings { policy: Some(path), ..Settings::default() };
    (World::over(vault, at(now), settings), folder)
}

fn loaded(world: &World) -> usize {
    world.kinds().iter().filter(|kind| **kind == "policy_adopted").count()
}

#[tokio::test]
async fn a_policy_takes_effect_on_its_day_and_the_ledger_says_so() {
    let (mut world, folder) = with_policy("2026-10-31T12:00:00Z", "2026-11-01", "2026-11-09");
    world.run().await.unwrap();
    // Five months after the end of May are over, six are not.
    assert_eq!(world.live_until(at("2026-11-08T23:59:59Z")).await, 0);
    world.clock.set(at("2026-11-09T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    assert_eq!(loaded(&world), 2);
    // It stays in force without its file.
    std::fs::remove_dir_all(&folder).unwrap();
    let settings = Settings::default();
    let (vault, ledger, clock) = (world.vault.clone(), world.ledger.clone(), world.clock.clone());
    world.desk = Desk::new(vault, ledger, settings, clock).unwrap();
    world.run().await.unwrap();
    assert_eq!(loaded(&world), 2);
    assert!(world.list(None).contains("\"effective\":\"2026-11-09\""));
    assert!(world.list(None).contains("5 months"));
}

#[tokio::test]
async fn check_59_notice_is_counted_from_when_the_server_saw_the_policy() {
    // By its own dates it has been in force for half a year.
    let (mut world, folder) = with_policy("2026-11-02T12:00:00Z", "2026-05-01", "2026-05-08");
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    world.restart();
    assert_eq!(world.live_until(at("2026-11-09T23:59:59Z")).await, 0);
    assert_eq!(loaded(&world), 1, "the built-in one only");
    // Seven whole days later, from the next day on.
    world.clock.set(at("2026-11-10T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    let told = world.entries().into_iter().filter_map(|entry| match entry.event {
        Event::PolicyAdopted { in_force_from, .. } => Some(in_force_from),
        _ => None,
    });
    assert_eq!(told.last(), Some(at("2026-11-10T00:00:00Z").day()), "not what the file says");
    // And so it is shown after a start.
    world.restart();
    assert!(world.list(None).contains("\"effective\":\"2026-11-10\""));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn check_59_a_policy_that_was_withdrawn_needs_its_notice_again() {
    let (mut world, folder) = with_policy("2026-11-02T00:00:00Z", "2026-05-01", "2026-05-08");
    let with = world.desk.0.settings.clone();
    world.run().await.unwrap();
    for settings in [Settings::default(), with] {
        let (vault, ledger) = (world.vault.clone(), world.ledger.clone());
        world.desk = Desk::new(vault, ledger, settings, world.clock.clone()).unwrap();
        assert_eq!(world.run().await.unwrap().destroyed, 0);
        assert_eq!(world.live_until(Timestamp(world.clock.now().0 + 6 * DAY_MS)).await, 0);
    }
    assert_eq!(world.clock.now(), at("2026-11-14T00:00:00Z"));
    assert_eq!(world.live_until(at("2026-11-16T00:00:00Z")).await, 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn check_59_a_material_change_waits_for_thirty_days() {
    let (mut world, folder) = with_policy("2026-11-02T00:00:00Z", "2026-05-01", "2026-06-01");
    let material = text("2026-05-01", "2026-06-01", true, r#"{"c2_months":5}"#);
    std::fs::write(folder.join("policy.json"), material).unwrap();
    world.restart();
    // Due on 1 December by the new policy, on 1 January by the one before.
    world.vault.with(|inside| inside.lots[0].ends_at = at("2026-07-01T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    assert_eq!(world.live_until(at("2026-12-01T23:59:59Z")).await, 0);
    world.clock.set(at("2026-12-02T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_policy_that_cannot_be_used_stops_the_start() {
    let world = World::at("2026-06-01T00:00:00Z");
    let path = world.folder.path().join("policy.json");
    std::fs::write(&path, text("2026-11-01", "2026-11-02", false, "{}")).unwrap();
    let open = |policy: PathBuf| {
        let settings = Settings { policy: Some(policy), ..Settings::default() };
        let (vault, clock) = (world.vault.clone(), world.clock.clone());
        Desk::new(vault, world.ledger.clone(), settings, clock).err().unwrap().to_string()
    };
    assert!(open(path).contains("needs 7 days of notice"));
    assert!(open("/nowhere/policy.json".into()).contains("cannot be read"));
}

#[tokio::test]
async fn check_59_another_profile_needs_the_notice_of_a_material_change() {
    let world = World::at("2026-11-10T00:00:00Z");
    let path = world.folder.path().join("policy.json");
    let open = |policy: Option<&PathBuf>, profile| {
        let settings = Settings { profile, policy: policy.cloned(), ..Settings::default() };
        let (vault, clock) = (world.vault.clone(), world.clock.clone());
        Desk::new(vault, world.ledger.clone(), settings, clock)
    };
    let sentence = |opened: Result<Desk, StartError>| opened.err().unwrap().to_string();
    // Before anything was in force either is good.
    open(None, Profile::EuGdpr).unwrap();
    world.run().await.unwrap();
    let said = sentence(open(None, Profile::EuGdpr));
    assert!(said.contains("kr-pipa, which is in force") && said.contains("30 days"), "{said}");
    let write = |effective: &str, material| {
        let doc = text("2026-11-01", effective, material, "{}").replace("kr-pipa", "eu-gdpr");
        std::fs::write(&path, doc).unwrap();
    };
    write("2026-11-30", true);
    assert!(sentence(open(Some(&path), Profile::EuGdpr)).contains("needs 30 days"));
    write("2026-11-30", false);
    assert!(sentence(open(Some(&path), Profile::EuGdpr)).contains("\"material\": true"));
    write("2026-12-01", true);
    assert!(sentence(open(Some(&path), Profile::KrPipa)).contains("another profile than"));
    let desk = open(Some(&path), Profile::EuGdpr).unwrap();
    let profile = |desk: &Desk| {
        let question = Question { site: None, state: None, limit: 1, from: 0 };
        let listed = desk.list(&caller(Role::Auditor, 0), &question).unwrap();
        let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
        listed["policy"]["profile"].as_str().unwrap().to_owned()
    };
    world.clock.set(at("2026-11-12T00:00:00Z"));
    desk.run_by(Actor::Server).await.unwrap();
    assert_eq!(profile(&desk), "kr-pipa", "until its day");
    // Taken back before its day: nothing has changed.
    open(None, Profile::KrPipa).unwrap();
    for day in [
        "2026-11-14",
        "2026-11-17",
        "2026-11-20",
        "2026-11-23",
        "2026-11-26",
        "2026-11-29",
        "2026-12-01",
        "2026-12-04",
        "2026-12-07",
        "2026-12-10",
        "2026-12-13",
    ] {
        world.clock.set(at(&format!("{day}T00:00:00Z")));
        desk.run_by(Actor::Server).await.unwrap();
    }
    assert_eq!(profile(&desk), "eu-gdpr");
    // From now on it is the one in force, with and without its file.
    open(Some(&path), Profile::EuGdpr).unwrap();
    assert_eq!(profile(&open(None, Profile::EuGdpr).unwrap()), "eu-gdpr");
    assert!(sentence(open(None, Profile::KrPipa)).contains("eu-gdpr, which is in force"));
}

/// What an earlier build announced, with a digest that this one does not make.
fn announced_before(world: &World, profile: &'static str) {
    let digest = crate::ledger::Digest([0x5a; 32]);
    let event = Event::PolicyLoaded {
        digest,
        profile: crate::ledger::Word::of(profile),
        published: Day(20_454),
        effective: Day(20_485),
    };
    world.ledger.append(Entry::new(world.clock.now(), Actor::Server, event)).unwrap();
    world.vault.with(|inside| {
        inside.rows.remove(POLICY);
        let row = ClockRow::parse(&inside.rows[ROW]).unwrap();
        let row = ClockRow { policy: digest, ..row };
        inside.rows.insert(ROW.to_owned(), row.to_bytes().unwrap());
    });
}

fn opened(world: &World, policy: Option<PathBuf>, profile: Profile) -> Result<Desk, StartError> {
    let settings = Settings { profile, policy, ..Settings::default() };
    Desk::new(world.vault.clone(), world.ledger.clone(), settings, world.clock.clone())
}

/// An upgrade and a changed setting in one go are no notice.
#[tokio::test]
async fn check_59_an_upgrade_lets_no_other_periods_in() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    announced_before(&world, "kr-pipa");
    let refused = opened(&world, None, Profile::EuGdpr).err().unwrap().to_string();
    assert!(refused.contains("kr-pipa, which is in force"), "{refused}");
    let desk = opened(&world, None, Profile::KrPipa).unwrap();
    desk.run_by(Actor::Server).await.unwrap();
    // From then on it is kept with its periods, and no digest of any text is asked.
    let kept = world.vault.with(|inside| inside.rows[POLICY].clone());
    let kept = String::from_utf8(kept).unwrap();
    assert!(kept.contains(r#""c2_months":6,"c3_objection_days":60,"c7_months":6"#), "{kept}");
    // A build whose built-in policy keeps longer: what is kept stays in force.
    let before = kept.replace(r#""c2_months":6"#, r#""c2_months":4"#);
    world.vault.with(|inside| inside.rows.insert(POLICY.to_owned(), before.into_bytes()));
    let desk = opened(&world, None, Profile::KrPipa).unwrap();
    assert_eq!(desk.0.policy.months(RetentionClass::Records), 4);
}

/// A policy that the ledger knows and nobody else.
#[tokio::test]
async fn a_start_without_the_policy_in_force_is_refused() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.run().await.unwrap();
    let path = world.folder.path().join("policy.json");
    let doc = text("2026-03-01", "2026-04-01", true, r#"{"c2_months":3}"#);
    std::fs::write(&path, &doc).unwrap();
    let digest = Policy::kept(doc.as_bytes()).unwrap().digest;
    world.vault.with(|inside| {
        inside.rows.remove(POLICY);
        let row = ClockRow::parse(&inside.rows[ROW]).unwrap();
        let row = ClockRow { policy: crate::ledger::Digest(digest), ..row };
        inside.rows.insert(ROW.to_owned(), row.to_bytes().unwrap());
    });
    let refused = opened(&world, None, Profile::KrPipa).err().unwrap().to_string();
    assert!(refused.contains("name its file there"), "{refused}");
    let desk = opened(&world, Some(path), Profile::KrPipa).unwrap();
    assert_eq!(desk.0.policy.months(RetentionClass::Records), 3, "at once");
}
