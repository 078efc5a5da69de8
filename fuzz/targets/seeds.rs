//! Writes the seeds that no hand can write: packed bodies and stored bytes. Run by
//! `fuzz/run.sh --seeds` after a format has changed; what it writes is checked in.
//!
//! It is built as a target, since instrumented code links with nothing but libFuzzer, and ends
//! before the first run.
#![no_main]

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use blindtally::model::arrival::{Credential, Received, Sender};
use blindtally::model::batch::{
    Batch, Bucket, Claim, DeviceTag, Effect, Epoch, Item, SiteMonth, Verdict,
};
use blindtally::model::caller::{Role, SiteScope, Token};
use blindtally::model::ids::{GroupId, KeyId, ShortTag, SiteId, SiteNo, Tag};
use blindtally::model::person::Person;
use blindtally::model::pseudonym::{Algorithm, Pseudonyms, UserForm};
use blindtally::model::reason::Reason;
use blindtally::model::retention::Lot;
use blindtally::model::rules::RuleSet;
use blindtally::model::site::{Counting, MonthSpan, Site, SiteSettings};
use blindtally::model::time::{Day, Month, Timestamp};
use blindtally::model::usage::{Counters, Extent, Tally};
use blindtally::model::vocab::{Class, DeviceKind, DrmType, Quality, RecordType, Scope};
use blindtally::store::arrivals::{self, Total};
use blindtally::store::backup::{BackupRow, DataMark};
use blindtally::store::block::{self, Row, RowDetails};
use blindtally::store::destruction::{DoomedKey, DoomedLot, HeldRow, Stage, UnderWay, encode_gone};
use blindtally::store::erasure::{self, Erasure, Part, Sample, encode_suppressed};
use blindtally::store::filter::Filter;
use blindtally::store::header::Header;
use blindtally::store::pages::{self, RunHead};
use blindtally::store::rows::{self, Position};
use blindtally::store::shapes::DetailsWriter;
use blindtally::store::verdict::{self, GroupVerdict};
use blindtally::store::{batch, details, keys};
use libfuzzer_sys::fuzz_target;

/// 2026-11-22T04:16:00Z.
const AT: Timestamp = Timestamp(1_795_320_960_000);
const MONTH: Month = Month(24_322);

fuzz_target!(
    init: end(write_all()),
    |_bytes| {}
);

fn end(written: io::Result<()>) {
    written.expect("the seeds can be written");
    std::process::exit(0);
}

fn write_all() -> io::Result<()> {
    let seeds = std::env::var_os("SEEDS").expect("SEEDS names the directory of the seeds");
    stored(&Path::new(&seeds).join("stored"))?;
    packed(&Path::new(&seeds).join("inflate"))
}

/// Each seed begins with the character that chooses its format (see targets/stored.rs).
fn write(directory: &Path, name: &str, choice: u8, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join(name), [&[choice], bytes].concat())
}

fn stored(to: &Path) -> io::Result<()> {
    write(to, "batch", b'0', &batch::encode(&a_batch()))?;
    write(to, "batch-empty", b'0', &batch::encode(&Batch::default()))?;
    write(to, "verdict", b'1', &a_verdict().encode())?;
    for (name, rows) in [("block-empty", 0), ("block-small", 3), ("block-packed", 60)] {
        write(to, name, b'2', &a_block(rows))?;
    }
    let (first, last) = (AT, Timestamp(AT.0 + 5_000));
    let mut tags = [vec![1 << 40, 2 << 40, 3 << 40], (0..40).collect(), Vec::new()];
    let [users, devices, marks] = &mut tags;
    let header = Header::new(90, (first, last), [users, devices, marks]);
    write(to, "header", b'3', &header.encode())?;
    let fences = vec![1, 1 << 20, 1 << 20, 1 << 60];
    write(to, "run-head", b'4', &RunHead { tags: 1_900, fences }.encode())?;
    let entries = [(ShortTag([1; 12]), 1), (ShortTag([2; 12]), 0x81), (ShortTag([0xff; 12]), 2)];
    write(to, "run-page", b'5', &pages::encode_page(&entries))?;
    write(to, "site", b'6', &rows::encode_site(&a_site()))?;
    write(to, "token", b'7', &rows::encode_token(&a_token()))?;
    let position = Position {
        folded_through: 300,
        next_block: 17,
        next_run: 1 << 40,
        seen_floor: 20_779,
        believed: AT,
    };
    write(to, "position", b'8', &position.encode())?;
    write(to, "details", b'9', &a_row(5))?;
    write(to, "number", b'0' + 10, &(-1i64).to_le_bytes())?;
    let tally = Tally { counters: some_counters(), ..Tally::default() };
    let counters = verdict::encode_tally(&tally);
    write(to, "counters", b'0' + 11, &counters)?;
    write(to, "key-page", b'0' + 12, &keys::page(1, 2, 3, 4))?;
    write(to, "key-block", b'0' + 12, &keys::block(true, SiteNo(1), MONTH.0, 9))?;
    let at = SiteMonth { site: SiteNo(1), month: MONTH };
    write(to, "key-gone", b'0' + 12, &keys::gone(&Lot::Sets(at)))?;
    write(to, "key-gone-access", b'0' + 12, &keys::gone(&Lot::Access(MONTH)))?;
    let key = DoomedKey { kind: 6, id: KeyId(9), parent: KeyId(3), commitment: [7; 32] };
    let sets = DoomedLot {
        lot: Lot::Sets(at),
        records: Some(0),
        blocks: (0, 0),
        keys: vec![key],
        heirs: Vec::new(),
        hold: None,
    };
    let under_way = UnderWay { stage: Stage::Folded, vek_epoch: 2, lots: vec![sets] };
    write(to, "destruction", b'0' + 14, &under_way.encode())?;
    write(to, "gone", b'0' + 15, &encode_gone(300))?;
    let filter = Filter::build(&mut (0..30).collect());
    write(to, "filter", b'0' + 13, &[&7u64.to_le_bytes()[..], filter.as_bytes()].concat())?;
    newer(to)
}

/// What came after the first version.
fn newer(to: &Path) -> io::Result<()> {
    let mut received = Received { accepted: 9, duplicates: 2, ..Received::default() };
    received.reject(Reason::BadTime, 3);
    let credential = Credential { producer: "p".into(), sites: "*".into() };
    let sender = Sender { credential: std::sync::Arc::new(credential), producer: "q".into() };
    let hour = arrivals::encode_hour([(&sender, &received)].into_iter());
    write(to, "arrivals-hour", b'0' + 16, &hour)?;
    write(to, "arrivals-total", b'0' + 17, &Total { received, before: 4 }.encode())?;
    write(to, "erasure", b'0' + 18, &an_erasure().encode())?;
    write(to, "suppressed", b'0' + 19, &encode_suppressed(&[Tag([9; 16]); 8]))?;
    let mark = DataMark { generation: 3, ledger_size: 9, ledger_root: [7; 32] };
    let backup = BackupRow { operation: 5, barrier: AT, mark, ..BackupRow::default() };
    write(to, "backup-row", b'0' + 20, &backup.encode())?;
    write(to, "data-mark", b'0' + 21, &mark.encode())?;
    let held = HeldRow { records: 8, bucket_key: KeyId(6) };
    write(to, "held-row", b'0' + 23, &held.encode())?;
    let mut home = vec![0; 1_024];
    home[..8].copy_from_slice(b"BTVEKHOM");
    home[9] = 1;
    home[33] = 1;
    home[75] = 73;
    write(to, "vek-home", b'0' + 24, &home)?;
    // Vault and number of the slot, then a bucket's key: site `A`, records, October 2026.
    let mut slot = vec![0; 20 + 256];
    slot[20..24].copy_from_slice(&[1, 7, 0, 2]);
    slot[24..28].copy_from_slice(&MONTH.0.to_be_bytes());
    (slot[35], slot[43], slot[51], slot[52]) = (9, 3, 4, b'A');
    write(to, "register-slot", b'0' + 27, &slot)?;
    // The letter of the copy, then a header of 1,024 slots, 3 of them live.
    let mut header = vec![0; 1 + 160];
    header[..11].copy_from_slice(b"ABTREGSTR\0\x01");
    (header[11], header[15]) = (b'A', 1);
    (header[47], header[56], header[64], header[72]) = (4, 3, 1, 9);
    write(to, "register-header", b'0' + 27, &header)?;
    write(to, "spent", b'0' + 24, br#"{"challenges":2,"refused_on":20779}"#)
}

fn an_erasure() -> Erasure {
    let site = SiteNo(1);
    let bucket = Bucket { class: Class::Records, site, epoch: Epoch::Month(MONTH) };
    Erasure {
        number: 12,
        stage: erasure::Stage::Hidden,
        site,
        months: vec![MONTH],
        person: Person { users: vec![Tag([1; 16])], devices: vec![Tag([2; 16])] },
        suppress: true,
        parts: vec![Part { bucket, key: KeyId(7), old: vec![KeyId(5)] }],
        vek_epoch: 2,
        blocks: 1,
        records: 2,
        gone: vec![KeyId(5)],
        left: Some(vec![bucket]),
        samples: vec![Sample { bucket, fragment: true, number: 3, sealed: vec![1; 40] }],
        repeats: Some(4),
    }
}

fn a_batch() -> Batch {
    let mut batch = Batch::default();
    let mut writer = DetailsWriter::with_capacity(1);
    for row in 0..3u8 {
        let tag = |bit: u8| (row & bit == bit).then_some(ShortTag([row + bit; 12]));
        let site = SiteNo(u32::from(row) * 200);
        let claim = Claim {
            month: batch.month_index(SiteMonth { site, month: MONTH }).unwrap(),
            day: batch.day_index(Day(20_779)).unwrap(),
            kind: RecordType::LicenseIssued,
            drm: DrmType::Widevine,
            effect: Effect::Issued,
            occurred_at: Timestamp(AT.0 + i64::from(row) * 1_000),
            seen: ShortTag([row; 12]),
            user: tag(1),
            device: tag(2),
            session: None,
            group: None,
            sentinel: false,
            by_device: false,
            suppressed: false,
        };
        batch.claims.push(claim);
        for item in details::items(&a_row(row)) {
            let (field, item) = item.unwrap();
            writer.push(field, item);
        }
        writer.end_row();
    }
    batch.details = writer.finish();
    batch
}

fn a_row(row: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let device = DeviceTag {
        kind: DeviceKind::AndroidId,
        quality: Quality::Good,
        scope: Scope::App,
        recommended: row.is_multiple_of(2),
        tag: Tag([row; 16]),
    };
    details::push(&mut out, details::USER, Item::Tag(Tag([row; 16])));
    details::push(&mut out, 3, Item::Text(b"Pixel 9"));
    details::push(&mut out, 20, Item::Number(i64::from(row) - 3_600));
    details::push(&mut out, 33, Item::Text(b"dash"));
    details::push(&mut out, 33, Item::Text(b"hls"));
    details::push(&mut out, 119, Item::Uuid([row; 16]));
    details::push(&mut out, 129, Item::Device(device));
    out
}

fn a_block(rows: u8) -> Vec<u8> {
    let details: Vec<Vec<u8>> = (0..rows).map(a_row).collect();
    let rows = details.iter().enumerate().map(|(at, details)| {
        // Without the user, who is the first of them: 18 bytes.
        let user = (at > 0).then_some(Tag([at as u8; 16]));
        let details = RowDetails::Plain(&details[18..]);
        Row { user, occurred_at: Timestamp(AT.0 + at as i64 * 1_000), details }
    });
    block::encode(&rows.collect::<Vec<_>>()).expect("sound rows").0
}

fn some_counters() -> Counters {
    Counters { mau: 81_231, licenses_issued: 1_203_441, records: u64::MAX, ..Counters::default() }
}

fn a_verdict() -> GroupVerdict {
    let many = [Verdict::Accepted; 40];
    let at = SiteMonth { site: SiteNo(1), month: MONTH };
    GroupVerdict {
        judged_at: AT,
        batches: vec![many.to_vec(), vec![Verdict::Duplicate, Verdict::Correction], vec![]],
        believed: AT,
        tallies: vec![(at, Tally { counters: some_counters(), ..Tally::default() })],
        arrivals: vec![Default::default()],
        extent: Extent::Everything,
    }
}

fn a_site() -> Site {
    let settings = SiteSettings {
        name: "Acme".to_owned(),
        time_zone: "Asia/Seoul".to_owned(),
        sentinel_user_ids: vec!["nobody".to_owned()],
        records_days: Some(30),
        plan_mau: Some(50_000),
        closing_hours: 24,
        counting: Counting { device_as_user: true, ..Counting::default() },
        user_form: UserForm { trim: true, ..UserForm::default() },
        billing_group: GroupId::parse(b"acme-all"),
    };
    Site {
        id: SiteId::parse(b"ACME").expect("a site id"),
        no: SiteNo(1),
        algorithm: Algorithm::Blake3,
        created_at: AT,
        terminated_at: None,
        pending: vec![(Month(MONTH.0 + 1), SiteSettings::default())],
        past: vec![(MONTH, SiteSettings::default())],
        settings,
        months: vec![MonthSpan {
            month: MONTH,
            from: AT,
            to: AT,
            partitions: 1,
            pseudonyms: Pseudonyms::default(),
            rule_set: RuleSet::CURRENT,
        }],
        closed_through: Some(MONTH),
    }
}

fn a_token() -> Token {
    let sites = [SiteId::parse(b"ACME").expect("a site id")];
    Token {
        key_id: "abcdefgh01234567".to_owned(),
        secret_hash: [9; 32],
        role: Role::Producer,
        sites: SiteScope::Some(sites.into_iter().collect()),
        name: "licence server 1".to_owned(),
        producer: "license-server".to_owned(),
        producers: Some(["license-server".to_owned()].into_iter().collect()),
        created_at: AT,
        expires_at: AT,
    }
}

/// Choices: 0 gzip, 1 zstd, 2 not packed; and 3 more for each smaller cap.
fn packed(to: &Path) -> io::Result<()> {
    let plain = br#"{"event_id":"e1","type":"drm.license.issued","site_id":"ACME"}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(plain)?;
    let gzip = gzip.finish()?;
    let zstd = zstd::bulk::compress(plain, 3)?;
    // A skippable frame, and a bomb of a hundred times the smallest cap.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip", &zstd].concat();
    let bomb = zstd::bulk::compress(&vec![0; 100 << 10], 19)?;
    write(to, "gzip", b'0', &gzip)?;
    write(to, "gzip-twice", b'0', &[gzip.as_slice(), &gzip].concat())?;
    write(to, "zstd", b'1', &zstd)?;
    write(to, "zstd-skippable", b'1', &skippable)?;
    write(to, "zstd-bomb", b'4', &bomb)?;
    write(to, "gzip-no-room", b'6', &gzip)?;
    write(to, "identity", b'2', plain)
}
