//! User ids: byte-exact, and the values that stand for nobody.

use std::fmt;

use super::RawId;

/// A user id that stands for somebody. Byte-exact: no case folding, no trimming, no Unicode
/// normalization, because the vendors whose bills we meet count distinct strings, and a changed
/// rule is a changed bill (domain.md §7.1).
#[derive(Clone, Copy)]
pub struct UserId<'a>(&'a [u8]);

impl<'a> UserId<'a> {
    pub(in crate::identity) const fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for UserId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(…)")
    }
}

/// The user ids that stand for nobody at one site, beside the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct Sentinels(Vec<Box<[u8]>>);

impl Sentinels {
    /// The site's own list (`sentinel_user_ids` of its settings).
    pub fn new(values: &[String]) -> Self {
        let mut list: Vec<Box<[u8]>> = values.iter().map(|value| value.as_bytes().into()).collect();
        list.sort_unstable();
        list.dedup();
        Self(list)
    }

    fn holds(&self, value: &[u8]) -> bool {
        self.0.binary_search_by(|sentinel| sentinel.as_ref().cmp(value)).is_ok()
    }
}

/// The user of a record; `None` when the id is missing, empty or a sentinel, that is when the
/// record is unattributed.
pub fn user<'a>(raw: Option<RawId<'a>>, extra: &Sentinels) -> Option<UserId<'a>> {
    let bytes = raw?.bytes();
    (!is_sentinel(bytes) && !extra.holds(bytes)).then_some(UserId(bytes))
}

/// Whether a record gave any user id, be it nobody's.
pub fn is_given(raw: Option<RawId<'_>>) -> bool {
    raw.is_some_and(|raw| !raw.bytes().is_empty())
}

/// The built-in sentinels (domain.md §7.2, rows `user_id`): the documented "no user id", demo and
/// sample values that vendors ship, and the usual defaults of applications.
pub(super) const SENTINELS: &[&str] = &[
    "",
    "LICENSETOKEN",
    "purchase",
    "test",
    "test-user",
    "tester-user",
    "utest",
    "proxySample",
    "test2",
    "anonymous",
    "guest",
    "null",
    "undefined",
    "0",
    "-1",
];

fn is_sentinel(value: &[u8]) -> bool {
    // Most user ids are longer than any sentinel, and then no comparison is needed.
    value.len() <= 12 && SENTINELS.iter().any(|sentinel| sentinel.as_bytes() == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributed(text: &str, extra: &Sentinels) -> bool {
        user(Some(RawId::new(text.as_bytes())), extra).is_some()
    }

    #[test]
    fn sentinels_are_nobody_and_byte_exact() {
        let none = Sentinels::default();
        for sentinel in SENTINELS {
            assert!(sentinel.len() <= 12, "the shortcut in is_sentinel would miss it");
            assert!(!attributed(sentinel, &none), "{sentinel}");
        }
        assert!(user(None, &none).is_none());
        for somebody in ["licensetoken", "test ", " ", "Guest", "00", "viewer-81231", "테스트"] {
            assert!(attributed(somebody, &none), "{somebody}");
        }
    }

    #[test]
    fn a_site_adds_its_own() {
        let site = Sentinels::new(&["shared-tv".to_owned(), "lobby".to_owned()]);
        assert!(!attributed("lobby", &site));
        assert!(!attributed("shared-tv", &site));
        assert!(!attributed("guest", &site));
        assert!(attributed("Lobby", &site));
    }

    #[test]
    fn debug_is_redacted() {
        let id = user(Some(RawId::new(b"viewer-81231")), &Sentinels::default());
        assert_eq!(format!("{id:?}"), "Some(UserId(…))");
    }
}
