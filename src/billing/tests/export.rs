//! Where exports lie in time.

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
