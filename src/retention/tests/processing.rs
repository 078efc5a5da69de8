//! The record of processing of a statement.

use super::*;
use crate::wire::retention::processing::ProcessingSaid;

async fn stated(world: &World, sites: SiteScope) -> serde_json::Value {
    let auditor = Token { sites, ..Token::clone(&caller(Role::Auditor, 1)) };
    let text = world.desk.evidence(&Arc::new(auditor)).await.unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Names and ids of the controllers.
fn controllers(stated: &serde_json::Value) -> Vec<(String, String)> {
    let list = stated["processing_record"]["controllers"].as_array().unwrap();
    let text = |one: &serde_json::Value, name: &str| one[name].as_str().unwrap().to_owned();
    list.iter().map(|one| (text(one, "site_id"), text(one, "name"))).collect()
}

#[tokio::test]
async fn what_the_program_cannot_know_is_said_or_missing() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.vault.with(|inside| {
        let site = inside.sites.get_mut(&site_id("ACME")).unwrap();
        let mut named = Site::clone(site);
        named.settings.name = "Acme Ltd".to_owned();
        *site = Arc::new(named);
    });
    let said = stated(&world, SiteScope::All).await;
    let record = &said["processing_record"];
    assert_eq!(record["of"], "GDPR Art. 30(2)");
    let own = [("ACME", "Acme Ltd"), ("B.C", "")];
    assert_eq!(controllers(&said), own.map(|(id, name)| (id.to_owned(), name.to_owned())));
    // Each class of the policy is a category, with a purpose.
    let categories = record["categories"].as_array().unwrap();
    let classes: Vec<&str> = categories.iter().map(|one| one["class"].as_str().unwrap()).collect();
    assert_eq!(classes, ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"]);
    for one in categories {
        for member in ["content", "period", "ground", "purpose", "subjects"] {
            assert!(!one[member].as_str().unwrap().is_empty(), "{one}");
        }
    }
    // What nobody said is null, and named.
    let missing: Vec<&str> =
        record["missing"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let needed = ["processor", "protection_officer", "controllers", "transfers", "measures"];
    assert_eq!(missing, needed.map(|name| format!("[evidence] {name}")));
    assert!(record["processor"].is_null() && record["transfers"]["said"].is_null());
    assert!(record["measures"]["program"].to_string().contains("a home in memory"));
    assert!(record["measures"]["program"].to_string().contains("the end of a site one person"));
    // One of some sites has theirs only.
    let some = stated(&world, SiteScope::Some([site_id("B.C")].into())).await;
    assert_eq!(controllers(&some), [("B.C".to_owned(), String::new())]);
}

#[tokio::test]
async fn what_the_operator_says_is_passed_on() {
    let said = |text: &str| Some(text.to_owned());
    let processing = ProcessingSaid {
        processor: said("Blind Ltd, Seoul"),
        representative: None,
        protection_officer: said("dpo at example.com"),
        controllers: said("contract register"),
        transfers: said("none"),
        measures: said("locked rooms"),
    };
    let settings = Settings { processing, two_people: true, ..Settings::default() };
    let world = World::over(Memory::default(), at("2026-06-01T00:00:00Z"), settings);
    let stated = stated(&world, SiteScope::All).await;
    let record = &stated["processing_record"];
    let texts = [
        &record["processor"],
        &record["protection_officer"],
        &record["controllers_contacts"],
        &record["transfers"]["said"],
        &record["measures"]["said"],
    ];
    let own = ["Blind Ltd, Seoul", "dpo at example.com", "contract register", "none"];
    assert_eq!(texts[..4].iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>(), own);
    assert_eq!(texts[4], "locked rooms");
    // A representative is not everybody's.
    assert!(record["missing"].as_array().unwrap().is_empty() && record["representative"].is_null());
    assert!(record["measures"]["program"].to_string().contains("the end of a site two people"));
}
