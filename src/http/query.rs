//! Query strings and `Accept`, read strictly: a parameter that is misspelled must not be ignored,
//! since the answer would be to another question.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// The parameters of a query string, each at most once.
#[derive(Debug, Default)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads a query string that may hold the `known` parameters; `None` when it holds others, one
    /// of them twice, or broken escapes.
    pub fn parse(query: Option<&str>, known: &[&'static str]) -> Option<Self> {
        let mut found = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            let name = known.iter().find(|known| **known == name)?;
            if found.get(name).is_some() {
                return None;
            }
            found.0.push((*name, decode(value)?));
        }
        Some(found)
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// Undoes the percent-encoding of a form.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The place in `offered` of the media type that the client likes best; the first of equals, and
/// the first of all when it did not say. `None` where it accepts none of them.
pub fn choose(headers: &HeaderMap, offered: &[&str]) -> Option<usize> {
    let values: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty() {
        return Some(0);
    }
    let ranges: Vec<Range<'_>> =
        values.iter().flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
    let mut best = None;
    for (at, media) in offered.iter().enumerate() {
        // RFC 9110 §12.5.1: the most specific range that matches decides.
        let decides = ranges
            .iter()
            .filter(|range| range.holds(media))
            .max_by_key(|range| (!range.essence.contains('*'), !range.essence.starts_with('*')));
        let weight = decides.map_or(0, |range| range.weight);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((at, weight));
        }
    }
    best.map(|(at, _)| at)
}

/// A media range with its weight in thousandths.
struct Range<'a> {
    essence: &'a str,
    weight: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().filter(|essence| essence.contains('/'))?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        Some(Self { essence, weight: quality.map_or(1_000, thousandths) })
    }

    fn holds(&self, media: &str) -> bool {
        let Some((kind, subtype)) = self.essence.split_once('/') else { return false };
        let (of, sub) = media.split_once('/').unwrap_or((media, ""));
        (kind == "*" || kind.eq_ignore_ascii_case(of))
            && (subtype == "*" || subtype.eq_ignore_ascii_case(sub))
    }
}

/// `0.75` as 750; nonsense counts as nothing.
fn thousandths(quality: &str) -> u32 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    match (whole.parse::<u32>(), digits.parse::<u32>()) {
        (Ok(whole), Ok(fraction)) => {
            whole.saturating_mul(1_000).saturating_add(fraction).min(1_000)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_once() {
        let known = &["month", "cursor"];
        let query = Query::parse(Some("month=2026-11&cursor=a%2Bb+c"), known).unwrap();
        assert_eq!(query.get("month"), Some("2026-11"));
        assert_eq!(query.get("cursor"), Some("a+b c"));
        assert_eq!(query.get("limit"), None);
        assert!(Query::parse(None, known).is_some());
        assert!(Query::parse(Some(""), known).is_some());
        for bad in ["mont=1", "month=1&month=1", "month=%2", "month=%zz", "month=%ff", "="] {
            assert!(Query::parse(Some(bad), known).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_best_offer_is_chosen() {
        let choose = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            choose(&headers, &["application/json", "text/csv"])
        };
        assert_eq!(super::choose(&HeaderMap::new(), &["a/b"]), Some(0));
        for (accept, place) in [
            ("*/*", Some(0)),
            ("text/csv", Some(1)),
            ("TEXT/CSV; charset=utf-8", Some(1)),
            ("text/*", Some(1)),
            ("application/json, text/csv", Some(0)),
            ("application/json;q=0.5, text/csv", Some(1)),
            ("text/csv;q=0.1, */*;q=0.9", Some(0)),
            ("application/json;q=0, */*", Some(1)),
            ("text/html", None),
            ("text/csv;q=0", None),
            ("nonsense", None),
        ] {
            assert_eq!(choose(accept), place, "{accept}");
        }
    }
}
