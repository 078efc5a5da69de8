//! Bearer tokens: `bt_<key id>_<secret>`. The key id finds the row, the secret's hash proves it.
//!
//! The secret is 256 random bits, so a plain hash of it tells nothing and needs no slow function.
//!
//! A token is good only after the ledger holds its entry, and revoked only after that of its end:
//! an entry may stand for a change that failed right after it, but no change is without one.

use std::sync::Arc;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use zeroize::{Zeroize, Zeroizing};

use super::{AdminError, Book, Scribe, list};
use crate::crypto;
use crate::ledger::{Actor, Credential, Event, Word};
use crate::model::caller::{Caller, Issuer, Role, SiteScope, Token};
use crate::model::time::Clock;
use crate::wire::admin::{TOKEN_DAYS_MAX, TokenMade, TokenRequest, TokenView, token_end};

/// What every token begins with, so that scanners for leaked secrets can find it.
const PREFIX: &str = "bt_";
/// Characters of a key id: 10 random bytes in base 32.
const KEY_ID_CHARS: usize = 16;
/// Characters of a secret: 32 random bytes in base 64, URL alphabet, no padding.
const SECRET_CHARS: usize = 43;

/// Why a credential was refused; which of the reasons it was is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is none.
    #[error("a credential is needed")]
    Missing,
    /// It is no token, unknown, wrong or has expired.
    #[error("the credential is not valid")]
    Invalid,
}

/// The desk for tokens; cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    book: Arc<dyn Book>,
    scribe: Arc<dyn Scribe>,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// A desk over a book, the ledger and a clock.
    pub fn new(book: Arc<dyn Book>, scribe: Arc<dyn Scribe>, clock: Arc<dyn Clock>) -> Self {
        Self { book, scribe, clock }
    }

    /// Proves the caller by the value of its `Authorization` header.
    ///
    /// # Errors
    /// [`AuthError`]; an unknown key id takes the same way as a wrong secret.
    pub fn authenticate(&self, header: Option<&[u8]>) -> Result<Caller, AuthError> {
        let header = header.ok_or(AuthError::Missing)?;
        let (key_id, secret) = read_header(header).ok_or(AuthError::Invalid)?;
        let given = crypto::digest(secret.as_slice());
        let found = self.book.token(key_id);
        // A dummy for unknown ids, so that the time does not tell which ids exist.
        let expected = found.as_ref().map_or([0; 32], |token| token.secret_hash);
        let proven = crypto::equal(&given, &expected);
        let token = found.filter(|_| proven).ok_or(AuthError::Invalid)?;
        if token.expires_at <= self.clock.now() {
            return Err(AuthError::Invalid);
        }
        Ok(token)
    }

    /// Proves that a caller's credential still stands, for requests whose body came after their
    /// head.
    ///
    /// # Errors
    /// [`AuthError::Invalid`] where it was revoked, replaced or has expired since.
    pub fn still_valid(&self, caller: &Caller) -> Result<(), AuthError> {
        let found = self.book.token(&caller.key_id);
        let same =
            found.is_some_and(|token| crypto::equal(&token.secret_hash, &caller.secret_hash));
        let lives = caller.expires_at > self.clock.now();
        if same && lives { Ok(()) } else { Err(AuthError::Invalid) }
    }

    /// Makes a token from an operator's request and answers with its text, this one time. The
    /// request's text is used up.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is made then.
    pub async fn create(
        &self,
        caller: &Caller,
        text: &mut [u8],
    ) -> Result<Zeroizing<Vec<u8>>, AdminError> {
        let request = TokenRequest::parse(text)?;
        if !covers(&caller.sites, &request.sites) {
            return Err(AdminError::BeyondCaller);
        }
        let (mut token, secret) = self.mint(request);
        token.issuer = Some(Issuer::of(caller, &token.key_id));
        let answer = TokenMade::new(&token, &token_text(&token, &secret)).to_json();
        self.write(actor(&caller.key_id), token).await?;
        Ok(answer)
    }

    /// Makes the token of an operator for all sites, for the first start, without writing it down;
    /// [`Tokens::adopt`] does that once its text is in a safe place.
    pub fn mint_operator(&self, name: &str) -> (Token, Zeroizing<String>) {
        let request = TokenRequest {
            role: Role::Operator,
            sites: SiteScope::All,
            expires_in_days: TOKEN_DAYS_MAX,
            name: name.to_owned(),
            producer: name.to_owned(),
            producers: None,
        };
        let (token, secret) = self.mint(request);
        let text = token_text(&token, &secret);
        (token, text)
    }

    /// Writes a minted token down.
    ///
    /// # Errors
    /// [`AdminError`] of the engine.
    pub async fn adopt(&self, token: Token) -> Result<(), AdminError> {
        self.write(Actor::Server, token).await
    }

    async fn write(&self, actor: Actor, token: Token) -> Result<(), AdminError> {
        self.scribe.note(actor, issued(&token).ok_or(AdminError::Failed)?).await?;
        Ok(self.book.put_token(token).await?)
    }

    /// Whether a token's text names a key id that is written down.
    pub fn knows(&self, text: &str) -> bool {
        let read = read_token(text.trim().as_bytes());
        read.is_some_and(|(key_id, _)| self.book.token(key_id).is_some())
    }

    /// Whether no token is written down.
    pub fn is_empty(&self) -> bool {
        self.book.tokens().is_empty()
    }

    /// The tokens that the caller could have made, without secrets.
    pub fn list(&self, caller: &Caller) -> Vec<u8> {
        let mut tokens = self.book.tokens();
        tokens.retain(|token| covers(&caller.sites, &token.sites));
        list(tokens.iter().filter_map(|token| TokenView::new(token).to_json()))
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] also for a token with sites that the caller does not have.
    pub async fn revoke(&self, caller: &Caller, key_id: &str) -> Result<(), AdminError> {
        let token = self.book.token(key_id).ok_or(AdminError::NotFound)?;
        if !covers(&caller.sites, &token.sites) {
            return Err(AdminError::NotFound);
        }
        let ended = Credential::parse(key_id).ok_or(AdminError::NotFound)?;
        let event = Event::TokenRevoked { token: ended };
        self.scribe.note(actor(&caller.key_id), event).await?;
        // A second revocation at the same time may have been first.
        self.book.delete_token(key_id).await?.then_some(()).ok_or(AdminError::NotFound)
    }

    fn mint(&self, request: TokenRequest) -> (Token, Zeroizing<[u8; 32]>) {
        let secret = Zeroizing::new(crypto::random_bytes::<32>());
        let now = self.clock.now();
        let key_id = BASE32_NOPAD.encode(&crypto::random_bytes::<10>()).to_ascii_lowercase();
        // A producer without any name would share its records' ids with every other such one.
        let named = !request.producer.is_empty();
        let token = Token {
            producer: if named { request.producer } else { key_id.clone() },
            key_id,
            secret_hash: crypto::digest(secret.as_slice()),
            role: request.role,
            sites: request.sites,
            producers: request.producers.map(|names| names.into_iter().collect()),
            name: request.name,
            created_at: now,
            expires_at: token_end(now, request.expires_in_days),
            issuer: None,
        };
        (token, secret)
    }
}

/// The entry of a token. Every key id that is minted has the form of a credential.
fn issued(token: &Token) -> Option<Event> {
    let sites = match &token.sites {
        SiteScope::All => Vec::new(),
        SiteScope::Some(sites) => sites.iter().cloned().collect(),
    };
    Some(Event::TokenIssued {
        token: Credential::parse(&token.key_id)?,
        role: Word::of(token.role.name()),
        all_sites: token.sites == SiteScope::All,
        sites,
        expires_at: token.expires_at,
    })
}

pub(super) fn actor(key_id: &str) -> Actor {
    Credential::parse(key_id).map_or(Actor::Server, Actor::Credential)
}

/// Whether every site of `inner` is one of `outer`.
fn covers(outer: &SiteScope, inner: &SiteScope) -> bool {
    match (outer, inner) {
        (SiteScope::All, _) => true,
        (SiteScope::Some(_), SiteScope::All) => false,
        (SiteScope::Some(outer), SiteScope::Some(inner)) => inner.is_subset(outer),
    }
}

fn token_text(token: &Token, secret: &[u8; 32]) -> Zeroizing<String> {
    let mut secret = BASE64URL_NOPAD.encode(secret);
    let text = Zeroizing::new(format!("{PREFIX}{}_{secret}", token.key_id));
    secret.zeroize();
    text
}

/// `Bearer <token>`; the scheme in letters of either case (RFC 9110 §11.1).
fn read_header(header: &[u8]) -> Option<(&str, Zeroizing<[u8; 32]>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || rest.first() != Some(&b' ') {
        return None;
    }
    read_token(rest.trim_ascii())
}

fn read_token(text: &[u8]) -> Option<(&str, Zeroizing<[u8; 32]>)> {
    let rest = text.strip_prefix(PREFIX.as_bytes())?;
    let (key_id, rest) = rest.split_at_checked(KEY_ID_CHARS)?;
    let secret_text = rest.strip_prefix(b"_")?;
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if secret_text.len() != SECRET_CHARS || !key_id.iter().all(plain) {
        return None;
    }
    let mut secret = Zeroizing::new([0; 32]);
    BASE64URL_NOPAD.decode_mut(secret_text, secret.as_mut_slice()).ok()?;
    Some((std::str::from_utf8(key_id).ok()?, secret))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Memory, TestClock, caller};
    use super::*;
    use crate::engine::EngineError;
    use crate::model::ids::SiteId;
    use crate::model::time::DAY_MS;
    use std::sync::atomic::Ordering;

    struct Desk {
        tokens: Tokens,
        book: Arc<Memory>,
        clock: Arc<TestClock>,
    }

    fn desk() -> Desk {
        let (book, clock) = (Arc::new(Memory::default()), Arc::new(TestClock::default()));
        Desk { tokens: Tokens::new(book.clone(), book.clone(), clock.clone()), book, clock }
    }

    async fn made(desk: &Desk) -> String {
        let (token, text) = desk.tokens.mint_operator("first");
        desk.tokens.adopt(token).await.unwrap();
        text.to_string()
    }

    fn bearer(desk: &Desk, text: &str) -> Result<Caller, AuthError> {
        desk.tokens.authenticate(Some(format!("Bearer {text}").as_bytes()))
    }

    #[tokio::test]
    async fn only_the_secret_that_was_given_proves_the_caller() {
        let desk = desk();
        let text = made(&desk).await;
        assert_eq!(text.len(), PREFIX.len() + KEY_ID_CHARS + 1 + SECRET_CHARS);
        assert_eq!(bearer(&desk, &text).unwrap().role, Role::Operator);
        let lower = format!("bearer  {text}");
        assert!(desk.tokens.authenticate(Some(lower.as_bytes())).is_ok());

        let mut wrong = text.clone().into_bytes();
        let last = wrong.len() - 5;
        wrong[last] = if wrong[last] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).unwrap();
        let unknown = format!("bt_{}{}", "a".repeat(KEY_ID_CHARS), &text[19..]);
        let upper = text.replace("bt_", "BT_");
        for bad in [&wrong, &unknown, &upper, &text[..61], &format!("{text}A"), "bt_", "", "é"] {
            assert_eq!(bearer(&desk, bad).unwrap_err(), AuthError::Invalid, "{bad}");
        }
        assert_eq!(desk.tokens.authenticate(None).unwrap_err(), AuthError::Missing);
        for bad in [&b"Basic YTpi"[..], b"Bearer", b"", b"Bear", text.as_bytes()] {
            assert_eq!(desk.tokens.authenticate(Some(bad)).unwrap_err(), AuthError::Invalid);
        }
    }

    #[tokio::test]
    async fn no_secret_is_written_down() {
        let desk = desk();
        let text = made(&desk).await;
        let (key_id, secret) = read_token(text.as_bytes()).unwrap();
        let written = desk.book.token(key_id).unwrap();
        assert_eq!(written.secret_hash, crypto::digest(secret.as_slice()));
        assert_ne!(&written.secret_hash, &*secret);
        assert!(desk.tokens.knows(&text) && !desk.tokens.is_empty());
        // The last character carries two bits that must be zero, else two texts were one token.
        let twin = format!("{}{}", &text[..text.len() - 1], '_');
        assert_eq!(bearer(&desk, &twin).unwrap_err(), AuthError::Invalid);
    }

    #[tokio::test]
    async fn a_token_ends_at_its_time_and_when_it_is_revoked() {
        let desk = desk();
        let operator = caller(Role::Operator, SiteScope::All);
        let text = made(&desk).await;
        let life = i64::from(TOKEN_DAYS_MAX) * DAY_MS;
        desk.clock.0.fetch_add(life - 1, Ordering::Relaxed);
        assert!(bearer(&desk, &text).is_ok());
        desk.clock.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(bearer(&desk, &text).unwrap_err(), AuthError::Invalid);

        let text = made(&desk).await;
        let key_id = &text[3..19];
        desk.tokens.revoke(&operator, key_id).await.unwrap();
        assert_eq!(bearer(&desk, &text).unwrap_err(), AuthError::Invalid);
        assert_eq!(desk.tokens.revoke(&operator, key_id).await, Err(AdminError::NotFound));
    }

    #[tokio::test]
    async fn a_credential_that_ended_after_its_proof_is_found_out() {
        let desk = desk();
        let operator = caller(Role::Operator, SiteScope::All);
        let text = made(&desk).await;
        let proven = bearer(&desk, &text).unwrap();
        assert_eq!(desk.tokens.still_valid(&proven), Ok(()));
        let mut other = Token::clone(&proven);
        other.secret_hash = [7; 32];
        assert_eq!(desk.tokens.still_valid(&Arc::new(other)), Err(AuthError::Invalid));
        desk.tokens.revoke(&operator, &proven.key_id).await.unwrap();
        assert_eq!(desk.tokens.still_valid(&proven), Err(AuthError::Invalid));
        let text = made(&desk).await;
        let proven = bearer(&desk, &text).unwrap();
        desk.clock.0.fetch_add(i64::from(TOKEN_DAYS_MAX) * DAY_MS, Ordering::Relaxed);
        assert_eq!(desk.tokens.still_valid(&proven), Err(AuthError::Invalid));
    }

    #[tokio::test]
    async fn nobody_gives_or_ends_more_than_they_have() {
        let desk = desk();
        let sites = |names: &[&str]| {
            let ids = names.iter().filter_map(|name| SiteId::parse(name.as_bytes()));
            SiteScope::Some(ids.collect())
        };
        let operator = caller(Role::Operator, sites(&["A", "B"]));
        let request = |sites: &str| {
            format!(r#"{{"role":"billing","sites":[{sites}],"expires_in_days":1,"name":"n"}}"#)
                .into_bytes()
        };
        let refused = desk.tokens.create(&operator, &mut request("\"*\"")).await;
        assert_eq!(refused, Err(AdminError::BeyondCaller));
        let refused = desk.tokens.create(&operator, &mut request("\"A\",\"C\"")).await;
        assert_eq!(refused, Err(AdminError::BeyondCaller));
        let made = desk.tokens.create(&operator, &mut request("\"A\"")).await.unwrap();
        let made = String::from_utf8(made.to_vec()).unwrap();
        let at = made.find("bt_").unwrap();
        assert_eq!(bearer(&desk, &made[at..at + 63]).unwrap().role, Role::Billing);

        let (all, _) = desk.tokens.mint_operator("all");
        let key_id = all.key_id.clone();
        desk.tokens.adopt(all).await.unwrap();
        assert_eq!(desk.tokens.revoke(&operator, &key_id).await, Err(AdminError::NotFound));
        let listed = String::from_utf8(desk.tokens.list(&operator)).unwrap();
        assert!(!listed.contains(&key_id) && listed.contains("billing"), "{listed}");
        assert!(!listed.contains("bt_") && !listed.contains("hash"), "{listed}");
    }

    #[tokio::test]
    async fn each_change_is_in_the_ledger_before_it_is_made() {
        let desk = desk();
        let operator = caller(Role::Operator, SiteScope::All);
        let request = br#"{"role":"billing","sites":["A"],"expires_in_days":1,"name":"n"}"#;
        let made = desk.tokens.create(&operator, &mut request.to_vec()).await.unwrap();
        let made = String::from_utf8(made.to_vec()).unwrap();
        let text = &made[made.find("bt_").unwrap()..][..63];
        desk.tokens.revoke(&operator, &text[3..19]).await.unwrap();
        let (first, _) = desk.tokens.mint_operator("first");
        let of_first = first.key_id.clone();
        desk.tokens.adopt(first).await.unwrap();
        let notes = desk.book.notes();
        let credential = |key_id: &str| Credential::parse(key_id).unwrap();
        let end = desk.clock.now().0 + DAY_MS;
        let who = Actor::Credential(credential(&operator.key_id));
        let token = credential(&text[3..19]);
        let want = Event::TokenIssued {
            token: token.clone(),
            role: Word::of("billing"),
            all_sites: false,
            sites: vec![SiteId::parse(b"A").unwrap()],
            expires_at: crate::model::time::Timestamp(end),
        };
        assert_eq!(notes[0], (who.clone(), want));
        assert_eq!(notes[1], (who, Event::TokenRevoked { token }));
        assert_eq!(notes[2].0, Actor::Server);
        let Event::TokenIssued { token, all_sites, .. } = &notes[2].1 else { panic!("{notes:?}") };
        assert_eq!((token, *all_sites), (&credential(&of_first), true));
        assert!(!format!("{notes:?}").contains(&text[20..]), "a secret is in the ledger");

        // A ledger that fails lets nothing be made or ended.
        desk.book.break_notes();
        let refused = desk.tokens.create(&operator, &mut request.to_vec()).await;
        assert_eq!(refused, Err(AdminError::Stopped));
        assert_eq!(desk.tokens.revoke(&operator, &of_first).await, Err(AdminError::Stopped));
        assert_eq!(desk.book.tokens().len(), 1);
    }

    #[tokio::test]
    async fn a_failed_write_makes_no_token() {
        let desk = desk();
        desk.book.fail(EngineError::DiskFull);
        let operator = caller(Role::Operator, SiteScope::All);
        let request = br#"{"role":"billing","sites":["*"],"expires_in_days":1,"name":"n"}"#;
        let refused = desk.tokens.create(&operator, &mut request.to_vec()).await;
        assert_eq!(refused, Err(AdminError::DiskFull));
        assert!(desk.tokens.is_empty());
    }
}
