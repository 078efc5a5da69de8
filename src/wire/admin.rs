//! The bodies of the operator's requests and answers: sites and tokens. They are read with the same
//! strict reader as records: an unknown member, a member given twice and a wrong type are refused,
//! and the fault names a schema member, never a value.

mod site;

use std::ops::RangeInclusive;

use serde::Serialize;
use zeroize::Zeroizing;

use super::fault::{Flaw, Part, Pointer};
use super::json::{Broken, Reader};
use crate::identity::RawId;
use crate::model::caller::{Role, SiteScope, Token};
use crate::model::ids::SiteId;
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
pub use site::{SitePatch, site_to_value};

/// Longest name of a site or a credential, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most elements of a list in a request.
pub const ELEMENTS_MAX: usize = 1_000;
/// Most days that a record may be kept by a site's own setting.
pub const RECORDS_DAYS_MAX: u32 = 3_650;
/// Most users that a plan may include.
pub const PLAN_MAU_MAX: u64 = 1_000_000_000_000;
/// Life of a token unless the request says otherwise, days.
pub const TOKEN_DAYS: u32 = 90;
/// Longest life of a token, days.
pub const TOKEN_DAYS_MAX: u32 = 3_650;

/// The body of `POST /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// What the token may do.
    pub role: Role,
    /// Where it may do it.
    pub sites: SiteScope,
    /// How long it lives.
    pub expires_in_days: u32,
    /// The holder, for people.
    pub name: String,
    /// The producer name; the holder's name unless it was given.
    pub producer: String,
    /// Other producer names that records may carry; `None` = any.
    pub producers: Option<Vec<String>>,
}

impl TokenRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let (mut role, mut sites, mut days) = (None, None, None);
        let (mut name, mut producer, mut producers) = (None, None, None);
        let producer_text = |form: &mut Form<'_>| form.text(1, limits::PRODUCER_BYTES_MAX);
        Form::read(body, |form, member| match member {
            b"role" => form.member("role", |form| {
                let text = form.text(0, limits::TEXT_BYTES_MAX)?;
                let found = Role::from_name(text.as_bytes());
                role = Some(found.ok_or_else(|| form.flaw(Reason::BadValue))?);
                Ok(())
            }),
            b"sites" => form.member("sites", |form| {
                sites = Some(form.sites()?);
                Ok(())
            }),
            b"expires_in_days" => form.member("expires_in_days", |form| {
                days = form.optional(|form| form.days(TOKEN_DAYS_MAX))?;
                Ok(())
            }),
            b"name" => form.member("name", |form| {
                name = form.optional(|form| form.text(0, NAME_BYTES_MAX))?;
                Ok(())
            }),
            b"producer" => form.member("producer", |form| {
                producer = form.optional(producer_text)?;
                Ok(())
            }),
            b"producers" => form.member("producers", |form| {
                producers = form.optional(|form| form.list(producer_text))?;
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        let missing = |name| Flaw { reason: Reason::MissingField, pointer: Pointer::of(name) };
        let name = name.unwrap_or_default();
        // A long name cannot stand in for the producer, and only producers need one.
        let named = producer.or_else(|| short(&name));
        let producer = match named {
            None if role == Some(Role::Producer) => return Err(missing("producer")),
            named => named.unwrap_or_default(),
        };
        Ok(Self {
            role: role.ok_or_else(|| missing("role"))?,
            sites: sites.ok_or_else(|| missing("sites"))?,
            expires_in_days: days.unwrap_or(TOKEN_DAYS),
            name,
            producer,
            producers,
        })
    }
}

/// A name that is short enough for a producer's.
fn short(name: &str) -> Option<String> {
    (name.len() <= limits::PRODUCER_BYTES_MAX).then(|| name.to_owned())
}

/// The strict reading of a small body: one flaw ends it.
pub(super) struct Form<'a> {
    reader: Reader<'a>,
    path: Pointer,
    seen: Vec<Pointer>,
}

type OnMember<'m, 'a> = &'m mut dyn FnMut(&mut Form<'a>, &[u8]) -> Result<(), Flaw>;

impl<'a> Form<'a> {
    /// Reads a body that is one object.
    pub(super) fn read(
        body: &'a mut [u8],
        mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        let bad = Flaw { reason: Reason::BadJson, pointer: Pointer::ROOT };
        let reader = Reader::new(body).ok_or(bad)?;
        let mut form = Self { reader, path: Pointer::ROOT, seen: Vec::new() };
        if form.reader.peek() != b'{' {
            return Err(bad);
        }
        form.object(&mut each)?;
        form.reader.end().map_err(|_| bad)
    }

    pub(super) fn flaw(&self, reason: Reason) -> Flaw {
        Flaw { reason, pointer: self.path }
    }

    pub(super) fn unknown(&self) -> Flaw {
        self.flaw(Reason::UnknownField)
    }

    fn broken(&self, _: Broken) -> Flaw {
        Flaw { reason: Reason::BadJson, pointer: Pointer::ROOT }
    }

    pub(super) fn object(&mut self, each: OnMember<'_, 'a>) -> Result<(), Flaw> {
        if !self.reader.take(b'{') {
            return Err(self.flaw(Reason::WrongType));
        }
        let mut more = !self.reader.take(b'}');
        while more {
            let name = self.reader.string().map_err(|e| self.broken(e))?;
            self.reader.colon().map_err(|e| self.broken(e))?;
            each(self, name)?;
            more = self.reader.more(b'}').map_err(|e| self.broken(e))?;
        }
        Ok(())
    }

    /// Reads a known member, once.
    pub(super) fn member(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        self.path.push(Part::Name(name));
        if self.seen.contains(&self.path) {
            return Err(self.flaw(Reason::DuplicateField));
        }
        self.seen.push(self.path);
        read(self)?;
        self.path.pop();
        Ok(())
    }

    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Flaw>,
    ) -> Result<Option<T>, Flaw> {
        if self.reader.peek() == b'n' {
            self.null()?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Nothing else than null.
    fn null(&mut self) -> Result<(), Flaw> {
        match self.reader.peek() {
            b'n' => self.reader.literal("null").map_err(|e| self.broken(e)),
            _ => Err(self.flaw(Reason::BadValue)),
        }
    }

    /// A known member that is true or false; null leaves it as it is.
    pub(super) fn flag(&mut self, name: &'static str, into: &mut Option<bool>) -> Result<(), Flaw> {
        self.member(name, |form| {
            *into = form.optional(Self::truth)?;
            Ok(())
        })
    }

    fn truth(&mut self) -> Result<bool, Flaw> {
        let (word, truth) = match self.reader.peek() {
            b't' => ("true", true),
            b'f' => ("false", false),
            _ => return Err(self.flaw(Reason::WrongType)),
        };
        self.reader.literal(word).map_err(|e| self.broken(e))?;
        Ok(truth)
    }

    pub(super) fn text(&mut self, min: usize, max: usize) -> Result<String, Flaw> {
        if self.reader.peek() != b'"' {
            return Err(self.flaw(Reason::WrongType));
        }
        let text = self.reader.string().map_err(|e| self.broken(e))?;
        if text.len() > max {
            return Err(self.flaw(Reason::TooLong));
        }
        if text.len() < min {
            return Err(self.flaw(Reason::BadValue));
        }
        String::from_utf8(text.to_vec()).map_err(|_| self.flaw(Reason::BadJson))
    }

    /// An id, unread: it stays where it is in the body, which whoever reads it wipes.
    pub(super) fn raw(&mut self, max: usize) -> Result<RawId<'a>, Flaw> {
        if self.reader.peek() != b'"' {
            return Err(self.flaw(Reason::WrongType));
        }
        let text = self.reader.string().map_err(|e| self.broken(e))?;
        let raw = RawId::new(text);
        if raw.len() > max { Err(self.flaw(Reason::TooLong)) } else { Ok(raw) }
    }

    fn days(&mut self, max: u32) -> Result<u32, Flaw> {
        self.number(1..=max)
    }

    fn number(&mut self, range: RangeInclusive<u32>) -> Result<u32, Flaw> {
        let most = *range.end();
        let range = u64::from(*range.start())..=u64::from(most);
        // The number fits, because its bound does.
        self.count(range).map(|number| u32::try_from(number).unwrap_or(most))
    }

    pub(super) fn count(&mut self, range: RangeInclusive<u64>) -> Result<u64, Flaw> {
        if !matches!(self.reader.peek(), b'-' | b'0'..=b'9') {
            return Err(self.flaw(Reason::WrongType));
        }
        let digits = self.reader.number().map_err(|e| self.broken(e))?;
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
        number.filter(|found| range.contains(found)).ok_or_else(|| self.flaw(Reason::BadValue))
    }

    pub(super) fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, Flaw>,
    ) -> Result<Vec<T>, Flaw> {
        if !self.reader.take(b'[') {
            return Err(self.flaw(Reason::WrongType));
        }
        let mut list = Vec::new();
        let mut more = !self.reader.take(b']');
        while more {
            if list.len() >= ELEMENTS_MAX {
                return Err(self.flaw(Reason::TooLong));
            }
            self.path.push(Part::Index(u16::try_from(list.len()).unwrap_or(u16::MAX)));
            list.push(read(self)?);
            self.path.pop();
            more = self.reader.more(b']').map_err(|e| self.broken(e))?;
        }
        Ok(list)
    }

    /// A list of sites; `"*"` alone is all of them.
    pub(super) fn sites(&mut self) -> Result<SiteScope, Flaw> {
        // `None` stands for the star.
        let site = |form: &mut Self| {
            let text = form.text(1, limits::SITE_ID_BYTES_MAX)?;
            if text == "*" {
                return Ok(None);
            }
            let site = SiteId::parse(text.as_bytes());
            site.map(Some).ok_or_else(|| form.flaw(Reason::BadValue))
        };
        let list = self.list(site)?;
        if list.iter().any(Option::is_none) {
            let alone = list.len() == 1;
            return if alone { Ok(SiteScope::All) } else { Err(self.flaw(Reason::BadValue)) };
        }
        if list.is_empty() {
            return Err(self.flaw(Reason::BadValue));
        }
        Ok(SiteScope::Some(list.into_iter().flatten().collect()))
    }
}

/// A token as it is listed: never its secret.
#[derive(Serialize)]
pub struct TokenView<'t> {
    key_id: &'t str,
    role: &'static str,
    sites: Vec<&'t str>,
    name: &'t str,
    producer: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    producers: Option<Vec<&'t str>>,
    created_at: String,
    expires_at: String,
}

impl<'t> TokenView<'t> {
    /// The view of a stored token.
    pub fn new(token: &'t Token) -> Self {
        let names = |names: &'t std::collections::BTreeSet<String>| {
            names.iter().map(String::as_str).collect()
        };
        Self {
            key_id: &token.key_id,
            role: token.role.name(),
            sites: match &token.sites {
                SiteScope::All => vec!["*"],
                SiteScope::Some(sites) => sites.iter().map(SiteId::as_str).collect(),
            },
            name: &token.name,
            producer: &token.producer,
            producers: token.producers.as_ref().map(names),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.to_string(),
        }
    }

    /// The view as JSON.
    pub fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// The answer that shows a token, once: the view and the whole secret text.
#[derive(Serialize)]
pub struct TokenMade<'t> {
    token: &'t str,
    #[serde(flatten)]
    view: TokenView<'t>,
}

impl<'t> TokenMade<'t> {
    /// The answer for a new token.
    pub fn new(token: &'t Token, text: &'t str) -> Self {
        Self { token: text, view: TokenView::new(token) }
    }

    /// The answer as a JSON text, wiped when it is let go. It holds the secret: write it to the
    /// caller and nowhere else.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // All of its room at once: a text that grows leaves copies behind.
        let view = self.view.to_json().map_or(0, |view| view.len());
        let mut text = Zeroizing::new(Vec::with_capacity(view + self.token.len() + 64));
        match serde_json::to_writer(&mut *text, self) {
            Ok(()) => text,
            Err(_) => Zeroizing::default(),
        }
    }
}

/// When a token that is made now ends.
pub fn token_end(now: Timestamp, days: u32) -> Timestamp {
    Timestamp(now.0 + i64::from(days) * crate::model::time::DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::site::SiteSettings;

    fn site(text: &str) -> Result<SitePatch, String> {
        let patch = SitePatch::parse(&mut text.as_bytes().to_vec());
        patch.map_err(|flaw| format!("{} {}", flaw.reason, flaw.pointer))
    }

    fn token(text: &str) -> Result<TokenRequest, String> {
        let request = TokenRequest::parse(&mut text.as_bytes().to_vec());
        request.map_err(|flaw| format!("{} {}", flaw.reason, flaw.pointer))
    }

    #[test]
    fn a_site_keeps_what_is_absent() {
        let old = SiteSettings { records_days: Some(30), ..SiteSettings::default() };
        let patch = site(
            r#"{"time_zone":"Asia/Seoul","sentinel_user_ids":["x"],
            "billing_group":null,"device_as_user":false}"#,
        );
        let new = patch.unwrap().apply(&old);
        assert_eq!((new.records_days, &*new.time_zone), (Some(30), "Asia/Seoul"));
        assert_eq!(new.sentinel_user_ids, ["x"]);
        let new = site(r#"{"retention":{"records_days":null}}"#).unwrap().apply(&old);
        assert_eq!(new.records_days, None);
        assert_eq!(site("{}").unwrap().apply(&old), old);
        let planned = site(r#"{"plan_mau":1000000000000}"#).unwrap().apply(&old);
        assert_eq!(planned.plan_mau, Some(PLAN_MAU_MAX));
        assert_eq!(site("{}").unwrap().apply(&planned).plan_mau, Some(PLAN_MAU_MAX));
        let grouped = site(r#"{"billing_group":"acme.tv"}"#).unwrap().apply(&old);
        assert_eq!(grouped.billing_group.as_ref().map(|group| group.as_str()), Some("acme.tv"));
        assert_eq!(site("{}").unwrap().apply(&grouped), grouped);
        assert_eq!(site(r#"{"billing_group":null}"#).unwrap().apply(&grouped), old);
        assert_eq!(site(r#"{"plan_mau":null}"#).unwrap().apply(&planned).plan_mau, None);
    }

    #[test]
    fn flaws_of_a_site() {
        for (text, flaw) in [
            ("", "bad_json "),
            ("[]", "bad_json "),
            (r#"{"name":"a"} x"#, "bad_json "),
            (r#"{"nane":"a"}"#, "unknown_field "),
            (r#"{"retention":{"x":1}}"#, "unknown_field /retention"),
            (r#"{"retention":{"records_days":0}}"#, "bad_value /retention/records_days"),
            (r#"{"retention":{"records_days":"9"}}"#, "wrong_type /retention/records_days"),
            (r#"{"plan_mau":0}"#, "bad_value /plan_mau"),
            (r#"{"plan_mau":1.5}"#, "bad_value /plan_mau"),
            (r#"{"plan_mau":1000000000001}"#, "bad_value /plan_mau"),
            (r#"{"plan_mau":"9"}"#, "wrong_type /plan_mau"),
            (r#"{"name":"a","name":"b"}"#, "duplicate_field /name"),
            (r#"{"billing_group":"g/1"}"#, "bad_value /billing_group"),
            (r#"{"billing_group":"+g"}"#, "bad_value /billing_group"),
            (r#"{"billing_group":7}"#, "wrong_type /billing_group"),
            (r#"{"device_as_user":1}"#, "wrong_type /device_as_user"),
            (r#"{"count_renewals":"true"}"#, "wrong_type /count_renewals"),
            (r#"{"sentinel_user_ids":["a",1]}"#, "wrong_type /sentinel_user_ids/1"),
        ] {
            assert_eq!(site(text), Err(flaw.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_token_has_defaults() {
        let made = token(r#"{"role":"producer","sites":["ACME"],"name":"licence server 1"}"#);
        let made = made.unwrap();
        assert_eq!((made.expires_in_days, &*made.producer), (90, "licence server 1"));
        assert_eq!(made.producers, None);
        let all = token(r#"{"role":"billing","sites":["*"],"producer":"p","producers":["q"]}"#);
        assert_eq!(all.unwrap().sites, SiteScope::All);
    }

    #[test]
    fn flaws_of_a_token() {
        let long = "n".repeat(65);
        let billing = token(&format!(r#"{{"role":"billing","sites":["*"],"name":"{long}"}}"#));
        assert_eq!(billing.unwrap().name, long);
        for (text, flaw) in [
            (r#"{"sites":["*"]}"#, "missing_field /role"),
            (r#"{"role":"producer"}"#, "missing_field /sites"),
            (r#"{"role":"root","sites":["*"]}"#, "bad_value /role"),
            (r#"{"role":"producer","sites":["a b"]}"#, "bad_value /sites/0"),
            (r#"{"role":"producer","sites":["*","A"]}"#, "bad_value /sites"),
            (
                &format!(r#"{{"role":"producer","sites":["*"],"name":"{long}"}}"#),
                "missing_field /producer",
            ),
            (r#"{"role":"producer","sites":[]}"#, "bad_value /sites"),
            (
                r#"{"role":"producer","sites":["*"],"expires_in_days":3651}"#,
                "bad_value /expires_in_days",
            ),
        ] {
            assert_eq!(token(text), Err(flaw.to_owned()), "{text}");
        }
    }
}
