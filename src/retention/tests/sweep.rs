//! The small rows that are due: tokens, holds, requests.

use super::*;
use crate::model::arrival::Hour;
use crate::model::pseudonym::Pseudonyms;
use crate::retention::fake::Cut;

impl World {
    /// Runs now, whatever the clock jumped.
    pub(super) async fn run_at(&self, text: &str) {
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
        let mut text = open("2027").into_bytes();
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
    let mut text = open("2030").into_bytes();
    let opened = world.desk.open_hold(&privacy, site_id("ACME"), &mut text).await.unwrap();
    assert!(String::from_utf8(opened).unwrap().contains("\"id\":\"h3\""));
}

/// A hold's row says why its copies may go; it is not the first to go.
#[tokio::test]
async fn a_hold_whose_copies_are_there_keeps_its_row() {
    let world = World::at("2026-06-01T00:00:00Z");
    let text = r#"{"months":["2026-05"],"ground":"unpaid","review_at":"2027-05-01T00:00:00Z"}"#;
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
pub(super) fn statement(site: &str, of: &str, version: u32, issued_at: &str) -> Vec<u8> {
    use crate::ledger::Proof;
    use crate::model::site::Counting;
    use crate::model::usage::Counters;
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
        method: Some(Method::new(
            Default::default(),
            Pseudonyms::default(),
            72,
            Counting::default(),
        )),
        pseudonym_algorithm: None,
        figures: (&Counters::default()).into(),
        by_drm_type: Vec::new(),
        subjects_least: None,
        excluded: Vec::new(),
        corrections: Default::default(),
        earlier_corrections: Vec::new(),
        billable: Billable { mau: 0, licenses_issued: 0, device_users: Some(0) },
        evidence: Some(crate::model::usage::Evidence::Live),
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

pub(super) fn figures(site: &str, of: &str, closed_at: &str, lives: bool) -> vault::FiguresInfo {
    let closed_at = Some(at(closed_at));
    vault::FiguresInfo { site: site_id(site), month: month(of), closed_at, lives }
}

impl World {
    pub(super) fn figures(&self) -> Vec<String> {
        let name = |of: &vault::FiguresInfo| format!("{}/{}", of.site, of.month);
        self.vault.with(|inside| inside.figures.iter().map(name).collect())
    }

    pub(super) fn row(&self, name: &str, row: Vec<u8>) {
        self.vault.with(|inside| inside.rows.insert(name.to_owned(), row));
    }

    pub(super) fn has_row(&self, name: &str) -> bool {
        self.vault.with(|inside| inside.rows.contains_key(name))
    }
}

/// Class C4: the figures of a month go with its statement, after its keys, and never while it is
/// open.
#[tokio::test]
async fn figures_go_five_years_after_the_close_with_their_statement_and_after_their_keys() {
    let world = World::at("2026-06-01T00:00:00Z");
    let open = vault::FiguresInfo {
        closed_at: None,
        ..figures("B.C", "2026-09", "2026-10-04T00:00:00Z", false)
    };
    world.vault.with(|inside| {
        inside.figures = vec![
            figures("ACME", "2026-04", "2026-05-04T00:00:00Z", false),
            figures("ACME", "2026-06", "2026-07-04T00:00:00Z", true),
            figures("B.C", "2026-04", "2026-05-04T00:00:00Z", false),
            open,
        ];
    });
    let restated = statement("B.C", "2026-04", 2, "2026-09-01T00:00:00Z");
    world.row("statement/B.C/2026-04/0000000002", restated);
    world.row("challenge/B.C/2026-04", b"{}".to_vec());
    world.row("statement-draft/ACME/2026-04/0000000001", b"{}".to_vec());
    world.row("challenge/ACME/2026-04", b"{}".to_vec());
    world.run_at("2031-05-03T23:59:59Z").await;
    assert_eq!(world.figures(), ["ACME/2026-04", "ACME/2026-06", "B.C/2026-04", "B.C/2026-09"]);
    let rewritten = world.rewritten();
    world.run_at("2031-05-04T00:00:00Z").await;
    assert_eq!(world.figures(), ["ACME/2026-06", "B.C/2026-04", "B.C/2026-09"]);
    assert_eq!(world.rewritten(), rewritten + 1);
    for name in ["statement-draft/ACME/2026-04/0000000001", "challenge/ACME/2026-04", "sweep"] {
        assert!(!world.has_row(name), "{name}");
    }
    world.run_at("2031-08-31T23:59:59Z").await;
    assert_eq!(world.figures(), ["ACME/2026-06", "B.C/2026-04", "B.C/2026-09"]);
    world.run_at("2031-09-01T00:00:00Z").await;
    assert_eq!(world.figures(), ["ACME/2026-06", "B.C/2026-09"]);
    assert!(!world.has_row("challenge/B.C/2026-04"));
    world.vault.with(|inside| inside.figures[0].lives = false);
    world.run_at("2031-09-02T00:00:00Z").await;
    assert_eq!(world.figures(), ["B.C/2026-09"], "it never closed");
    let removed = world.entries().into_iter().filter_map(|entry| match entry.event {
        Event::FiguresRemoved { month, sites } => Some(format!("{month} {}", sites[0])),
        _ => None,
    });
    let removed: Vec<String> = removed.collect();
    assert_eq!(removed, ["2026-04 ACME", "2026-04 B.C", "2026-06 ACME"]);
}

/// A site that has ended goes after five years, once nothing of it is left; another one stays.
#[tokio::test]
async fn a_site_goes_five_years_after_its_end_once_nothing_of_it_is_left() {
    let world = World::at("2026-06-01T00:00:00Z");
    let operator = caller(Role::Operator, 3);
    let mut text = b"{}".to_vec();
    world.desk.terminate(&operator, site_id("ACME"), &mut text).await.unwrap();
    assert!(world.has_row("terminated/ACME"));
    let sites = |world: &World| -> Vec<String> {
        world.vault.with(|inside| inside.sites.keys().map(ToString::to_string).collect())
    };
    world.vault.with(|inside| {
        inside.figures = vec![figures("ACME", "2026-05", "2026-06-04T00:00:00Z", false)];
    });
    world.run_at("2031-05-31T23:59:59Z").await;
    world.run_at("2031-06-03T23:59:59Z").await;
    assert_eq!(sites(&world), ["ACME", "B.C"], "its figures are there");
    // Whatever the desk has of it keeps it, too.
    world.row("challenge/ACME/2031-04", b"{}".to_vec());
    world.run_at("2031-06-04T00:00:00Z").await;
    assert_eq!(sites(&world), ["ACME", "B.C"]);
    assert_eq!(world.figures(), [""; 0]);
    world.vault.with(|inside| inside.rows.remove("challenge/ACME/2031-04"));
    world.run_at("2031-06-05T00:00:00Z").await;
    assert_eq!(sites(&world), ["B.C"]);
    assert!(!world.has_row("terminated/ACME"));
    assert_eq!(world.kinds().iter().filter(|kind| **kind == "site_removed").count(), 1);
}

/// Cut at every change, the next sweep removes the rest, and the files are rewritten whatever was
/// removed before the cut.
#[tokio::test]
async fn a_sweep_cut_anywhere_is_finished_by_the_next() {
    let now = at("2031-09-01T00:00:00Z");
    for n in 0.. {
        let mut ended = [false; 2];
        for (ended, cut) in ended.iter_mut().zip([Cut::Before(n), Cut::After(n)]) {
            let mut world = World::at("2026-06-01T00:00:00Z");
            let mut text = b"{}".to_vec();
            let operator = caller(Role::Operator, 3);
            world.desk.terminate(&operator, site_id("ACME"), &mut text).await.unwrap();
            let row = statement("ACME", "2026-05", 1, "2026-06-04T00:00:00Z");
            world.row("statement/ACME/2026-05/0000000001", row);
            world.row("challenge/ACME/2026-05", b"{}".to_vec());
            world.vault.with(|inside| {
                inside.lots.clear();
                inside.figures = vec![figures("ACME", "2026-05", "2026-06-04T00:00:00Z", false)];
                (inside.changes, inside.cut) = (0, Some(cut));
            });
            *ended = world.desk.0.sweep(now).await.is_ok();
            world.vault.with(|inside| inside.cut = None);
            world.restart();
            world.desk.0.sweep(now).await.unwrap();
            let left: Vec<String> =
                world.vault.with(|inside| inside.rows.keys().cloned().collect());
            assert_eq!(left, [""; 0], "{cut:?}");
            assert_eq!(world.figures(), [""; 0], "{cut:?}");
            assert!(world.vault.with(|inside| inside.sites.len() == 1), "{cut:?}");
            assert!(world.rewritten() > 0, "{cut:?}");
        }
        if ended == [true; 2] {
            assert!(n >= 7, "{n} changes");
            return;
        }
    }
}

#[tokio::test]
async fn reasons_of_rejects_end_by_the_policy_with_the_day_they_came_in() {
    let world = World::at("2026-06-10T00:00:00Z");
    let from = |world: &World| world.vault.with(|inside| inside.reasons_from);
    world.run().await.unwrap();
    let day = |text: &str| Some(Hour::of(at(text)));
    assert_eq!(from(&world), day("2026-05-11T00:00:00Z"));
    world.clock.set(at("2026-06-10T23:59:59.999Z"));
    world.run().await.unwrap();
    assert_eq!(from(&world), day("2026-05-11T00:00:00Z"), "the day ends as a whole");
    world.clock.set(at("2026-06-11T00:00:00Z"));
    world.run().await.unwrap();
    assert_eq!(from(&world), day("2026-05-12T00:00:00Z"));
    let rules = world.list(Some("due"));
    assert!(rules.contains("30 days") && rules.contains("\"epoch\":\"day\""), "{rules}");
}

#[tokio::test]
async fn files_in_use_are_one_alarm_as_long_as_it_lasts() {
    let mut world = World::at("2026-06-10T00:00:00Z");
    let registry = Registry::default();
    world.desk.register(&registry);
    let shown = |world: &World| {
        let text = registry.render(crate::observe::metrics::Exposition::Prometheus);
        let is = |value| text.contains(&format!("blindtally_retention_files_in_use {value}\n"));
        assert!(is(0) != is(1), "{text}");
        (is(1), world.alarms().len())
    };
    world.run().await.unwrap();
    assert_eq!(shown(&world), (false, 0));
    // Both what ends reasons and what rewrites removed rows find a file in use.
    world.desk.0.removing().await.unwrap();
    let before = world.vault.with(|inside| inside.rewritten);
    for _ in 0..3 {
        world.vault.with(|inside| inside.in_use = 2);
        world.run().await.unwrap();
        assert_eq!((shown(&world), world.alarms()), ((true, 1), vec!["files_in_use"]));
        assert_eq!(world.vault.with(|inside| (inside.in_use, inside.rewritten)), (0, before));
    }
    world.run().await.unwrap();
    assert_eq!(world.vault.with(|inside| inside.rewritten), before + 1, "by the next run");
    assert_eq!(shown(&world), (false, 1));
    // It begins again, and after a start it is tried again.
    world.desk.0.removing().await.unwrap();
    world.vault.with(|inside| inside.in_use = 2);
    world.run().await.unwrap();
    assert_eq!(shown(&world), (true, 2));
    world.restart();
    world.run().await.unwrap();
    assert_eq!(world.vault.with(|inside| inside.rewritten), before + 2);
    assert_eq!(world.alarms().len(), 2);
}

/// A request that somebody makes anew while the sweep looks is not removed with the one before.
#[tokio::test]
async fn a_first_request_is_decided_before_the_sweep_or_after() {
    use crate::wire::retention::rows::{Asked, RemovalRow};
    let world = World::at("2026-07-20T00:00:00Z");
    let row = |at: Timestamp| {
        let asked = Asked { by: "a".repeat(16), at, clock: None };
        RemovalRow { reason: "termination".to_owned(), late_refused: false, asked }
    };
    let name = "removal/ACME/site";
    world.row(name, row(at("2026-07-01T00:00:00Z")).to_bytes().unwrap());
    let deciding = world.desk.0.deciding.lock().await;
    let mut sweep = Box::pin(world.desk.0.removals_due(at("2026-07-20T00:00:00Z")));
    for _ in 0..50 {
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(Future::poll(sweep.as_mut(), &mut context).is_pending());
        tokio::task::yield_now().await;
    }
    world.row(name, row(at("2026-07-20T00:00:00Z")).to_bytes().unwrap());
    drop(deciding);
    sweep.await.unwrap();
    assert!(world.has_row(name));
}
