//! Check 44: a certificate verifies offline, and no change of it does.

use super::*;
use crate::retention::certificate::{CertificateError, verify};
use crate::retention::fake::Fault;
use crate::wire::retention::certificate::Body;

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
    let listed = world.desk.certificates(&caller(Role::Auditor, 0)).unwrap();
    assert!(String::from_utf8(listed).unwrap().contains(&format!("\"id\":\"{}\"", body.id)));
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
    assert_eq!(world.desk.certificates(&own).unwrap(), b"{\"items\":[]}");
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
