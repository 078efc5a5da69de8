//! User ids: byte-exact unless the site wants another form, and the values that stand for nobody.

use std::fmt;

use super::RawId;
use super::form::FormRoom;
use crate::model::pseudonym::UserForm;

/// A user id that stands for somebody, in the form of its site and month. Byte-exact by default: no
/// case folding, no trimming, no Unicode normalization, because the vendors whose bills we meet
/// count distinct strings, and a changed rule is a changed bill (domain.md §7.1).
#[derive(Clone, Copy)]
pub struct UserId<'a> {
    bytes: &'a [u8],
    version: u8,
}

impl<'a> UserId<'a> {
    pub(in crate::identity) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The version byte of its form.
    pub(in crate::identity) const fn version(&self) -> u8 {
        self.version
    }
}

impl fmt::Debug for UserId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(…)")
    }
}

/// Whose a record is.
#[derive(Clone, Copy, Debug)]
pub enum User<'a> {
    /// Its user id is missing, or there is nothing left of it.
    Missing,
    /// Its user id stands for nobody.
    Sentinel,
    /// Somebody's.
    Somebody(UserId<'a>),
}

impl<'a> User<'a> {
    /// The user of a record; `None` when the record is unattributed.
    pub const fn somebody(self) -> Option<UserId<'a>> {
        match self {
            Self::Somebody(user) => Some(user),
            Self::Missing | Self::Sentinel => None,
        }
    }
}

/// How the user ids of a site's month are read: their form, and which stand for nobody. A value
/// stands for nobody in every spelling of the same form, so that who is a user never depends on the
/// spelling that came first.
#[derive(Clone, Debug, Default)]
pub struct UserRules {
    form: UserForm,
    /// The site's own sentinels, and where the form is not byte-exact the built-in ones, too; in
    /// that form, sorted.
    sentinels: Vec<Box<[u8]>>,
}

impl UserRules {
    /// The rules of a month: the form, and the site's own list (`sentinel_user_ids`).
    pub fn new(form: UserForm, sentinels: &[String]) -> Self {
        let mut room = FormRoom::default();
        let own = sentinels.iter().map(String::as_str);
        let built_in = SENTINELS.iter().copied().filter(|_| !form.is_exact());
        let mut sentinels: Vec<Box<[u8]>> =
            own.chain(built_in).map(|value| room.form(value.as_bytes(), form).into()).collect();
        sentinels.sort_unstable();
        sentinels.dedup();
        Self { form, sentinels }
    }

    /// The rules of a billing group's month, whose members read ids in one form: nobody is who is
    /// nobody at each of them.
    pub fn common<'l>(form: UserForm, lists: impl IntoIterator<Item = &'l [String]>) -> Self {
        let mut lists = lists.into_iter();
        let mut rules = Self::new(form, lists.next().unwrap_or_default());
        for list in lists {
            let other = Self::new(form, list);
            rules.sentinels.retain(|sentinel| other.is_nobody(sentinel));
        }
        rules
    }

    /// Reads the user id of a record; the room holds its form where that is not the id itself.
    #[inline]
    pub fn read<'a>(&self, raw: Option<RawId<'a>>, room: &'a mut FormRoom) -> User<'a> {
        let Some(raw) = raw else { return User::Missing };
        let bytes = room.form(raw.bytes(), self.form);
        if bytes.is_empty() {
            return User::Missing;
        }
        if self.is_nobody(bytes) {
            return User::Sentinel;
        }
        User::Somebody(UserId { bytes, version: self.form.version_byte() })
    }

    /// Reads the bytes as they are, whatever the form: as somebody was called who asked that
    /// nothing be kept when only that form was known.
    pub fn exact(raw: RawId<'_>) -> UserId<'_> {
        UserId { bytes: raw.bytes(), version: UserForm::default().version_byte() }
    }

    fn is_nobody(&self, value: &[u8]) -> bool {
        (self.form.is_exact() && is_sentinel(value))
            || self.sentinels.binary_search_by(|sentinel| sentinel.as_ref().cmp(value)).is_ok()
    }
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

    fn attributed(text: &str, rules: &UserRules) -> bool {
        matches!(read(text, rules), "somebody")
    }

    fn read(text: &str, rules: &UserRules) -> &'static str {
        match rules.read(Some(RawId::new(text.as_bytes())), &mut FormRoom::default()) {
            User::Missing => "missing",
            User::Sentinel => "sentinel",
            User::Somebody(_) => "somebody",
        }
    }

    #[test]
    fn nobody_of_a_group_is_nobody_at_each_member() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (one, other) = (list(&["Kiosk", "a"]), list(&["kiosk", "b"]));
        let lower = UserForm { lower: true, ..UserForm::default() };
        let of = |form, lists: &[&[String]]| UserRules::common(form, lists.iter().copied());
        let both = of(lower, &[&one, &other]);
        for (name, somebody) in [("KIOSK", false), ("a", true), ("b", true), ("Guest", false)] {
            assert_eq!(attributed(name, &both), somebody, "{name}");
        }
        let exact = of(UserForm::default(), &[&one, &other]);
        for (name, somebody) in [("Kiosk", true), ("a", true), ("guest", false)] {
            assert_eq!(attributed(name, &exact), somebody, "{name}");
        }
        assert!(!attributed("a", &of(lower, &[&one])) && attributed("a", &of(lower, &[])));
    }

    #[test]
    fn sentinels_are_nobody_and_byte_exact() {
        let none = UserRules::default();
        for sentinel in SENTINELS {
            assert!(sentinel.len() <= 12, "the shortcut in is_sentinel would miss it");
            assert!(!attributed(sentinel, &none), "{sentinel}");
        }
        assert!(none.read(None, &mut FormRoom::default()).somebody().is_none());
        for somebody in ["licensetoken", "test ", " ", "Guest", "00", "viewer-81231", "테스트"] {
            assert!(attributed(somebody, &none), "{somebody}");
        }
    }

    #[test]
    fn a_site_adds_its_own() {
        let own = ["shared-tv".to_owned(), "lobby".to_owned()];
        let site = UserRules::new(UserForm::default(), &own);
        assert!(!attributed("lobby", &site));
        assert!(!attributed("shared-tv", &site));
        assert!(!attributed("guest", &site));
        assert!(attributed("Lobby", &site));
    }

    #[test]
    fn who_is_nobody_is_so_in_every_spelling_of_the_form() {
        let own = ["Lobby ".to_owned()];
        for form in UserForm::all() {
            let rules = UserRules::new(form, &own);
            for sentinel in SENTINELS.iter().copied().chain(["Lobby "]) {
                assert!(!attributed(sentinel, &rules), "{sentinel} {form:?}");
                assert_eq!(attributed(&format!(" {sentinel} "), &rules), !form.trim, "{sentinel}");
                let other = sentinel.to_lowercase();
                let as_it_is = other == *sentinel;
                assert_eq!(attributed(&other, &rules), !(form.lower || as_it_is), "{sentinel}");
            }
            assert_eq!(read(" \t", &rules), if form.trim { "missing" } else { "somebody" });
            assert_eq!(read("", &rules), "missing");
            assert_eq!(read("null", &rules), "sentinel");
        }
    }

    #[test]
    fn debug_is_redacted() {
        let mut room = FormRoom::default();
        let id = UserRules::default().read(Some(RawId::new(b"viewer-81231")), &mut room);
        assert_eq!(format!("{id:?}"), "Somebody(UserId(…))");
    }
}
