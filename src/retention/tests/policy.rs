//! The policy as data, and its notice.

use super::*;
use crate::model::time::Day;
use crate::model::vocab::RecordType;
use crate::retention::policy::{Life, Period, RetentionClass, TABLES, TYPES, covered};
use crate::store::Table;

fn text(published: &str, effective: &str, material: bool, periods: &str) -> String {
    format!(
        r#"{{"profile":"kr-pipa","published":"{published}","effective":"{effective}",
            "material":{material},"periods":{periods}}}"#
    )
}

fn read(text: &str) -> Result<Policy, PolicyError> {
    Policy::read(text.as_bytes(), &Policy::of(Profile::KrPipa))
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
        Table::Journal,
        Table::Counters,
        Table::Answers,
        Table::Seen,
        Table::Tally(month),
        Table::Blocks(class, month),
        Table::Headers(class, month),
        Table::BlockKeys(class, month),
        Table::HoldRows,
        Table::HoldKeys,
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
    assert_eq!(covered(&rules, TYPES, TABLES), Ok(()));
    for at in 0..TYPES.len() {
        let mut types = TYPES.to_vec();
        let (kind, _) = types.remove(at);
        assert_eq!(covered(&rules, &types, TABLES), Err(PolicyError::Type(kind)));
    }
    for at in 0..TABLES.len() {
        let mut tables = TABLES.to_vec();
        let (kind, _) = tables.remove(at);
        assert_eq!(covered(&rules, TYPES, &tables), Err(PolicyError::Table(kind)));
    }
    for at in 0..rules.len() {
        let mut rules = rules.clone();
        let gone = rules.remove(at).class;
        assert_eq!(covered(&rules, TYPES, TABLES), Err(PolicyError::Class(gone)));
    }
    assert!(TABLES.iter().any(|(_, life)| matches!(life, Life::Engine(_))));
    let policy = Policy::of(Profile::KrPipa);
    assert_eq!(policy.check(181 * DAY_MS), Err(PolicyError::Age));
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

#[tokio::test]
async fn a_policy_takes_effect_on_its_day_and_the_ledger_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.json");
    std::fs::write(&path, text("2026-11-01", "2026-11-09", false, r#"{"c2_months":5}"#)).unwrap();
    let settings = Settings { policy: Some(path.clone()), ..Settings::default() };
    let vault = Memory::default();
    let site = site("ACME", 1, "UTC", None);
    vault.with(|inside| {
        inside.lots = vec![lots_of(&site, "2026-05", 100).remove(0)];
        inside.sites.insert(site.id.clone(), Arc::new(site));
    });
    let mut world = World::over(vault, at("2026-11-08T12:00:00Z"), settings);
    // Five months after the end of May are over, six are not.
    assert_eq!(world.run().await.unwrap().destroyed, 0);
    world.clock.set(at("2026-11-09T00:00:00Z"));
    assert_eq!(world.run().await.unwrap().destroyed, 1);
    let loaded = |kinds: &[&str]| kinds.iter().filter(|kind| **kind == "policy_loaded").count();
    assert_eq!(loaded(&world.kinds()), 2);
    // It stays in force without its file.
    std::fs::remove_file(&path).unwrap();
    let settings = Settings::default();
    let (vault, ledger, clock) = (world.vault.clone(), world.ledger.clone(), world.clock.clone());
    world.desk = Desk::new(vault, ledger, settings, clock).unwrap();
    world.run().await.unwrap();
    assert_eq!(loaded(&world.kinds()), 2);
    assert!(world.list(None).contains("\"effective\":\"2026-11-09\""));
    assert!(world.list(None).contains("5 months"));
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
