//! The ledger as a whole: its answers, cuts at every step, changes of every byte.

mod answers;
mod crash;
mod disk;
mod lines;
mod noted;
mod range;
mod second_copy;
mod tamper;

use std::path::Path;

use super::key_file;
use super::note::Signer;
use super::words::*;
use super::{Entry, Event, Ledger, LedgerError, Opened, Settings};
use crate::crypto::{Secret, SigningKey};
use crate::keys::vek::LedgerMark;
use crate::model::ids::{KeyId, SiteId};
use crate::model::time::{Day, Month, Timestamp};

/// 2026-11-22T04:16:00Z.
const NOW: Timestamp = Timestamp(1_795_320_960_000);
const NAME: &str = "example.com/ledger";

fn signer() -> Signer {
    let key = SigningKey::new(&Secret::take(&mut [0x3c; 32]).unwrap()).unwrap();
    Signer::new(NAME, key).unwrap()
}

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.join("ledger"),
        signing_key: dir.join("keys").join("ledger.key"),
        name: NAME.to_owned(),
        second_copy: None,
        marks: Vec::new(),
    }
}

fn open(settings: &Settings) -> (Ledger, Opened) {
    Ledger::open(settings, NOW).unwrap()
}

fn refused(settings: &Settings) -> LedgerError {
    match Ledger::open(settings, NOW) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

fn site(no: u64) -> SiteId {
    SiteId::parse(format!("SITE-{no}").as_bytes()).unwrap()
}

fn somebody() -> Actor {
    Actor::Credential(Credential::parse("abcdefgh01234567").unwrap())
}

/// A small entry, told apart by a number.
fn read_of(no: u64) -> Entry {
    let event = Event::PrivilegedRead { route: Word::of("subjects/access"), site: Some(site(no)) };
    Entry::new(Timestamp(NOW.0 + no as i64), somebody(), event)
}

fn intent() -> Entry {
    let bucket = Bucket {
        class: Word::of("records"),
        epoch: Epoch::Month(Month::parse(b"2026-05").unwrap()),
        rule: Word::of("kr-pipa/c2"),
        due: NOW,
        sites: vec![site(1), site(2)],
    };
    let event = Event::DestructionIntent {
        profile: Word::of("kr-pipa"),
        buckets: vec![bucket],
        keys: Keys::of([7, 9, 8, 12].map(KeyId)),
        commitments: Digest([0xc5; 32]),
    };
    Entry::new(NOW, Actor::Server, event)
}

fn result() -> Event {
    Event::DestructionResult {
        buckets: 2,
        records: 1_000,
        keys: Keys::of([7, 9, 8, 12].map(KeyId)),
        vek_before: 3,
        vek_after: 4,
        verification: Verification { passed: true, opened_none_of: 40, files_searched: 12 },
    }
}

/// The two entries of an early removal.
fn removals(site: &SiteId, token: &Credential) -> [Event; 2] {
    let (month, reason) = (Month::parse(b"2026-05").unwrap(), Word::of("authority_order"));
    let (site, requested_by) = (site.clone(), token.clone());
    [
        Event::RemovalRequested {
            site: site.clone(),
            month,
            reason: reason.clone(),
            late_refused: true,
        },
        Event::RemovalConfirmed { site, month, reason, requested_by },
    ]
}

fn challenged(site: SiteId, month: Month) -> Event {
    let (listed, counted, counted_not_listed) = (120, Some(100), None);
    Event::StatementChallenged { site, month, listed, counted, counted_not_listed }
}

fn challenged_again(site: SiteId, month: Month) -> Event {
    let (listed, counted, counted_not_listed) = (120, Some(100), Some(7));
    let (version, counted_late) = (2, None);
    Event::RestatementChallenged {
        site,
        month,
        version,
        listed,
        counted,
        counted_not_listed,
        counted_late,
    }
}

/// One of each kind about backfills.
fn of_backfills(site: &SiteId, keys: Keys) -> [Event; 5] {
    let (backfill, site) = (4, site.clone());
    [
        Event::BackfillMade {
            site: site.clone(),
            from: NOW,
            to: Timestamp(NOW.0 + 1),
            reason: Note::parse("the link was down").unwrap(),
        },
        Event::BackfillCloseIntent { backfill, site: site.clone() },
        Event::BackfillCloseResult {
            backfill,
            outcome: Word::of("counted"),
            accepted: 1,
            duplicates: 2,
            corrected: 3,
            not_retained: 4,
            too_old: 5,
        },
        Event::BackfillAbandonIntent { backfill, site, why: Word::of("expired") },
        Event::BackfillAbandonResult { backfill, outcome: Word::of("destroyed"), records: 6, keys },
    ]
}

/// One event of each kind and phase.
fn one_of_each() -> Vec<Event> {
    let (month, day) = (Month::parse(b"2026-05").unwrap(), Day(20_779));
    let reason = Some(Note::parse("case 17, \"see\" \\ file").unwrap());
    let token = Credential::parse("0123456789abcdef").unwrap();
    let (digest, keys) = (Digest([0xab; 32]), Keys::of([1, 2, 5].map(KeyId)));
    let site = site(1);
    let mut all = vec![
        Event::ServerStarted { version: Word::of("0.1.0") },
        Event::RegisterWritten {
            vault: Vault([0xab; 16]),
            generation: 4,
            vek_epoch: 2,
            made: keys.clone(),
            gone: Keys::default(),
        },
        intent().event,
        result(),
    ];
    all.extend(of_holds(&site, month, &token, reason.clone()));
    all.extend([
        Event::SiteTerminated { site: site.clone(), terminated_at: NOW, reason },
        Event::TerminationRequested { site: site.clone() },
        Event::SiteRetention { site: site.clone(), records_days: Some(30) },
    ]);
    all.extend(removals(&site, &token));
    all.extend([
        adopted(digest, day),
        Event::PolicyLoaded {
            digest,
            profile: Word::of("eu-gdpr"),
            published: day,
            effective: Day(20_786),
        },
        Event::ClockConfirmationRequested { from: NOW, to: Timestamp(NOW.0 + 1) },
        Event::ClockConfirmed { from: NOW, to: Timestamp(NOW.0 + 1) },
    ]);
    all.extend(of_backups(digest));
    all.extend([
        Event::ErasureIntent {
            site: site.clone(),
            months: vec![],
            ground: Word::of("art-17"),
            suppressed: true,
        },
        Event::ErasureResult {
            site: site.clone(),
            outcome: Word::of("erased"),
            blocks: 1,
            records: 2,
            keys: keys.clone(),
        },
    ]);
    all.extend(of_backfills(&site, keys));
    all.extend(of_counts(&site, month, digest));
    all.extend([
        challenged(site.clone(), month),
        challenged_again(site.clone(), month),
        Event::ChallengeRefused { site: site.clone(), month, answered: 5 },
    ]);
    all.extend(of_access(site, token, digest));
    all.extend(of_webhooks());
    all.push(Event::Alarm { reason: Alarm::ClockBack });
    all
}

fn of_access(site: SiteId, token: Credential, digest: Digest) -> [Event; 6] {
    [
        Event::CertificateIssued { destruction: 2, digest },
        Event::PrivilegedRead { route: Word::of("ledger"), site: None },
        Event::OverBudget { route: Word::of("erase"), site: site.clone(), limit: 9 },
        Event::EvidenceExported { digest, all_sites: true },
        Event::TokenIssued {
            token: token.clone(),
            role: Word::of("auditor"),
            all_sites: false,
            sites: vec![site],
            expires_at: NOW,
        },
        Event::TokenRevoked { token },
    ]
}

fn adopted(digest: Digest, published: Day) -> Event {
    Event::PolicyAdopted {
        digest,
        profile: Word::of("kr-pipa"),
        published,
        effective: Day(20_786),
        material: true,
        c2_months: Some(7),
        c3_objection_days: None,
        c7_months: Some(6),
        in_force_from: Day(20_790),
    }
}

fn of_counts(site: &SiteId, month: Month, digest: Digest) -> [Event; 4] {
    [
        Event::StatementIssued { site: site.clone(), month, version: 1, digest },
        Event::StatementRemoved { site: site.clone(), month, version: 2 },
        Event::FiguresRemoved { month, sites: vec![site.clone()] },
        Event::SiteRemoved { site: site.clone() },
    ]
}

fn of_backups(digest: Digest) -> [Event; 4] {
    [
        Event::BackupIntent { register_generation: u64::MAX },
        Event::BackupResult {
            outcome: Word::of("failed"),
            barrier: None,
            manifest: Some(digest),
            files: 1,
            bytes: 2,
        },
        Event::RestoreIntent { backup: 3, lost_from: NOW, lost_until: NOW },
        Event::RestoreResult { lots: 1, tokens_revoked: 2, sites_terminated: 3, holds: 4 },
    ]
}

fn of_holds(site: &SiteId, month: Month, token: &Credential, reason: Option<Note>) -> [Event; 7] {
    let class = Word::of("records");
    [
        Event::HoldOpened {
            hold: 3,
            site: site.clone(),
            months: vec![month, month.next()],
            classes: vec![class.clone()],
            ground: Word::of("billing-dispute"),
            review_at: NOW,
            reason,
        },
        Event::HoldReviewed { hold: 3, site: site.clone(), review_at: NOW },
        Event::HoldReleaseRequested { hold: 3, site: site.clone(), reason: None },
        Event::HoldReleased { hold: 3, site: site.clone(), requested_by: token.clone() },
        Event::HoldMoved {
            hold: 3,
            site: site.clone(),
            class: class.clone(),
            epoch: Epoch::Month(month),
            records: Some(1_000),
        },
        Event::HoldLost { hold: 3, site: site.clone(), class, epoch: Epoch::Month(month) },
        Event::HoldRefused { hold: None, site: site.clone(), why: Word::of("unknown-month") },
    ]
}

fn of_webhooks() -> [Event; 3] {
    [
        Event::WebhookMade {
            webhook: 1,
            host: Note::parse("hooks.example.com").unwrap(),
            events: vec![Word::of("month.closed")],
            all_sites: false,
            sites: vec![site(2)],
        },
        Event::WebhookSecretReplaced { webhook: 1 },
        Event::WebhookRemoved { webhook: 1 },
    ]
}

fn mark(ledger: &Ledger) -> LedgerMark {
    ledger.mark().unwrap()
}
