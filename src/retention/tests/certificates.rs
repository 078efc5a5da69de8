//! Check 44: a certificate verifies offline, and no change of it does.

use super::*;
use crate::crypto::sha256;
use crate::retention::certificate::{CertificateError, verify};
use crate::retention::fake::Fault;
use crate::wire::retention::certificate::{
    Backups, Body, CoveredBackup, HoldCheck, RegisterSearch,
};

async fn issued() -> (World, Vec<u8>) {
    let world = World::at("2026-08-03T00:00:00Z");
    let ran = world.run().await.unwrap();
    let auditor = caller(Role::Auditor, 0);
    let text = world.desk.certificate(&auditor, &ran.certificates[0]).unwrap();
    (world, text)
}

#[tokio::test]
async fn it_says_what_was_destroyed_and_proves_it() {
    let (world, text) = issued().await;
    let body = verify(&text, &world.key()).unwrap();
    assert_eq!(body.lots.len(), 2);
    let lot = &body.lots[0];
    assert_eq!((lot.class.as_str(), lot.site.as_str(), lot.records), ("sets", "ACME", Some(0)));
    assert_eq!((lot.rule.as_str(), lot.epoch.to_string()), ("kr-pipa/c3", "2026-05".to_owned()));
    assert!(lot.ground.contains("PIPA") && lot.keys.len() == 2);
    assert_eq!((body.vek.destroyed_epoch, body.vek.new_epoch), (7, 8));
    assert_eq!(body.initiated_by, "server");
    assert!(body.method.copies.contains("copy of the VEK home"));
    assert!(body.method.medium.contains("logical overwrite"));
    assert!(body.verification.passed && body.verification.keys_tried == 4);
    let search = body.verification.register.unwrap();
    assert_eq!((search.copies, search.keys, search.wrapped, search.found), (2, 4, 4, 0));
    let check = body.hold_check.unwrap();
    assert_eq!((check.checked_at, check.open, check.covered), (body.begun_at, 0, 0));
    let listed = world.desk.certificates(&caller(Role::Auditor, 0), 0).unwrap();
    assert!(String::from_utf8(listed).unwrap().contains(&format!("\"id\":\"{}\"", body.id)));
}

/// Whoever reads that a certificate certifies nothing reads what to do, whatever the reason.
#[test]
fn every_reason_why_it_certifies_nothing_says_what_to_do() {
    use crate::ledger::ProofError;
    let all = [
        CertificateError::Key,
        CertificateError::Form,
        CertificateError::OtherLedger,
        CertificateError::Proof("entry of the intent", ProofError::Path),
        CertificateError::Digest,
        CertificateError::Differs("keys"),
        CertificateError::Itself("holds"),
        CertificateError::NotPassed,
    ];
    for error in all {
        // A variant that is not here does not compile.
        let advice = match error {
            CertificateError::Key => "take verifier.key of the ledger directory",
            CertificateError::Form => "get it anew, byte for byte",
            CertificateError::OtherLedger => "take the verifier.key of the server",
            CertificateError::Proof(..) => "fetch the certificate anew",
            CertificateError::Digest => "fetch it anew from GET /v1/certificates",
            CertificateError::Differs(_) | CertificateError::Itself(_) => {
                "ask whoever runs the server"
            }
            CertificateError::NotPassed => "fetch that one",
        };
        let said = error.to_string();
        assert!(said.contains(advice) && !said.ends_with('.'), "{said}");
    }
}

/// What lies elsewhere, or under other keys, is said and not left out.
#[tokio::test]
async fn it_says_what_it_does_not_end() {
    let world = World::at("2026-08-03T00:00:00Z");
    let group = SiteId::parse_scope(b"+G").unwrap();
    world.vault.with(|inside| {
        inside.staged.insert((site_id("ACME"), month("2026-05")), 41);
        let mut scope = site("B.C", 9, "UTC", None);
        scope.id = group.clone();
        let mut set = lots_of(&scope, "2026-05", 900).remove(2);
        set.ends_at = at("2027-01-01T00:00:00Z");
        let member = inside.sites.get_mut(&site_id("B.C")).unwrap();
        let mut changed = Site::clone(member);
        changed.settings.billing_group = group.group();
        *member = Arc::new(changed);
        // The set of another member is due later.
        let mut other = site("LATE", 7, "UTC", None);
        other.settings.billing_group = group.group();
        other.settings.closing_hours = 240;
        inside.sites.insert(other.id.clone(), Arc::new(other));
        inside.sites.insert(scope.id.clone(), Arc::new(scope));
        inside.lots.push(set);
    });
    // The sets are of May 2026, in UTC.
    let backups = [
        (8, "made", "2026-04-28T23:00:00Z"),
        (10, "failed", "2026-05-02T00:00:00Z"),
        (12, "made", "2026-04-29T01:00:00Z"),
        (14, "made", "2026-07-31T00:00:00Z"),
    ];
    let mut made = Vec::new();
    for (generation, outcome, barrier) in backups {
        let now = world.clock.now();
        let intent = Event::BackupIntent { register_generation: generation };
        let told = world.ledger.append(Entry::new(now, Actor::Server, intent)).unwrap();
        let result = Event::BackupResult {
            outcome: crate::ledger::Word::of(outcome),
            barrier: Some(at(barrier)),
            manifest: Some(crate::ledger::Digest([generation as u8; 32])),
            files: 0,
            bytes: 0,
        };
        let entry = Entry::result(now, Actor::Server, told.operation, result);
        world.ledger.append(entry).unwrap();
        made.push((told.operation, at(barrier), crate::ledger::Digest([generation as u8; 32])));
    }
    let ran = world.run().await.unwrap();
    let text = world.desk.certificate(&caller(Role::Auditor, 0), &ran.certificates[0]).unwrap();
    let body = verify(&text, &world.key()).unwrap();
    let says = |what: &str| body.limits.iter().any(|limit| limit.contains(what));
    assert!(says("open backfills (b41)"), "{:?}", body.limits);
    assert!(says("(+G 2026-05)"), "{:?}", body.limits);
    assert!(says("Backups that were made before"));
    let backups = body.backups.unwrap();
    assert_eq!((backups.made, backups.last), (3, Some(made[3].0)));
    // What is older than the first day of the month cannot hold a row of it.
    let covered = backups.covered.unwrap().into_iter();
    let covered: Vec<_> = covered.map(|one| (one.operation, one.barrier, one.manifest)).collect();
    assert_eq!(covered, made[2..]);
    assert!(backups.dead.unwrap().contains("no key"));
    assert_eq!(body.vek.home.as_deref(), Some("a home in memory"));
    assert_eq!((body.verification.files_searched, body.requested_by), (Some(9), None));
}

/// A certificate that an earlier build issued is one for ever; one of the new form without its
/// members, or that does not agree with itself, is none.
#[tokio::test]
async fn certificates_of_earlier_forms_still_verify() {
    use crate::wire::retention::certificate::Certificate;
    let (world, text) = issued().await;
    let now = Certificate::parse(&text).unwrap().body;
    let reissue = |body: Body| {
        let digest = crate::ledger::Digest(sha256(&[&body.to_bytes().unwrap()]));
        let event = Event::CertificateIssued { destruction: now.intent.index, digest };
        let told = world.ledger.append(Entry::new(now.issued_at, Actor::Server, event)).unwrap();
        let issued = world.ledger.proof(told.index).unwrap();
        verify(&Certificate { body, issued }.to_bytes().unwrap(), &world.key())
    };
    let old = reissue(now.clone().in_format_1()).unwrap();
    assert_eq!(old.format, "blindtally/certificate/1");
    let second = reissue(now.clone().in_format_2()).unwrap();
    assert_eq!(second.format, "blindtally/certificate/2");
    let mixed = Body { hold_check: now.hold_check, ..now.clone().in_format_2() };
    assert_eq!(reissue(mixed), Err(CertificateError::Form));
    let mixed = Body { hold_check: None, ..now.clone() };
    assert_eq!(reissue(mixed), Err(CertificateError::Form));
    let mixed = Body { backups: None, ..now.clone() };
    assert_eq!(reissue(mixed), Err(CertificateError::Form));
    let mixed = Body { backups: now.backups.clone(), ..now.clone().in_format_1() };
    assert_eq!(reissue(mixed), Err(CertificateError::Form));
    let other = Body {
        verification: crate::wire::retention::certificate::Checked {
            files_searched: Some(10),
            ..now.verification
        },
        ..now.clone()
    };
    assert_eq!(reissue(other), Err(CertificateError::Differs("searched files")));
    let search = |change: &dyn Fn(&mut RegisterSearch)| {
        let mut other = now.clone();
        change(other.verification.register.as_mut().unwrap());
        reissue(other).unwrap_err()
    };
    let register = CertificateError::Itself("keys in the register");
    assert_eq!(search(&|search| search.found = 1), register);
    assert_eq!(search(&|search| search.copies = 1), register);
    assert_eq!(search(&|search| search.keys = 3), register);
    assert_eq!(search(&|search| search.wrapped = 5), register);
    let holds = |check| Body { hold_check: Some(check), ..now.clone() };
    let check = now.hold_check.unwrap();
    for other in [
        HoldCheck { covered: 1, open: 1, ..check },
        HoldCheck { checked_at: Timestamp(now.begun_at.0 + 1), ..check },
    ] {
        assert_eq!(reissue(holds(other)), Err(CertificateError::Itself("holds")));
    }
    let (barrier, manifest) = (now.begun_at, crate::ledger::Digest([1; 32]));
    let covered = |operations: &[u64]| {
        let one = |operation: &u64| CoveredBackup { operation: *operation, barrier, manifest };
        let covered = Some(operations.iter().map(one).collect());
        let made = now.intent.index;
        Backups { made, covered, ..now.backups.clone().unwrap() }
    };
    for (operations, good) in [
        (vec![0], true),
        (vec![0, 0], false),
        (vec![now.intent.index], false),
        (vec![0, now.intent.index + 1], false),
    ] {
        let told = reissue(Body { backups: Some(covered(&operations)), ..now.clone() });
        let said = told.map(|_| ()).map_err(|error| error == CertificateError::Itself("backups"));
        assert_eq!(said, if good { Ok(()) } else { Err(true) }, "{operations:?}");
    }
}

/// A destruction that a build began which did not note its holds gets the certificate that it would
/// have got, in the form of then: what was not noted is not made up.
#[tokio::test]
async fn what_was_begun_before_is_certified_in_the_form_of_then() {
    use crate::wire::retention::rows::RunRow;
    let mut world = World::at("2026-08-03T00:00:00Z");
    world.vault.with(|inside| inside.fault = Some(Fault::Waiting));
    assert!(world.run().await.unwrap().waiting);
    let row = world.vault.load_rows("run").unwrap().remove(0).1;
    let row = RunRow { open_holds: None, ..RunRow::parse(&row).unwrap() };
    world.vault.with(|inside| {
        inside.rows.insert("run".to_owned(), row.to_bytes().unwrap());
    });
    world.restart();
    let ran = world.run().await.unwrap();
    let text = world.desk.certificate(&caller(Role::Auditor, 0), &ran.certificates[0]).unwrap();
    let body = verify(&text, &world.key()).unwrap();
    assert_eq!(body.format, "blindtally/certificate/2");
}

/// The records of each bucket in a certificate, and their sum by the ledger's result.
fn counted(world: &World, body: &Body) -> (Vec<(String, Option<u64>)>, u64) {
    let buckets = body.lots.iter().filter(|lot| ["records", "detections"].contains(&&*lot.class));
    let each = buckets.map(|lot| (format!("{} {}", lot.site, lot.class), lot.records)).collect();
    let told = world.entries().into_iter().filter_map(|entry| match entry.event {
        Event::DestructionResult { records, .. } => Some(records),
        _ => None,
    });
    (each, told.last().unwrap())
}

#[tokio::test]
async fn records_are_those_that_the_engine_counted_in_each_bucket() {
    for (fault, first, sum) in [(None, Some(1_002), 6_018), (Some(Fault::Uncounted), None, 5_016)] {
        let world = World::at("2026-12-01T00:00:00Z");
        world.vault.with(|inside| inside.fault = fault);
        let ran = world.run().await.unwrap();
        let auditor = caller(Role::Auditor, 0);
        let text = world.desk.certificate(&auditor, &ran.certificates[0]).unwrap();
        let body = verify(&text, &world.key()).unwrap();
        let each = [
            ("ACME records", first),
            ("ACME detections", Some(1_007)),
            ("B.C records", Some(2_002)),
            ("B.C detections", Some(2_007)),
        ];
        let (mut said, told) = counted(&world, &body);
        said.sort_by_key(|(lot, _)| lot.replace("records", "a"));
        assert_eq!((said, told), (each.map(|(lot, count)| (lot.to_owned(), count)).to_vec(), sum));
        let others =
            body.lots.iter().filter(|lot| !["records", "detections"].contains(&&*lot.class));
        assert!(others.clone().count() == 8 && others.clone().all(|lot| lot.records == Some(0)));
        let said = body.limits.iter().any(|limit| limit.contains("could not be read"));
        assert_eq!(said, first.is_none());
    }
}

#[tokio::test]
async fn check_44_every_changed_byte_is_found() {
    let (world, text) = issued().await;
    let key = world.key();
    verify(&text, &key).unwrap();
    for at in 0..text.len() {
        for bit in [0, 1, 5] {
            let mut changed = text.clone();
            changed[at] ^= 1 << bit;
            let said = verify(&changed, &key);
            assert!(said.is_err(), "byte {at}, bit {bit}: {}", String::from_utf8_lossy(&changed));
        }
    }
    for length in 0..text.len() {
        assert_eq!(verify(&text[..length], &key), Err(CertificateError::Form));
    }
    let longer = [&text[..], b" "].concat();
    assert_eq!(verify(&longer, &key), Err(CertificateError::Form));
}

#[tokio::test]
async fn another_key_and_another_body_are_told() {
    let (world, text) = issued().await;
    let (other, other_text) = issued().await;
    let refused = verify(&text, &other.key()).unwrap_err();
    assert!(matches!(refused, CertificateError::Proof(..)), "{refused}");
    assert_eq!(verify(&text, "nonsense"), Err(CertificateError::Key));
    // The proofs of one certificate do not carry the body of another one of the same ledger.
    world.clock.set(at("2026-08-04T00:00:00Z"));
    let site = site("D", 3, "UTC", None);
    world.vault.with(|inside| {
        inside.lots.push(lots_of(&site, "2026-05", 900).remove(2));
        inside.sites.insert(site.id.clone(), Arc::new(site));
    });
    let second = world.run().await.unwrap().certificates.remove(0);
    let second = world.desk.certificate(&caller(Role::Auditor, 0), &second).unwrap();
    use crate::wire::retention::certificate::Certificate;
    let parse = |text: &[u8]| Certificate::parse(text).unwrap();
    let mixed = Certificate { body: parse(&text).body, issued: parse(&second).issued };
    assert_eq!(verify(&mixed.to_bytes().unwrap(), &world.key()), Err(CertificateError::Digest));
    verify(&second, &world.key()).unwrap();
    verify(&other_text, &other.key()).unwrap();
}

#[tokio::test]
async fn only_those_with_all_its_sites_see_it() {
    let (world, _) = issued().await;
    let auditor = caller(Role::Auditor, 0);
    let own = Token { sites: SiteScope::Some([site_id("B.C")].into()), ..Token::clone(&auditor) };
    let own: Caller = Arc::new(own);
    assert_eq!(world.desk.certificates(&own, 0).unwrap(), b"{\"items\":[]}");
    let id = world.entries().iter().find_map(|entry| match entry.event {
        Event::CertificateIssued { destruction, .. } => Some(format!("c{destruction}")),
        _ => None,
    });
    let id = id.unwrap();
    assert_eq!(world.desk.certificate(&own, &id), Err(DeskError::NotFound));
    assert!(world.desk.certificate(&auditor, &id).is_ok());
    for nowhere in ["c999", "c", "1", "c01", "../c1"] {
        let refused = world.desk.certificate(&auditor, nowhere);
        assert_eq!(refused, Err(DeskError::NotFound), "{nowhere}");
    }
}

/// As many certificates, each of one lot, of two sites in turn.
async fn many(certificates: u64) -> World {
    let world = World::at("2026-12-01T00:00:00Z");
    let all = world.vault.with(|inside| std::mem::take(&mut inside.lots));
    let sets = |site: u64| all[usize::try_from(site * 6 + 2).unwrap()].clone();
    for number in 0..certificates {
        let lot = LotInfo { keys: vec![KeyId(1_000 + number)], ..sets(number % 2) };
        world.vault.with(|inside| inside.lots.push(lot));
        assert_eq!(world.run().await.unwrap().certificates.len(), 1);
    }
    world.vault.with(|inside| inside.lots = all[..3].to_vec());
    world
}

/// The cursor of a page, if there is a next one.
fn cursor(page: &str) -> Option<usize> {
    let at = page.find("\"next_cursor\":\"")? + 15;
    page[at..].split('"').next()?.parse().ok()
}

#[tokio::test]
async fn a_page_opens_no_more_certificates_than_it_needs() {
    let world = many(80).await;
    let auditor = caller(Role::Auditor, 0);
    let ask = |site: Option<&str>, state, limit, from| {
        world.vault.with(|inside| (inside.opened, inside.listed) = (0, 0));
        let question = Question { site: site.map(site_id), state, limit, from };
        let page = world.desk.list(&auditor, &question).unwrap();
        let (opened, listed) = world.vault.with(|inside| (inside.opened, inside.listed));
        (String::from_utf8(page).unwrap(), opened, listed)
    };
    // What lives comes first, and costs no certificate but the look for a next page.
    let (page, opened, listed) = ask(None, None, 3, 0);
    assert_eq!((count(&page, "site_id"), opened, listed), (3, 1, 1), "{page}");
    let (_, opened, _) = ask(None, Some("due"), 10_000, 0);
    assert_eq!(opened, 0);
    let (page, opened, listed) = ask(None, Some("certified"), 1, 0);
    assert_eq!((count(&page, "site_id"), opened, listed), (1, 2, 0));
    // All pages together hold every lot once, however few of them a page may open or wants.
    for (site, limit, wanted) in [(None, 7, 83), (Some("B.C"), 50, 40), (Some("ACME"), 1, 43)] {
        let (mut from, mut lots, mut ids, mut pages) = (0, 0, BTreeSet::new(), 0);
        loop {
            let (page, opened, _) = ask(site, None, limit, from);
            assert!(count(&page, "site_id") <= limit && opened <= 33, "{opened}");
            let told = page.split("\"certificate\":\"").skip(1);
            let told = told.map(|rest| rest.split('"').next().unwrap().to_owned());
            let before = ids.len();
            let on_page: Vec<String> = told.collect();
            ids.extend(on_page.iter().cloned());
            assert_eq!(ids.len(), before + on_page.len(), "each once");
            (lots, pages) = (lots + count(&page, "site_id"), pages + 1);
            let Some(next) = cursor(&page) else { break };
            assert!(pages < 100);
            from = next;
        }
        assert_eq!(lots, wanted, "{site:?}");
    }
}

#[tokio::test]
async fn certificates_are_listed_in_pages() {
    let world = many(5).await;
    let auditor = caller(Role::Auditor, 0);
    let page = |from: usize| {
        world.vault.with(|inside| inside.opened = 0);
        let page = world.desk.certificates(&auditor, from as u64).unwrap();
        (String::from_utf8(page).unwrap(), world.vault.with(|inside| inside.opened))
    };
    let (first, opened) = page(0);
    assert_eq!((count(&first, "\"id\""), opened), (3, 4));
    let (second, opened) = page(cursor(&first).unwrap());
    assert_eq!((count(&second, "\"id\""), opened, cursor(&second)), (2, 2, None));
    let id = |page: &str, last: bool| {
        let mut ids = page.split("\"id\":\"c").skip(1);
        let id = if last { ids.last() } else { ids.next() };
        id.unwrap().split('"').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(id(&first, true) < id(&second, false));
}
