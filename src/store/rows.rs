//! Stored rows of the house itself: sites, tokens, the counters of a month, the engine's position,
//! the answer kept for an `Idempotency-Key`. Sites, tokens and answers are sealed by the caller.

use std::collections::BTreeSet;

use super::codec::{Corrupt, Put, Reader};
use crate::model::caller::{Issuer, Role, SiteScope, Token};
use crate::model::ids::{GroupId, SiteId, SiteNo};
use crate::model::pseudonym::{Algorithm, CANONICALIZER_VERSION, Pseudonyms, UserForm};
use crate::model::rules::RuleSet;
use crate::model::site::{Counting, MonthSpan, Site, SiteSettings};
use crate::model::time::{Month, Timestamp};

const VERSION: u8 = 1;
/// Of a token's row: since it has who made it.
const TOKEN_VERSION: u8 = 2;
/// Of a site's row.
const VERSION_SITE: u8 = 3;
/// Sites of this version say nothing of the rules that their months are counted by: they are the
/// first ones.
const VERSION_SITE_RULES: u8 = 2;
/// Sites of this version say nothing of algorithm and form of their pseudonyms: they have the
/// default ones.
const VERSION_SITE_PLAIN: u8 = 1;
/// In the byte of the counting options: the name of a billing group follows.
const GROUPED: u8 = 16;

/// Encodes a site.
pub fn encode_site(site: &Site) -> Vec<u8> {
    let mut out = vec![VERSION_SITE];
    out.prefixed(site.id.as_str().as_bytes());
    out.varint(u64::from(site.no.0));
    out.push(site.algorithm.code());
    out.zigzag(site.created_at.0);
    put_option(&mut out, site.terminated_at.as_ref(), |out, at| out.zigzag(at.0));
    encode_settings(&mut out, &site.settings);
    for other in [&site.pending, &site.past] {
        out.varint(other.len() as u64);
        for (month, settings) in other {
            out.varint(u64::from(month.0));
            encode_settings(&mut out, settings);
        }
    }
    out.varint(site.months.len() as u64);
    for span in &site.months {
        out.varint(u64::from(span.month.0));
        out.zigzag(span.from.0);
        out.zigzag(span.to.0);
        out.varint(u64::from(span.partitions));
        let Pseudonyms { algorithm, canonicalizer, users } = span.pseudonyms;
        out.extend_from_slice(&[algorithm.code(), canonicalizer, users.code()]);
        out.varint(u64::from(span.rule_set.number()));
    }
    put_option(&mut out, site.closed_through.as_ref(), |out, month| out.varint(u64::from(month.0)));
    out
}

/// Decodes a site.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_site(bytes: &[u8]) -> Result<Site, Corrupt> {
    let mut reader = Reader::new("site", bytes);
    let corrupt = reader.corrupt();
    let (says, rules) = match reader.byte()? {
        VERSION_SITE => (true, true),
        VERSION_SITE_RULES => (true, false),
        VERSION_SITE_PLAIN => (false, false),
        _ => return Err(corrupt),
    };
    let id = SiteId::parse_scope(reader.prefixed()?).ok_or(corrupt)?;
    let no = SiteNo(reader.number32()?);
    let algorithm = if says { algorithm(&mut reader)? } else { Algorithm::default() };
    let created_at = Timestamp(reader.zigzag()?);
    let terminated_at = option(&mut reader, |reader| Ok(Timestamp(reader.zigzag()?)))?;
    let settings = decode_settings(&mut reader, says)?;
    // Where there could be one only, its number was a byte 0 or 1: the same bytes.
    let [mut pending, mut past] = [const { Vec::new() }; 2];
    for other in [&mut pending, &mut past] {
        for _ in 0..reader.count_of(8)? {
            other.push((Month(reader.number32()?), decode_settings(&mut reader, says)?));
        }
    }
    let mut months = Vec::new();
    for _ in 0..reader.count_of(4)? {
        months.push(MonthSpan {
            month: Month(reader.number32()?),
            from: Timestamp(reader.zigzag()?),
            to: Timestamp(reader.zigzag()?),
            partitions: u16::try_from(reader.varint()?).map_err(|_| corrupt)?,
            pseudonyms: if says { pseudonyms(&mut reader)? } else { Pseudonyms::default() },
            rule_set: if rules { RuleSet::of(reader.number32()?) } else { RuleSet::default() },
        });
    }
    let closed_through = option(&mut reader, |reader| Ok(Month(reader.number32()?)))?;
    reader.end()?;
    Ok(Site {
        id,
        no,
        algorithm,
        created_at,
        terminated_at,
        settings,
        pending,
        past,
        months,
        closed_through,
    })
}

fn algorithm(reader: &mut Reader<'_>) -> Result<Algorithm, Corrupt> {
    Algorithm::from_code(reader.byte()?).ok_or(reader.corrupt())
}

fn user_form(reader: &mut Reader<'_>) -> Result<UserForm, Corrupt> {
    UserForm::from_code(reader.byte()?).ok_or(reader.corrupt())
}

fn pseudonyms(reader: &mut Reader<'_>) -> Result<Pseudonyms, Corrupt> {
    let (algorithm, canonicalizer) = (algorithm(reader)?, reader.byte()?);
    // One that this program does not know it cannot make pseudonyms with.
    if canonicalizer != CANONICALIZER_VERSION {
        return Err(reader.corrupt());
    }
    Ok(Pseudonyms { algorithm, canonicalizer, users: user_form(reader)? })
}

fn encode_settings(out: &mut Vec<u8>, settings: &SiteSettings) {
    out.prefixed(settings.name.as_bytes());
    out.prefixed(settings.time_zone.as_bytes());
    out.varint(settings.sentinel_user_ids.len() as u64);
    settings.sentinel_user_ids.iter().for_each(|id| out.prefixed(id.as_bytes()));
    put_option(out, settings.records_days.as_ref(), |out, days| out.varint(u64::from(*days)));
    put_option(out, settings.plan_mau.as_ref(), |out, users| out.varint(*users));
    out.varint(u64::from(settings.closing_hours));
    let counting = encode_counting(settings.counting);
    match &settings.billing_group {
        Some(group) => {
            out.push(counting | GROUPED);
            out.prefixed(group.as_str().as_bytes());
        }
        None => out.push(counting),
    }
    out.push(settings.user_form.code());
}

fn encode_counting(counting: Counting) -> u8 {
    let Counting { include_failures, renewals, device_as_user, anonymous_by_device } = counting;
    u8::from(include_failures)
        | u8::from(renewals) << 1
        | u8::from(device_as_user) << 2
        | u8::from(anonymous_by_device) << 3
}

fn decode_counting(code: u8) -> Option<Counting> {
    let bit = |at: u8| code >> at & 1 == 1;
    (code < 16).then(|| Counting {
        include_failures: bit(0),
        renewals: bit(1),
        device_as_user: bit(2),
        anonymous_by_device: bit(3),
    })
}

/// `says` where the row says the form of user ids.
fn decode_settings(reader: &mut Reader<'_>, says: bool) -> Result<SiteSettings, Corrupt> {
    let name = reader.text()?.to_owned();
    let time_zone = reader.text()?.to_owned();
    let mut sentinel_user_ids = Vec::new();
    for _ in 0..reader.count_of(1)? {
        sentinel_user_ids.push(reader.text()?.to_owned());
    }
    let records_days = option(reader, Reader::number32)?;
    let plan_mau = option(reader, Reader::varint)?;
    let closing_hours = reader.number32()?;
    let options = reader.byte()?;
    let counting = decode_counting(options & !GROUPED).ok_or(reader.corrupt())?;
    let billing_group = match options & GROUPED {
        0 => None,
        _ => Some(GroupId::parse(reader.prefixed()?).ok_or(reader.corrupt())?),
    };
    let user_form = if says { user_form(reader)? } else { UserForm::default() };
    Ok(SiteSettings {
        name,
        time_zone,
        sentinel_user_ids,
        records_days,
        plan_mau,
        closing_hours,
        counting,
        user_form,
        billing_group,
    })
}

/// Encodes a token, which holds the hash of its secret only.
pub fn encode_token(token: &Token) -> Vec<u8> {
    let mut out = vec![TOKEN_VERSION];
    out.prefixed(token.key_id.as_bytes());
    out.extend_from_slice(&token.secret_hash);
    out.push(token.role.code());
    match &token.sites {
        SiteScope::All => out.push(0),
        SiteScope::Some(sites) => {
            out.push(1);
            put_texts(&mut out, sites.iter().map(SiteId::as_str));
        }
    }
    out.prefixed(token.name.as_bytes());
    out.prefixed(token.producer.as_bytes());
    put_option(&mut out, token.producers.as_ref(), |out, names| {
        put_texts(out, names.iter().map(String::as_str));
    });
    out.zigzag(token.created_at.0);
    out.zigzag(token.expires_at.0);
    put_option(&mut out, token.issuer.as_ref(), |out, issuer| {
        out.prefixed(issuer.by.as_bytes());
        out.prefixed(issuer.line.as_bytes());
    });
    out
}

/// Decodes a token.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_token(bytes: &[u8]) -> Result<Token, Corrupt> {
    let mut reader = Reader::new("token", bytes);
    let corrupt = reader.corrupt();
    let version = reader.byte()?;
    if !(VERSION..=TOKEN_VERSION).contains(&version) {
        return Err(corrupt);
    }
    let key_id = reader.text()?.to_owned();
    let secret_hash = reader.array()?;
    let role = Role::from_code(reader.byte()?).ok_or(corrupt)?;
    let sites = match reader.byte()? {
        0 => SiteScope::All,
        _ => {
            let ids = texts(&mut reader)?;
            let sites = ids.iter().map(|id| SiteId::parse(id.as_bytes()).ok_or(corrupt));
            SiteScope::Some(sites.collect::<Result<_, _>>()?)
        }
    };
    let name = reader.text()?.to_owned();
    let producer = reader.text()?.to_owned();
    let producers = option(&mut reader, texts)?;
    let created_at = Timestamp(reader.zigzag()?);
    let expires_at = Timestamp(reader.zigzag()?);
    let issuer = match version {
        // Of a build that did not keep it.
        VERSION => None,
        _ => option(&mut reader, |reader| {
            Ok(Issuer { by: reader.text()?.to_owned(), line: reader.text()?.to_owned() })
        })?,
    };
    reader.end()?;
    Ok(Token {
        key_id,
        secret_hash,
        role,
        sites,
        name,
        producer,
        producers,
        created_at,
        expires_at,
        issuer,
    })
}

fn put_texts<'a>(out: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = &'a str>) {
    out.varint(texts.len() as u64);
    texts.for_each(|text| out.prefixed(text.as_bytes()));
}

fn texts(reader: &mut Reader<'_>) -> Result<BTreeSet<String>, Corrupt> {
    let mut texts = BTreeSet::new();
    for _ in 0..reader.count_of(1)? {
        texts.insert(reader.text()?.to_owned());
    }
    Ok(texts)
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn option<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Corrupt>,
) -> Result<Option<T>, Corrupt> {
    match reader.byte()? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        _ => Err(reader.corrupt()),
    }
}

/// The value of the row of a month whose figures have ended: it says nothing more.
pub const ENDED_MARK: [u8; 1] = [VERSION];

/// Encodes a number of records.
pub fn encode_count(records: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.varint(records);
    out
}

/// Decodes a number of records.
///
/// # Errors
/// When the bytes do not follow the format.
pub fn decode_count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut reader = Reader::new("number of records", bytes);
    if reader.byte()? != VERSION {
        return Err(reader.corrupt());
    }
    let records = reader.varint()?;
    reader.end().map(|()| records)
}

/// Where the engine stands, as of a fold; written in the same batch as what was folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last journal group that is folded; replay starts at the next one.
    pub folded_through: u64,
    /// The next number of a block; blocks from here on are left over from a fold that did not end.
    pub next_block: u64,
    /// The next number of a run.
    pub next_run: u64,
    /// Records of a day before this one are `too_old`, whatever the clock says.
    pub seen_floor: u32,
    /// The time that the writer believed last, by which months close.
    pub believed: Timestamp,
}

impl Position {
    /// Encodes the position.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.varint(self.folded_through);
        out.varint(self.next_block);
        out.varint(self.next_run);
        out.varint(u64::from(self.seen_floor));
        out.zigzag(self.believed.0);
        out
    }

    /// Decodes the position.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("position", bytes);
        if reader.byte()? != VERSION {
            return Err(reader.corrupt());
        }
        let position = Self {
            folded_through: reader.varint()?,
            next_block: reader.varint()?,
            next_run: reader.varint()?,
            seen_floor: reader.number32()?,
            believed: Timestamp(reader.zigzag()?),
        };
        reader.end()?;
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn settings()(
            name in ".{0,9}", ids in proptest::collection::vec(".{0,9}", 0..3),
            days in proptest::option::of(any::<u32>()), plan in proptest::option::of(any::<u64>()),
            hours in any::<u32>(), counting in 0u8..16, form in 0u8..8,
            group in proptest::option::of("[A-Za-z0-9._-]{1,64}"),
        ) -> SiteSettings {
            SiteSettings {
                name, time_zone: "Asia/Seoul".into(), sentinel_user_ids: ids, records_days: days,
                plan_mau: plan,
                closing_hours: hours, counting: decode_counting(counting).unwrap(),
                user_form: UserForm::from_code(form).unwrap(),
                billing_group: group.and_then(|group| GroupId::parse(group.as_bytes())),
            }
        }
    }

    /// As it was written before a site said anything of its pseudonyms, byte for byte.
    #[test]
    fn a_site_from_before_algorithms_and_forms_is_read() {
        let settings = [0, 3, b'U', b'T', b'C', 0, 0, 0, 72, 2];
        let head = [1, 1, b'A', 7, 0, 0];
        let month = [1, 0x82, 0xbe, 1, 0, 2, 0x80, 2, 0];
        let bytes = [&head[..], &settings, &[0, 1, 9], &settings, &month].concat();
        let site = decode_site(&bytes).unwrap();
        assert_eq!(
            (site.id.as_str(), site.no, site.algorithm),
            ("A", SiteNo(7), Algorithm::HmacSha256)
        );
        assert_eq!(site.settings, SiteSettings::default());
        assert_eq!(site.past, [(Month(9), SiteSettings::default())]);
        let span = MonthSpan {
            month: Month(24_322),
            from: Timestamp(0),
            to: Timestamp(1),
            partitions: 256,
            pseudonyms: Pseudonyms::default(),
            rule_set: RuleSet::default(),
        };
        assert_eq!(site.months, [span]);
        let now = encode_site(&site);
        assert_eq!((now[0], decode_site(&now).as_ref()), (3, Ok(&site)));
        // Between the two a month said how ids are read, and nothing of the rules.
        let mut second = now.clone();
        second[0] = 2;
        let rules = second.len() - 2;
        assert_eq!((second.remove(rules), decode_site(&second)), (1, Ok(site)));
        for cut in 0..bytes.len() {
            assert!(decode_site(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn sites_round_trip(
            now in settings(), later in proptest::option::of(settings()), at in any::<i64>(),
            months in 0u32..4, closed in proptest::option::of(any::<u32>()), form in 0u8..8,
            blake3 in any::<bool>(), rules in any::<u32>(),
        ) {
            let algorithm = if blake3 { Algorithm::Blake3 } else { Algorithm::HmacSha256 };
            let users = UserForm::from_code(form).unwrap();
            let span = |no| MonthSpan {
                month: Month(no), from: Timestamp(at), to: Timestamp(!at), partitions: 256,
                pseudonyms: Pseudonyms { algorithm, users, ..Pseudonyms::default() },
                rule_set: RuleSet::of(rules),
            };
            let site = Site {
                id: SiteId::parse(b"A-1").unwrap(), no: SiteNo(7), algorithm,
                created_at: Timestamp(at),
                terminated_at: (at > 0).then_some(Timestamp(1)), settings: now,
                past: later.iter().map(|settings| (Month(24_300), settings.clone())).collect(),
                pending: later.iter().flat_map(|settings| {
                    (0..2).map(|more| (Month(24_322 + more), settings.clone()))
                }).collect(),
                months: (0..months).map(span).collect(),
                closed_through: closed.map(Month),
            };
            prop_assert_eq!(decode_site(&encode_site(&site)), Ok(site));
        }

        #[test]
        fn unknown_forms_are_refused(form in 8u8.., algorithm in 3u8.., version in 2u8..) {
            let whole = [1, 1, 0];
            prop_assert!(pseudonyms(&mut Reader::new("month", &whole)).is_ok());
            for (at, byte) in [(0, algorithm), (1, version), (2, form)] {
                let mut bytes = whole;
                bytes[at] = byte;
                prop_assert!(pseudonyms(&mut Reader::new("month", &bytes)).is_err());
            }
        }

        #[test]
        fn unknown_options_are_refused(code in 16u8..) {
            prop_assert_eq!(decode_counting(code), None);
        }

        #[test]
        fn tokens_round_trip(
            hash in any::<[u8; 32]>(), all in any::<bool>(), at in any::<i64>(), name in ".{0,9}",
            producers in proptest::option::of(proptest::collection::btree_set(".{0,5}", 0..3)),
            by in proptest::option::of((".{0,9}", ".{0,9}")),
        ) {
            let some = SiteScope::Some([SiteId::parse(b"A").unwrap()].into());
            let token = Token {
                key_id: "abc".into(), secret_hash: hash, role: Role::Billing,
                sites: if all { SiteScope::All } else { some },
                name: name.clone(), producer: name, producers,
                created_at: Timestamp(at), expires_at: Timestamp(0),
                issuer: by.map(|(by, line)| Issuer { by, line }),
            };
            prop_assert_eq!(decode_token(&encode_token(&token)), Ok(token.clone()));
            // What an earlier build wrote ends before the issuer.
            let token = Token { issuer: None, ..token };
            let mut old = encode_token(&token);
            old.pop();
            old[0] = VERSION;
            prop_assert_eq!(decode_token(&old), Ok(token));
        }

        #[test]
        fn anything_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_site(&bytes);
            let _ = decode_token(&bytes);
            let _ = Position::decode(&bytes);
            let _ = decode_count(&bytes);
        }

        #[test]
        fn positions_round_trip(a in any::<u64>(), b in any::<u64>(), floor in any::<u32>()) {
            let position = Position {
                folded_through: a, next_block: b, next_run: a ^ b, seen_floor: floor,
                believed: Timestamp(b as i64),
            };
            prop_assert_eq!(Position::decode(&position.encode()), Ok(position));
            prop_assert_eq!(decode_count(&encode_count(a)), Ok(a));
            prop_assert!(decode_count(&[encode_count(a), vec![0]].concat()).is_err());
            prop_assert!(decode_count(&[VERSION + 1, 0]).is_err());
        }
    }
}
