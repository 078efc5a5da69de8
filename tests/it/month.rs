//! The month of a record is the calendar month of its site's zone, as read through the usage; the
//! bounds of months are those of the zone, with its summer time, and never move.

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use serde_json::Value;

use crate::support::{
    Place, Server, billing_token, get, post_records, producer_token, put_site, send_json, start,
    usage,
};

/// Zones on both sides of UTC, with summer time, a half hour, and the first day of all.
const ZONES: [&str; 6] = [
    "UTC",
    "Asia/Seoul",
    "America/New_York",
    "Europe/London",
    "Asia/Kolkata",
    "Pacific/Kiritimati",
];

fn site_of(zone: &str) -> String {
    zone.replace('/', "-")
}

/// The start of the present month in a zone; at least six hours ago, so that there is room on both
/// sides, and less than the accepted age.
fn boundary(zone: &str) -> Zoned {
    let zone = TimeZone::get(zone).expect("a zone");
    let past = Timestamp::now() - SignedDuration::from_hours(6);
    let month = past.to_zoned(zone).first_of_month();
    month.and_then(|day| day.start_of_day()).expect("a time")
}

fn name(at: &Zoned) -> String {
    at.strftime("%Y-%m").to_string()
}

/// A licence of a user; `at` as JSON.
fn line(site: &str, user: &str, at: &str) -> String {
    let event = format!("{user}-{}", at.trim_matches('"'));
    format!(
        "{{\"event_id\":\"{event}\",\"type\":\"drm.license.issued\",\"site_id\":\"{site}\",\
         \"occurred_at\":{at},\"outcome\":\"success\",\"user_id\":\"{user}\"}}\n"
    )
}

/// An instant in the spellings that producers use: UTC, the zone's own offset, milliseconds.
fn spellings(at: &Zoned) -> [String; 3] {
    let utc = at.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let local = at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
    let milliseconds = at.timestamp().as_millisecond();
    [format!("\"{utc}\""), format!("\"{local}\""), milliseconds.to_string()]
}

#[track_caller]
fn post(server: &Server, token: &str, lines: &str) {
    let answer = post_records(server, token, lines);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.count("accepted"), lines.lines().count() as u64, "{answer:?}");
}

#[track_caller]
fn instant(usage: &Value, member: &str) -> Timestamp {
    let text = usage[member].as_str().expect("a time");
    text.parse().expect("a time")
}

/// The last millisecond of a month and the first of the next are told apart, in every spelling,
/// and by the site's zone only; also after a restart.
#[test]
fn records_at_a_boundary_land_in_the_zones_month() {
    let place = Place::new();
    let mut server = start(&place, &[]);
    let (producer, billing) = (producer_token(&server), billing_token(&server));
    for zone in ZONES {
        let site = site_of(zone);
        put_site(&server, &site, &format!("{{\"time_zone\":\"{zone}\"}}"));
        let first = boundary(zone);
        let hour = SignedDuration::from_hours(1);
        let last = &first - SignedDuration::from_millis(1);
        let mut lines = String::new();
        for (number, at) in spellings(&last).iter().enumerate() {
            lines += &line(&site, &format!("before-{number}"), at);
        }
        lines += &line(&site, "both", &spellings(&(&first - hour))[0]);
        for (number, at) in spellings(&first).iter().enumerate() {
            lines += &line(&site, &format!("after-{number}"), at);
        }
        lines += &line(&site, "both", &spellings(&(&first + hour))[0]);
        lines += &line(&site, "later", &spellings(&(&first + 2 * hour))[0]);
        post(&server, &producer, &lines);
    }
    for round in 0..2 {
        for zone in ZONES {
            let first = boundary(zone);
            let before = name(&(&first - SignedDuration::from_millis(1)));
            let before = usage(&server, &billing, &site_of(zone), &before);
            let after = usage(&server, &billing, &site_of(zone), &name(&first));
            assert_eq!((&before["mau"], &after["mau"]), (&4.into(), &5.into()), "{zone}");
            assert_eq!(before["licenses_issued"], 4, "{zone}");
            assert_eq!(instant(&before, "to"), first.timestamp(), "{zone}");
            assert_eq!(instant(&after, "from"), first.timestamp(), "{zone}");
            assert_eq!(after["time_zone"], zone);
        }
        if round == 0 {
            server.kill();
            server = start(&place, &[]);
        }
    }
}

/// One instant is in one month for a site in Seoul and in another for a site in New York.
#[test]
fn one_instant_lies_in_different_months_of_different_zones() {
    let place = Place::new();
    let server = start(&place, &[]);
    let (producer, billing) = (producer_token(&server), billing_token(&server));
    let first = boundary("UTC");
    let before = name(&(&first - SignedDuration::from_millis(1)));
    let hour = SignedDuration::from_hours(1);
    let mut lines = String::new();
    for zone in ["UTC", "Asia/Seoul", "America/New_York"] {
        put_site(&server, &site_of(zone), &format!("{{\"time_zone\":\"{zone}\"}}"));
        // Midnight in Seoul is 15:00 UTC of the last day; New York is four or five hours behind.
        for (user, at) in [("a", &first - 10 * hour), ("b", &first - hour), ("c", &first + hour)] {
            lines += &line(&site_of(zone), user, &spellings(&at)[0]);
        }
    }
    post(&server, &producer, &lines);
    let wanted = [("UTC", 2, 1), ("Asia/Seoul", 1, 2), ("America/New_York", 3, 0)];
    for (zone, in_before, in_after) in wanted {
        let mau = |month: &str| usage(&server, &billing, &site_of(zone), month)["mau"].clone();
        assert_eq!(mau(&before), in_before, "{zone}");
        assert_eq!(mau(&name(&first)), in_after, "{zone}");
    }
}

/// Months as the law of the place has them, from its published rules and not from a library.
#[test]
fn bounds_follow_the_published_rules_of_the_zone() {
    let place = Place::new();
    let server = start(&place, &[]);
    let billing = billing_token(&server);
    let wanted = [
        ("UTC", "2026-02", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("Asia/Seoul", "2026-11", "2026-10-31T15:00:00Z", "2026-11-30T15:00:00Z"),
        ("America/New_York", "2026-03", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"),
        ("America/New_York", "2026-11", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"),
        ("Europe/London", "2026-10", "2026-09-30T23:00:00Z", "2026-11-01T00:00:00Z"),
        ("Asia/Kolkata", "2026-06", "2026-05-31T18:30:00Z", "2026-06-30T18:30:00Z"),
        ("Pacific/Kiritimati", "2027-01", "2026-12-31T10:00:00Z", "2027-01-31T10:00:00Z"),
    ];
    for (zone, month, from, to) in wanted {
        put_site(&server, &site_of(zone), &format!("{{\"time_zone\":\"{zone}\"}}"));
        let found = usage(&server, &billing, &site_of(zone), month);
        assert_eq!((&found["from"], &found["to"]), (&from.into(), &to.into()), "{zone} {month}");
        assert_eq!(found["mau"], 0);
    }
}

/// A new zone waits for the next month; that one begins where the last of the old zone ended.
#[test]
fn a_change_of_zone_moves_no_record() {
    let place = Place::new();
    let server = start(&place, &[]);
    let (producer, billing) = (producer_token(&server), billing_token(&server));
    put_site(&server, "mover", "{\"time_zone\":\"America/New_York\"}");
    let first = boundary("America/New_York");
    post(&server, &producer, &line("mover", "a", &spellings(&first)[0]));
    let operator = server.operator_token();
    let zone = "{\"time_zone\":\"Asia/Seoul\"}";
    let changed = send_json(&server, &operator, "PUT", "/v1/sites/mover", zone);
    assert_eq!(changed.status, 200, "{changed:?}");
    let from_then = changed.json()["effective"]["time_zone"].as_str().expect("a month").to_owned();
    let now = usage(&server, &billing, "mover", &name(&first));
    assert_eq!((&now["mau"], &now["time_zone"]), (&1.into(), &"America/New_York".into()));
    assert_eq!(instant(&now, "from"), first.timestamp());
    let next = usage(&server, &billing, "mover", &from_then);
    assert_eq!(next["time_zone"], "Asia/Seoul");
    let month = format!("{from_then}-01T00:00:00[Asia/Seoul]");
    let month: Zoned = month.parse().expect("a time");
    let end = month.last_of_month().and_then(|day| day.tomorrow()).expect("a time");
    assert_eq!(instant(&next, "to"), end.timestamp(), "the next month ends by the new zone");
    if from_then != name(&first) {
        let last =
            usage(&server, &billing, "mover", &name(&(&month - SignedDuration::from_hours(36))));
        assert_eq!(next["from"], last["to"], "nothing between the zones, and nothing twice");
    }
    let site = get(&server, &operator, "/v1/sites/mover");
    assert_eq!(site.status, 200, "{site:?}");
}
