//! The small rows that are due: tokens, holds, requests.

use super::*;

impl World {
    /// Runs now, whatever the clock jumped.
    async fn run_at(&self, text: &str) {
        self.clock.set(at(text));
        if self.run().await == Err(DeskError::ClockAhead) {
            clock::confirm(self, text).await.unwrap();
            self.run().await.unwrap();
        }
    }

    fn tokens(&self) -> Vec<String> {
        self.vault.with(|inside| inside.tokens.keys().map(|id| id[..1].to_owned()).collect())
    }

    fn rewritten(&self) -> usize {
        self.vault.with(|inside| inside.rewritten)
    }
}

#[tokio::test]
async fn tokens_go_two_years_after_their_end_but_for_the_last() {
    let world = World::at("2026-06-01T00:00:00Z");
    world.vault.with(|inside| {
        for (id, end) in [("a", "2026-07-01"), ("b", "2026-08-01"), ("c", "2028-01-01")] {
            inside.tokens.insert(id.repeat(16), at(&format!("{end}T00:00:00Z")));
        }
    });
    world.run_at("2028-06-30T23:59:59Z").await;
    assert_eq!((world.tokens(), world.rewritten()), (vec!["a".into(), "b".into(), "c".into()], 0));
    world.run_at("2028-07-01T00:00:00Z").await;
    assert_eq!((world.tokens(), world.rewritten()), (vec!["b".into(), "c".into()], 1));
    assert!(world.kinds().contains(&"token_revoked"), "the ledger has its end");
    world.run_at("2031-01-01T00:00:00Z").await;
    assert_eq!(world.tokens(), ["c"], "else the next start makes an operator's token");
}

#[tokio::test]
async fn released_holds_go_after_three_years_and_numbers_are_given_once() {
    let mut world = World::at("2026-06-01T00:00:00Z");
    let open = |review: &str| {
        format!(
            r#"{{"months":["2026-05"],"ground":"unpaid","review_at":"{review}-01-01T00:00:00Z"}}"#
        )
    };
    let privacy = caller(Role::Privacy, 7);
    for _ in 0..2 {
        let mut text = open("2040").into_bytes();
        world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
    }
    for id in ["h1", "h2"] {
        for person in 0..2 {
            let person = caller(Role::Custodian, person);
            world.desk.release_hold(&person, site_id("ACME"), id).await.unwrap();
        }
    }
    let holds = |world: &World| {
        world.vault.with(|inside| inside.rows.keys().filter(|row| row.starts_with("hold/")).count())
    };
    world.run_at("2029-05-31T23:59:59Z").await;
    assert_eq!(holds(&world), 2);
    world.run_at("2029-06-01T00:00:00Z").await;
    assert_eq!((holds(&world), world.rewritten()), (1, 1));
    world.restart();
    world.vault.with(|inside| {
        let site = inside.sites[&site_id("ACME")].clone();
        inside.lots = lots_of(&site, "2026-05", 900);
    });
    let mut text = open("2041").into_bytes();
    let opened = world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
    assert!(String::from_utf8(opened).unwrap().contains("\"id\":\"h3\""));
}

/// A hold's row says why its copies may go; it is not the first to go.
#[tokio::test]
async fn a_hold_whose_copies_are_there_keeps_its_row() {
    let world = World::at("2026-06-01T00:00:00Z");
    let text = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2040-01-01T00:00:00Z"}"#;
    let privacy = caller(Role::Privacy, 7);
    for _ in 0..3 {
        let mut text = text.as_bytes().to_vec();
        world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
    }
    for (id, person) in ["h1", "h2"].into_iter().flat_map(|id| [(id, 0), (id, 1)]) {
        let person = caller(Role::Custodian, person);
        world.desk.release_hold(&person, site_id("ACME"), id).await.unwrap();
    }
    world.vault.with(|inside| {
        let LotInfo { lot, site, ends_at, .. } = inside.lots[0].clone();
        let (hold, keys) = (crate::model::ids::HoldNo(1), vec![KeyId(900)]);
        inside.held.push(vault::HeldInfo {
            hold,
            lot,
            site,
            keys,
            records: 1,
            ends_at,
            lost: false,
        });
    });
    let holds = |world: &World| -> Vec<u64> {
        let rows = world.vault.with(|inside| inside.rows.clone());
        let own = rows.iter().filter(|(name, _)| name.starts_with("hold/"));
        own.map(|(_, row)| HoldRow::parse(row).unwrap().number).collect()
    };
    world.desk.0.sweep(at("2029-06-01T00:00:00Z")).await.unwrap();
    assert_eq!(holds(&world), [1, 3], "the second has ended and left nothing");
    world.vault.with(|inside| inside.held.clear());
    world.desk.0.sweep(at("2029-06-01T00:00:00Z")).await.unwrap();
    assert_eq!(holds(&world), [3]);
}

/// A statement of no records.
fn statement(site: &str, of: &str, version: u32, issued_at: &str) -> Vec<u8> {
    use crate::ledger::Proof;
    use crate::model::site::Counting;
    use crate::model::usage::{Corrections, Counters};
    use crate::wire::statement::{Billable, Body, Method, Statement};
    let scope = SiteId::parse_scope(site.as_bytes()).unwrap();
    let body = Body {
        format: "blindtally/statement/1".to_owned(),
        ledger: "example.com/ledger".to_owned(),
        site_id: Some(scope.clone()).filter(|scope| !scope.is_group()),
        billing_group: scope.group(),
        month: month(of),
        version,
        replaces: None,
        reason: None,
        issued_at: at(issued_at),
        issued_by: "server".to_owned(),
        time_zone: Some("UTC".to_owned()),
        from: at(&format!("{of}-01T00:00:00Z")),
        to: at(&format!("{}-01T00:00:00Z", month(of).next())),
        closed_at: at(issued_at),
        method: Some(Method::new("rules", 1, 72, Counting::default())),
        figures: (&Counters::default()).into(),
        by_drm_type: Vec::new(),
        excluded: Vec::new(),
        corrections: Corrections::default().into(),
        earlier_corrections: Vec::new(),
        billable: Billable { mau: 0, licenses_issued: 0 },
        recount: None,
        quality: None,
        members: None,
    };
    let issued = Proof {
        entry: String::new(),
        index: 0,
        size: 0,
        hashes: Vec::new(),
        checkpoint: String::new(),
    };
    Statement { body, issued }.to_bytes().unwrap()
}

/// Class C4: five years from the issue of the last version, and all versions go together.
#[tokio::test]
async fn statements_go_five_years_after_the_last_version() {
    let world = World::at("2026-06-01T00:00:00Z");
    let id = SiteId::parse_scope(b"+acme").unwrap();
    let scope = Arc::new(Site { id: id.clone(), ..site("x", 9, "UTC", None) });
    world.vault.with(|inside| inside.sites.insert(id, scope));
    for (site, month, version, issued_at) in [
        ("+acme", "2026-05", 1, "2026-06-04T00:00:00Z"),
        ("ACME", "2026-04", 1, "2026-05-04T00:00:00Z"),
        ("ACME", "2026-05", 1, "2026-06-04T00:00:00Z"),
        ("ACME", "2026-05", 2, "2026-09-01T00:00:00Z"),
        ("ACME", "2026-06", 1, "2026-07-04T00:00:00Z"),
        ("B.C", "2026-05", 1, "2026-06-04T00:00:00Z"),
    ] {
        let name = format!("statement/{site}/{month}/{version:010}");
        let row = statement(site, month, version, issued_at);
        world.vault.with(|inside| inside.rows.insert(name, row));
    }
    let left = |world: &World| -> Vec<String> {
        let rows = world.vault.with(|inside| inside.rows.clone());
        let own = rows.keys().filter_map(|name| name.strip_prefix("statement/"));
        own.map(|name| name.replace("/000000000", ".")).collect()
    };
    let all = ["ACME/2026-04.1", "ACME/2026-05.1", "ACME/2026-05.2", "ACME/2026-06.1"];
    let others = ["+acme/2026-05.1", "B.C/2026-05.1"];
    world.run_at("2031-05-03T23:59:59Z").await;
    assert_eq!(left(&world), [&others[..1], &all[..], &others[1..]].concat());
    let rewritten = world.rewritten();
    world.run_at("2031-05-04T00:00:00Z").await;
    assert_eq!(left(&world), [&others[..1], &all[1..], &others[1..]].concat());
    assert_eq!(world.rewritten(), rewritten + 1, "and the files that held it");
    // What was restated stays until its last version is due; later months do not wait for it.
    world.run_at("2031-07-05T00:00:00Z").await;
    assert_eq!(left(&world), all[1..3]);
    world.run_at("2031-09-01T00:00:00Z").await;
    assert_eq!(left(&world), [""; 0]);
    let removed = |entry: Recorded| match entry.event {
        Event::StatementRemoved { site, month, version } => {
            Some(format!("{site}/{month}.{version}"))
        }
        _ => None,
    };
    let removed: Vec<String> = world.entries().into_iter().filter_map(removed).collect();
    let wanted =
        ["ACME/2026-04.1", "ACME/2026-06.1", "B.C/2026-05.1", "+acme/2026-05.1", "ACME/2026-05.2"];
    assert_eq!(removed, wanted);
}

#[tokio::test]
async fn a_removal_that_nobody_confirmed_goes_after_a_week() {
    let world = World::at("2026-07-20T00:00:00Z");
    let mut text = br#"{"reason":"authority_order"}"#.to_vec();
    let custodian = caller(Role::Custodian, 0);
    let asked = world.desk.remove(&custodian, site_id("ACME"), month("2026-05"), &mut text);
    asked.await.unwrap();
    let waiting = |world: &World| {
        world.vault.with(|inside| inside.rows.keys().any(|row| row.starts_with("removal/")))
    };
    world.run_at("2026-07-27T00:00:00Z").await;
    assert!(waiting(&world));
    world.run_at("2026-07-27T00:00:01Z").await;
    assert!(!waiting(&world));
}
