//! Where exports lie in time, and what they are of.

use super::*;
use crate::wire::export::{Amount, Format, Metric, Moment};

/// The periods of billing systems are those of UTC: what is of November must not lie in December,
/// neither there nor at the site.
#[tokio::test]
async fn an_export_lies_in_its_month_there_and_in_utc() {
    for (zone, from, to, expected) in [
        ("UTC", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", "2026-11-30T23:59:00Z"),
        (
            "America/Los_Angeles",
            "2026-11-01T07:00:00Z",
            "2026-12-01T08:00:00Z",
            "2026-11-30T23:59:00Z",
        ),
        ("Asia/Seoul", "2026-10-31T15:00:00Z", "2026-11-30T15:00:00Z", "2026-11-30T14:59:00Z"),
    ] {
        let world = World::new();
        let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
        let mut usage = world.memory.usage.lock().unwrap().clone().unwrap();
        usage.time_zone = zone.to_owned();
        (usage.span.from, usage.span.to) = (at(from), at(to));
        *world.memory.usage.lock().unwrap() = Some(usage);
        let wanted = Wanted {
            format: Format::OpenMeter,
            metric: Metric::Mau,
            amount: Amount::Total,
            moment: Moment::MonthEnd,
            version: None,
            event: None,
            customer: None,
        };
        let body = world.desk.export(site_id(), november(), wanted).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["time"], serde_json::json!(expected), "{zone}");
    }
}

/// Who is counted by devices is billed by devices; a second version bills late ones, too.
#[tokio::test]
async fn devices_that_stand_for_users_are_a_metric_of_their_own() {
    let world = World::new();
    {
        let mut usage = world.memory.usage.lock().unwrap();
        let tally = &mut usage.as_mut().unwrap().tally;
        (tally.counters.device_users, tally.corrections.device_users) = (120_000, 500);
        let mut recount = world.memory.recount.lock().unwrap();
        let found = recount.as_mut().unwrap();
        (found.device_users, found.late_device_users) = (120_000, 500);
    }
    let ask = |version, amount| {
        let wanted = Wanted {
            format: Format::Lago,
            metric: Metric::DeviceUsers,
            amount,
            moment: Moment::MonthEnd,
            version,
            event: None,
            customer: None,
        };
        let desk = world.desk.clone();
        async move {
            let body = desk.export(site_id(), november(), wanted).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let event = &body["event"];
            let id = event["transaction_id"].as_str().unwrap().to_owned();
            assert_eq!(event["code"], "drm_device_users");
            (event["properties"]["value"].as_u64().unwrap(), id)
        }
    };
    assert_eq!(ask(None, Amount::Total).await, (120_000, "bt-A-2026-11-v1-mdu".to_owned()));
    world.restate().await.unwrap();
    assert_eq!(ask(None, Amount::Total).await.0, 120_500);
    let more = ask(None, Amount::Difference).await;
    assert_eq!(more, (500, "bt-A-2026-11-v2-mdud".to_owned()));
    // A first version of an older form billed none, whatever it counted.
    let name = "statement/A/2026-11/0000000001";
    let old = world.memory.rows.lock().unwrap()[name].clone();
    let old = String::from_utf8(old).unwrap();
    let old = old.replace("statement/4", "statement/2").replace(r#","evidence":"live""#, "");
    let old = old.replace(r#","subjects_least":10"#, "");
    let old =
        old.replace(r#""licenses_issued":7,"device_users":120000}"#, r#""licenses_issued":7}"#);
    assert!(Statement::parse(old.as_bytes()).unwrap().body.billable.device_users.is_none());
    world.memory.rows.lock().unwrap().insert(name.to_owned(), old.into_bytes());
    assert_eq!(ask(Some(1), Amount::Total).await.0, 0);
    assert_eq!(ask(None, Amount::Difference).await.0, 120_500);
}
