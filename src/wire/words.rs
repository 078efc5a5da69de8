//! The accepted spellings of the closed vocabularies.

use super::schema::{PAYLOAD_TEXT_BYTES_MAX, Words};
use crate::identity::PayloadEncoding;
use crate::model::limits;
use crate::model::vocab::{DrmType, Outcome, RequestType};

/// Reads a DRM system: letters of either case, and the names that vendors give it.
pub fn drm_type(text: &mut [u8]) -> Option<DrmType> {
    text.make_ascii_lowercase();
    match &*text {
        b"widevine" | b"widevine_modular" | b"widevine_classic" => Some(DrmType::Widevine),
        b"fairplay" | b"fps" => Some(DrmType::FairPlay),
        b"playready" => Some(DrmType::PlayReady),
        b"omadrm" | b"oma_drm" => Some(DrmType::Oma),
        b"clear_key" => Some(DrmType::ClearKey),
        other => DrmType::from_name(other),
    }
}

/// Reads an outcome (reference/domain.md §9): words of either case, and result codes.
pub fn outcome(text: &[u8]) -> Option<Outcome> {
    if text == b"success" {
        return Some(Outcome::Success);
    }
    const SUCCESS: &[&str] = &["success", "ok", "0000", "fd004"];
    const FAIL: &[&str] = &["fail", "fd005", "fd006", "fd007"];
    let is = |words: &[&str]| words.iter().any(|w| text.eq_ignore_ascii_case(w.as_bytes()));
    if is(SUCCESS) { Some(Outcome::Success) } else { is(FAIL).then_some(Outcome::Fail) }
}

/// Reads a request type; Widevine writes it in capitals.
pub fn request_type(text: &mut [u8]) -> Option<RequestType> {
    text.make_ascii_lowercase();
    RequestType::from_name(text)
}

/// Finds a spelling in a list.
pub fn find(words: Words, text: &[u8]) -> Option<&'static str> {
    words.iter().find(|(spelling, _)| spelling.as_bytes() == text).map(|(_, word)| *word)
}

/// Reads the state of a packaging job: our word, or a vendor's `WM…` code.
pub fn job_status(text: &[u8]) -> Option<&'static str> {
    const WORDS: &[&str] = &[
        "queued",
        "downloading",
        "watermarking",
        "drm_packaging",
        "uploading",
        "complete",
        "stopping",
        "stopped",
        "error",
    ];
    const CODES: Words = &[
        ("000", "queued"),
        ("021", "downloading"),
        ("022", "watermarking"),
        ("023", "drm_packaging"),
        ("024", "uploading"),
        ("030", "complete"),
        ("100", "stopping"),
        ("200", "stopped"),
        ("999", "error"),
        ("900", "error"),
    ];
    if let Some(code) = text.strip_prefix(b"WM") {
        // Three digits are the state; three more may name the step inside it.
        let digits = matches!(code.len(), 3 | 6) && code.iter().all(u8::is_ascii_digit);
        return if digits { find(CODES, code.get(..3)?) } else { None };
    }
    WORDS.iter().find(|word| word.as_bytes() == text).copied()
}

/// Longest text that is no payload too long in any encoding, bytes: the digits of 512 bits.
pub const PAYLOAD_TEXT_BYTES_ANY: usize = 154;

/// The longest text of a payload in an encoding, bytes.
pub fn payload_text_max(encoding: Option<PayloadEncoding>) -> usize {
    match encoding {
        None | Some(PayloadEncoding::Ascii) => limits::PAYLOAD_BYTES_MAX,
        Some(PayloadEncoding::Hex) => 2 * limits::PAYLOAD_BYTES_MAX,
        Some(PayloadEncoding::Base64) => limits::PAYLOAD_BYTES_MAX.div_ceil(3) * 4,
        Some(PayloadEncoding::Uint) => PAYLOAD_TEXT_BYTES_ANY,
        Some(PayloadEncoding::Ab) => PAYLOAD_TEXT_BYTES_MAX,
    }
}

/// A text that only describes a device: trimmed, and cut at a character where it is too long.
pub fn label(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let mut end = text.len().min(limits::TEXT_BYTES_MAX);
    while end < text.len() && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().trim_ascii_end()
}

/// Whether a text is one of the usual ways to say that a time never comes.
pub fn is_no_end(text: &[u8]) -> bool {
    const WORDS: &[&str] = &["", "never", "none", "null", "unlimited", "infinite"];
    let text = text.trim_ascii();
    // The zero of several date types; and small or negative numbers, which are no time.
    let zero = [&b"0000"[..], b"0001-01-01"].iter().any(|zero| text.starts_with(zero));
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let small = digits.len() < 9 && digits.iter().all(u8::is_ascii_digit);
    zero || small || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether a text has the length of any text, or is hex or base64 of so many bytes at most.
pub fn spells(text: &[u8], bytes_max: usize) -> bool {
    text.len() <= limits::TEXT_BYTES_MAX
        || (text.len() <= 2 * bytes_max && text.iter().all(u8::is_ascii_hexdigit))
        || base64(text).is_some_and(|bytes| bytes.len() <= bytes_max)
}

/// Undoes base64 of either alphabet (RFC 4648), with padding or without.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let body = match text {
        [body @ .., b'=', b'='] | [body @ .., b'='] if text.len().is_multiple_of(4) => body,
        body => body,
    };
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    let (mut word, mut bits) = (0u32, 0);
    for digit in body {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).ok()?);
            word &= (1 << bits) - 1;
        }
    }
    // A digit alone is no byte, and left-over bits must be zero.
    (bits < 6 && word == 0).then_some(bytes)
}

/// The host name of a text that is one or is an address (RFC 3986 §3.2), in lower case. User
/// information, port, path and query are cut off: they may hold names.
pub fn host(text: &mut [u8]) -> Option<&[u8]> {
    text.make_ascii_lowercase();
    let text = &*text;
    let scheme = memchr::memmem::find(text, b"://").map(|at| at + 3);
    let rest = text.get(scheme.unwrap_or(0)..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#'));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    let user = authority.iter().rposition(|byte| *byte == b'@').map(|at| at + 1);
    let place = authority.get(user.unwrap_or(0)..)?;
    let is_port = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if let Some(inner) = place.strip_prefix(b"[") {
        let close = inner.iter().position(|byte| *byte == b']')?;
        let (address, after) = (inner.get(..close)?, inner.get(close + 1..)?);
        let port = after.is_empty() || after.strip_prefix(b":").is_some_and(is_port);
        let plain = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        return (port && !address.is_empty() && address.iter().all(plain)).then_some(address);
    }
    let colon = place.iter().position(|byte| *byte == b':').unwrap_or(place.len());
    let (name, port) = place.split_at_checked(colon)?;
    let plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || *byte > 127
    };
    let fits = !name.is_empty() && name.iter().all(plain);
    (fits && is_port(port.strip_prefix(b":").unwrap_or_default())).then_some(name)
}

/// Whether a text is a UUID (RFC 9562 §4) in either case; it is put into lower case.
pub fn is_uuid(text: &mut [u8]) -> bool {
    text.make_ascii_lowercase();
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.iter().enumerate().all(fits)
}

/// Whether the name of a platform or operating system is that of a desktop or its browser.
pub fn is_desktop(text: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "macos",
        "mac",
        "mac os",
        "mac os x",
        "osx",
        "os x",
        "linux",
        "chromeos",
        "chrome os",
        "web",
        "desktop",
        "browser",
        "pc",
        "web browser",
        "pc web",
        "desktop browser",
        "desktop_browser",
        "web_browser",
    ];
    match text.first().map(u8::to_ascii_lowercase) {
        Some(b'w' | b'm' | b'o' | b'l' | b'c' | b'd' | b'b' | b'p') => {
            text.get(..7).is_some_and(|head| head.eq_ignore_ascii_case(b"windows"))
                || NAMES.iter().any(|name| text.eq_ignore_ascii_case(name.as_bytes()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let drm = |text: &str| drm_type(&mut text.as_bytes().to_vec());
        assert_eq!(drm("WIDEVINE_MODULAR"), Some(DrmType::Widevine));
        assert_eq!(drm("FairPlay"), Some(DrmType::FairPlay));
        assert_eq!(drm("OMADRM"), Some(DrmType::Oma));
        assert_eq!(drm("verimatrix"), None);
        for kind in DrmType::ALL {
            assert_eq!(drm(&kind.name().to_uppercase()), Some(*kind));
        }
        for text in ["success", "SUCCESS", "OK", "0000", "FD004"] {
            assert_eq!(outcome(text.as_bytes()), Some(Outcome::Success), "{text}");
        }
        for text in ["fail", "FAIL", "FD005", "FD006", "FD007"] {
            assert_eq!(outcome(text.as_bytes()), Some(Outcome::Fail), "{text}");
        }
        assert_eq!(outcome(b"maybe"), None);
        assert_eq!(job_status(b"WM021003"), Some("downloading"));
        assert_eq!(job_status(b"WM030"), Some("complete"));
        assert_eq!(job_status(b"WM0300"), None);
        assert_eq!(job_status(b"stopped"), Some("stopped"));
    }

    #[test]
    fn hosts_are_cut_out_of_addresses() {
        let read = |text: &str| {
            host(&mut text.as_bytes().to_vec()).map(|h| String::from_utf8(h.to_vec()).unwrap())
        };
        for (text, want) in [
            ("Pirate.Example", "pirate.example"),
            ("https://u:p@pirate.example/watch?viewer=81231", "pirate.example"),
            ("kim@pirate.example:8080", "pirate.example"),
            ("//pirate.example#kim", "pirate.example"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("http://[2001:db8::1]:8080/x", "2001:db8::1"),
        ] {
            let found = read(text.strip_prefix("//").unwrap_or(text));
            assert_eq!(found.as_deref(), Some(want), "{text}");
        }
        for text in ["", "/kim", "kim:secret", "a b", "mailto:kim@", "https://", "[::1", "a%20b"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn base64_in_every_spelling() {
        // Vectors of RFC 4648 §10, and the one of a content id in reference/domain.md §7.4.
        for (text, want) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmFy", "foobar"),
            ("ZXhwNTY=", "exp56"),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(want.as_bytes()), "{text}");
        }
        assert_eq!(base64(b"-_-_"), base64(b"+/+/"));
        for text in ["Z", "Zh==", "Zg=", "Zg===", "Z g=", "Zm9v!"] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn labels_are_cut_at_a_character() {
        assert_eq!(label(b"  Acme TV "), b"Acme TV");
        assert_eq!(label(&[b'x'; 65]), [b'x'; 64]);
        let hangul = "\u{d55c}".repeat(30);
        assert_eq!(label(hangul.as_bytes()), "\u{d55c}".repeat(21).as_bytes());
        assert_eq!(label(b""), b"");
    }

    #[test]
    fn desktops() {
        for text in ["windows", "Windows 11", "macOS", "LINUX", "ChromeOS", "web"] {
            assert!(is_desktop(text.as_bytes()), "{text}");
        }
        for text in ["", "android", "ios", "webos", "tizen", "watchos", "wind"] {
            assert!(!is_desktop(text.as_bytes()), "{text}");
        }
    }
}
