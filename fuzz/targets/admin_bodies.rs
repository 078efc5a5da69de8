//! The bodies of sites and tokens: what is taken is what `serde_json` reads, inside the bounds of
//! the contract, and a flaw names nothing but members.
#![no_main]

use blindtally::model::caller::SiteScope;
use blindtally::model::limits;
use blindtally::model::site::SiteSettings;
use blindtally::wire::admin::{self, SitePatch, TokenRequest};
use blindtally::wire::fault::Flaw;
use blindtally_fuzz::choose;
use blindtally_fuzz::json::{self, Json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MEMBERS: &[&str] = &[
    "name",
    "time_zone",
    "sentinel_user_ids",
    "retention",
    "records_days",
    "plan_mau",
    "billing_group",
    "device_as_user",
    "include_failures",
    "count_renewals",
    "anonymous_by_device",
    "user_id_trim",
    "user_id_nfc",
    "user_id_lower",
    "pseudonym_algorithm",
    "billing_group_algorithm",
    "blake3",
    "closing_hours",
    "role",
    "sites",
    "expires_in_days",
    "producer",
    "producers",
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = choose(data, 2) else { return };
    let value = match json::read(body) {
        Json::Valid(value) => Some(value),
        Json::Broken => None,
        Json::Unsure => return,
    };
    let mut room = body.to_vec();
    if choice == 0 {
        match SitePatch::parse(&mut room) {
            Ok(patch) => site(&patch, &value.expect("what is taken is JSON"), body),
            Err(flaw) => check(flaw),
        }
    } else {
        match TokenRequest::parse(&mut room) {
            Ok(request) => token(&request, &value.expect("what is taken is JSON"), body),
            Err(flaw) => check(flaw),
        }
    }
});

fn check(flaw: Flaw) {
    for part in flaw.pointer.to_string().split('/').skip(1) {
        assert!(MEMBERS.contains(&part) || part.parse::<u16>().is_ok(), "{part}");
    }
}

fn once(value: &Value, body: &[u8]) {
    assert!(value.is_object());
    assert_eq!(json::members(value), json::shape(body).1, "a member twice was taken");
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
    list.collect()
}

fn site(patch: &SitePatch, value: &Value, body: &[u8]) {
    once(value, body);
    assert_eq!(patch.name.as_deref(), value["name"].as_str());
    assert_eq!(patch.time_zone.as_deref(), value["time_zone"].as_str());
    assert_eq!(patch.sentinel_user_ids, texts(&value["sentinel_user_ids"]));
    let days = value["retention"].get("records_days");
    assert_eq!(patch.records_days, days.map(|days| days.as_u64().map(|days| days as u32)));
    assert!(patch.name.as_ref().is_none_or(|name| name.len() <= admin::NAME_BYTES_MAX));
    let days = patch.records_days.flatten();
    assert!(days.is_none_or(|days| (1..=admin::RECORDS_DAYS_MAX).contains(&days)));
    let plan = value.get("plan_mau");
    assert_eq!(patch.plan_mau, plan.map(Value::as_u64));
    let plan = patch.plan_mau.flatten();
    assert!(plan.is_none_or(|plan| (1..=admin::PLAN_MAU_MAX).contains(&plan)));
    let once = patch.apply(&SiteSettings::default());
    assert_eq!(patch.apply(&once), once);
}

fn token(request: &TokenRequest, value: &Value, body: &[u8]) {
    once(value, body);
    assert_eq!(Some(request.role.name()), value["role"].as_str());
    let sites = texts(&value["sites"]).expect("sites are texts");
    match &request.sites {
        SiteScope::All => assert_eq!(sites, ["*"]),
        SiteScope::Some(some) => {
            assert!(!sites.is_empty());
            assert!(sites.iter().all(|site| some.iter().any(|known| known.as_str() == site)));
            assert!(some.iter().all(|known| sites.iter().any(|site| known.as_str() == site)));
        }
    }
    let days = value["expires_in_days"].as_u64().unwrap_or(admin::TOKEN_DAYS.into());
    assert_eq!(u64::from(request.expires_in_days), days);
    assert!((1..=admin::TOKEN_DAYS_MAX).contains(&request.expires_in_days));
    assert_eq!(request.name, value["name"].as_str().unwrap_or_default());
    assert_eq!(request.producer, value["producer"].as_str().unwrap_or(&request.name));
    assert!(request.producer.len() <= limits::PRODUCER_BYTES_MAX);
    assert_eq!(request.producers, texts(&value["producers"]));
}
