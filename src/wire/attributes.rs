//! The attributes of a CloudEvent in binary mode: `ce-` headers (CloudEvents HTTP binding §3.1).

use zeroize::Zeroizing;

/// The attributes that matter, percent-decoded; wiped when they are let go.
#[derive(Default)]
pub struct Attributes {
    texts: [Option<Zeroizing<Vec<u8>>>; 6],
    /// Whether a header stands there twice, cannot be decoded, or must not be there.
    pub(super) unfit: bool,
}

/// Headers that matter, in the order of the texts; after `ce-` comes the attribute's name.
const KNOWN: [&str; 6] =
    ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time"];

const FORBIDDEN: [&str; 4] =
    ["ce-datacontenttype", "ce-dataclassification", "ce-dataregulation", "ce-datacategory"];

impl Attributes {
    /// Collects the attributes from a request's headers; `None` when there is no `ce-` header, so
    /// that the request is no CloudEvent in binary mode.
    pub fn from_headers<'h>(
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Option<Self> {
        let mut found = Self::default();
        let mut any = false;
        for (name, value) in headers {
            let is_event = name.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("ce-"));
            if is_event {
                any = true;
                found.header(name, value);
            }
        }
        any.then_some(found)
    }

    fn header(&mut self, name: &str, value: &[u8]) {
        if FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
            self.unfit = true;
        }
        for (header, slot) in KNOWN.iter().zip(&mut self.texts) {
            if name.eq_ignore_ascii_case(header) {
                let text = percent_decoded(value);
                self.unfit |= text.is_none() || slot.is_some();
                *slot = text;
            }
        }
    }

    /// Name and text of each attribute.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'static str, Option<&[u8]>)> {
        let names = KNOWN.iter().map(|header| header.trim_start_matches("ce-"));
        names.zip(self.texts.iter().map(|text| text.as_ref().map(|text| text.as_slice())))
    }
}

/// Undoes the percent-encoding and the quotes of an attribute; `None` unless UTF-8 comes out.
fn percent_decoded(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(value.len()));
    let mut rest = value.trim_ascii();
    if let [b'"', inner @ .., b'"'] = rest {
        rest = inner;
    }
    while let Some((byte, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        let (byte, used) = match byte {
            b'%' => (u8::try_from(digit(0)? << 4 | digit(1)?).ok()?, 2),
            byte => (*byte, 0),
        };
        text.push(byte);
        rest = tail.get(used..)?;
    }
    std::str::from_utf8(&text).is_ok().then_some(text)
}

/// Whether a media type is JSON: `application/json`, `text/json` or anything with `+json`.
pub(super) fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let lower = essence.to_ascii_lowercase();
    lower == b"application/json" || lower == b"text/json" || lower.ends_with(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_and_quotes() {
        assert_eq!(percent_decoded(b"a%20b%C3%A9").unwrap().as_slice(), "a b\u{e9}".as_bytes());
        assert_eq!(percent_decoded(b" \"x\" ").unwrap().as_slice(), b"x");
        for text in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decoded(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn only_ce_headers_make_an_event() {
        let plain: [(&str, &[u8]); 1] = [("content-type", b"application/json")];
        assert!(Attributes::from_headers(plain).is_none());
        let twice: [(&str, &[u8]); 2] = [("CE-id", b"a"), ("ce-Id", b"b")];
        assert!(Attributes::from_headers(twice).unwrap().unfit);
    }
}
