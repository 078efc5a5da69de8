//! `Idempotency-Key`: a structured-field string, or bare text as most clients send it. The fuzz
//! target `foreign` compiles this file once more, so it names no other of the server's.

use hyper::HeaderMap;
use hyper::header::HeaderName;
use zeroize::Zeroizing;

/// The header.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A key that is too long or empty, stands there twice, or is quoted wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKey;

/// Reads the key; it may have at most so many bytes.
///
/// # Errors
/// [`BadKey`].
pub fn read(headers: &HeaderMap, bytes_max: usize) -> Result<Option<Zeroizing<String>>, BadKey> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let key = text.map(str::trim).and_then(|text| match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted),
        None => Some(Zeroizing::new(text.to_owned())),
    });
    let fits = |key: &Zeroizing<String>| (1..=bytes_max).contains(&key.len());
    key.filter(fits).map(Some).ok_or(BadKey)
}

/// The rest of a quoted string (RFC 9651 §4.2.5).
fn unquote(quoted: &str) -> Option<Zeroizing<String>> {
    let mut plain = Zeroizing::new(String::with_capacity(quoted.len()));
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return rest.next().is_none().then_some(plain),
            '\\' => plain.push(rest.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => plain.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_keys_are_quoted_or_bare() {
        let key_of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, text.parse().unwrap());
            read(&headers, 255).ok().flatten().map(|key| key.to_string())
        };
        assert_eq!(key_of("abc"), Some("abc".to_owned()));
        assert_eq!(key_of("\"abc\""), Some("abc".to_owned()));
        assert_eq!(key_of(r#""a\"b\\c""#), Some(r#"a"b\c"#.to_owned()));
        assert_eq!(key_of(&"x".repeat(255)), Some("x".repeat(255)));
        for bad in ["", "\"\"", "\"abc", "\"a\"b", r#""a\b""#, &"x".repeat(256)] {
            assert_eq!(key_of(bad), None, "{bad}");
        }
        assert_eq!(read(&HeaderMap::new(), 255).ok(), Some(None));
        let mut twice = HeaderMap::new();
        twice.append(IDEMPOTENCY_KEY, "a".parse().unwrap());
        twice.append(IDEMPOTENCY_KEY, "b".parse().unwrap());
        assert!(read(&twice, 255).is_err());
    }
}
