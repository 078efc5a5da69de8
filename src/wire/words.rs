//! The accepted spellings of the closed vocabularies.

use super::schema::Words;
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
    fn desktops() {
        for text in ["windows", "Windows 11", "macOS", "LINUX", "ChromeOS", "web"] {
            assert!(is_desktop(text.as_bytes()), "{text}");
        }
        for text in ["", "android", "ios", "webos", "tizen", "watchos", "wind"] {
            assert!(!is_desktop(text.as_bytes()), "{text}");
        }
    }
}
