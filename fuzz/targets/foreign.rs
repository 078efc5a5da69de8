//! Texts that come back to us from elsewhere: a backup's manifest, a statement and an evidence
//! pack's index that somebody hands in, answers of a server that the command line reads, and the
//! headers that say who asks and which request it is. What has one spelling is read in that
//! spelling only, nothing that we did not sign verifies, and no credential but ours is one.
#![no_main]

use std::future::ready;
use std::sync::{Arc, OnceLock};

use blindtally::admin::{Book, Change, Noting, Scribe, Tokens};
use blindtally::billing;
use blindtally::crypto;
use blindtally::engine::{EngineError, SitePut};
use blindtally::ledger::{Actor, Event};
use blindtally::model::caller::{Role, SiteScope, Token};
use blindtally::model::ids::SiteId;
use blindtally::model::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use blindtally::model::site::{Site, SiteChange};
use blindtally::model::time::{Clock, Timestamp};
use blindtally::usage;
use blindtally::wire::Media;
use blindtally::wire::arrivals::{place_from_bytes, place_to_bytes};
use blindtally::wire::backup::Manifest;
use blindtally::wire::ledger::{LedgerHead, LedgerPage};
use blindtally::wire::retention::evidence::{CertificatePage, Index, Said};
use blindtally::wire::statement::{Body, Draft, Statement};
use blindtally::wire::webhooks::{hook_id, hook_number};
use blindtally_fuzz::choose;
use blindtally_fuzz::http::key;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use libfuzzer_sys::fuzz_target;

/// A key that signed none of this.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
/// The only credential: the secret is 32 zero bytes.
const GOOD: &str = "bt_aaaaaaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fuzz_target!(|data: &[u8]| {
    let Some((form, bytes)) = choose(data, 8) else { return };
    match form {
        0 => {
            if let Ok(manifest) = Manifest::parse(bytes) {
                assert_eq!(manifest.to_bytes(), bytes);
                let inside = |name: &str| !name.contains('/') && name != "..";
                assert!(manifest.files.iter().all(|file| inside(&file.name)));
            }
        }
        1 => statement(bytes),
        2 => {
            if let Ok(index) = Index::parse(bytes) {
                assert_eq!(index.to_bytes().as_deref(), Ok(bytes));
                assert!(index.files.iter().all(|file| !file.name.contains("..")));
            }
        }
        3 => {
            let _ = CertificatePage::parse(bytes);
            let _ = Said::parse(bytes);
            let _ = LedgerHead::parse(bytes);
            let _ = LedgerPage::parse(bytes);
        }
        4 => authorization(bytes),
        5 => idempotency_key(bytes),
        6 => media(bytes),
        _ => {
            if let Some(place) = place_from_bytes(bytes) {
                assert_eq!(place_from_bytes(&place_to_bytes(&place)), Some(place));
            }
            let text = String::from_utf8_lossy(bytes);
            if let Some(number) = hook_number(&text) {
                assert_eq!(hook_id(number), text);
            }
            if let Some((site, month)) = usage::read_cursor(&text) {
                assert_eq!(usage::write_cursor(&site, month), text);
            }
        }
    }
});

fn statement(bytes: &[u8]) {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if let Ok(body) = Body::parse(bytes) {
        assert_eq!(body.to_bytes().as_deref(), Ok(bytes));
    }
    if let Ok(draft) = Draft::parse(bytes) {
        assert_eq!(draft.to_bytes().as_deref(), Ok(bytes));
    }
    if let Ok(statement) = Statement::parse(bytes) {
        assert_eq!(statement.to_bytes().as_deref(), Ok(text));
    }
    assert!(billing::verify(bytes, KEY).is_err());
    let _ = billing::page_of(bytes);
}

/// A book of one token, in which nothing is ever written.
struct One(Arc<Token>);

fn refused<'a, T: Send + 'a>() -> Change<'a, T> {
    Box::pin(ready(Err(EngineError::Stopped)))
}

impl Book for One {
    fn token(&self, key_id: &str) -> Option<Arc<Token>> {
        (self.0.key_id == key_id).then(|| Arc::clone(&self.0))
    }

    fn tokens(&self) -> Vec<Arc<Token>> {
        vec![Arc::clone(&self.0)]
    }

    fn put_token(&self, _token: Token) -> Change<'_, ()> {
        refused()
    }

    fn delete_token<'a>(&'a self, _key_id: &'a str) -> Change<'a, bool> {
        refused()
    }

    fn site(&self, _id: &SiteId) -> Option<Arc<Site>> {
        None
    }

    fn sites(&self) -> Vec<Arc<Site>> {
        Vec::new()
    }

    fn put_site(&self, _id: SiteId, _change: SiteChange) -> Change<'_, SitePut> {
        refused()
    }
}

impl Scribe for One {
    fn note(&self, _actor: Actor, _event: Event) -> Noting<'_> {
        Box::pin(ready(Ok(())))
    }
}

impl Clock for One {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}

fn desk() -> &'static Tokens {
    static DESK: OnceLock<Tokens> = OnceLock::new();
    DESK.get_or_init(|| {
        let one = Arc::new(One(Arc::new(Token {
            key_id: "a".repeat(16),
            secret_hash: crypto::digest(&[0; 32]),
            role: Role::Billing,
            sites: SiteScope::All,
            name: String::new(),
            producer: String::new(),
            producers: None,
            created_at: Timestamp(0),
            expires_at: Timestamp(1),
            issuer: None,
        })));
        Tokens::new(one.clone(), one.clone(), one)
    })
}

/// A header proves the caller exactly if it has the one token, behind the word of its scheme.
fn authorization(header: &[u8]) {
    let proven = desk().authenticate(Some(header)).is_ok();
    let text = String::from_utf8_lossy(header);
    let (scheme, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let good = scheme.eq_ignore_ascii_case("bearer") && rest.trim() == GOOD;
    assert!(good || !proven, "{text}");
    let plain = [&b"Bearer "[..], GOOD.as_bytes()].concat();
    assert!(desk().authenticate(Some(&plain)).is_ok(), "the oracle has no token");
}

fn idempotency_key(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append("idempotency-key", value);
    }
    let Ok(Some(read)) = key::read(&headers, IDEMPOTENCY_KEY_BYTES_MAX) else { return };
    assert_eq!(headers.len(), 1, "one of two was taken");
    assert!((1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&read.len()));
    // Quoted, it is the same key.
    let quoted = format!("\"{}\"", read.replace('\\', "\\\\").replace('"', "\\\""));
    let Ok(value) = HeaderValue::from_str(&quoted) else { return };
    headers.insert("idempotency-key", value);
    let again = key::read(&headers, IDEMPOTENCY_KEY_BYTES_MAX);
    assert_eq!(again.ok().flatten().as_deref(), Some(&*read));
}

fn media(header: &[u8]) {
    let Some(media) = Media::parse(header) else { return };
    let text = String::from_utf8_lossy(header).to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let lines = media == Media::NdJson && essence == "application/jsonl";
    assert!(lines || essence == media.name(), "{text}");
    assert_eq!(Media::parse(media.name().as_bytes()), Some(media));
}
