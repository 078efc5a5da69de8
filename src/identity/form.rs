//! The canonical form of a user id (domain.md §7.1): byte-exact, or what the options of its site
//! and month make of it.
//!
//! The order is NFC, trim, lower, and NFC once more, because a lowercase letter may stand where no
//! composed one did. NFC is that of UAX #15. White space is the Unicode property of that name.
//! Lower is the full lowercase mapping of each character by itself: in no language, and without the
//! rule of the Greek final sigma, so that what a character becomes does not hang on its neighbors.
//! The same id read twice is what it was read once.
//!
//! An id whose form is the id itself, or a piece of it, is not copied; ASCII never needs a table.
//! What is copied lies in a [`FormRoom`], which is wiped before the next id and when it goes. That
//! is why the composing is here, and not the iterator of the crate with the tables: it keeps
//! characters where nobody wipes them.

use unicode_normalization::char::{canonical_combining_class, compose, decompose_canonical};
use zeroize::{Zeroize, Zeroizing};

use crate::model::pseudonym::UserForm;

/// Most characters that one decomposes into, canonically.
const DECOMPOSED_MAX: usize = 4;
/// Most characters that one becomes in lowercase.
const LOWERED_MAX: usize = 3;
/// Most bytes of a character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

/// Where the form of an id is written that is not the id itself; serves one id after the other.
#[derive(Default)]
pub struct FormRoom {
    text: Zeroizing<Vec<u8>>,
    chars: Zeroizing<Vec<char>>,
    lowered: Zeroizing<Vec<char>>,
}

impl FormRoom {
    /// The form of an id. What is no UTF-8 has no other form than its bytes.
    pub(super) fn form<'a>(&'a mut self, bytes: &'a [u8], form: UserForm) -> &'a [u8] {
        if form.is_exact() {
            return bytes;
        }
        if bytes.is_ascii() {
            return self.ascii(bytes, form);
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return bytes };
        if !(form.nfc || form.lower) {
            return text.trim().as_bytes();
        }
        self.wipe();
        if form.nfc {
            put_nfc(&mut self.chars, text.chars(), text.len());
        } else {
            self.chars.reserve_exact(text.len());
            self.chars.extend(text.chars());
        }
        let mut chars = &self.chars[..];
        if form.trim {
            chars = trimmed(chars);
        }
        if form.lower {
            self.lowered.reserve_exact(chars.len() * LOWERED_MAX);
            self.lowered.extend(chars.iter().flat_map(|char| char.to_lowercase()));
            chars = &self.lowered;
            if form.nfc {
                self.chars.zeroize();
                put_nfc(&mut self.chars, chars.iter().copied(), chars.len());
                chars = &self.chars;
            }
        }
        self.text.reserve_exact(chars.len() * CHAR_BYTES_MAX);
        let mut room = [0; CHAR_BYTES_MAX];
        for char in chars {
            self.text.extend_from_slice(char.encode_utf8(&mut room).as_bytes());
        }
        room.zeroize();
        &self.text
    }

    fn ascii<'a>(&'a mut self, bytes: &'a [u8], form: UserForm) -> &'a [u8] {
        let bytes = if form.trim { trimmed_ascii(bytes) } else { bytes };
        if !(form.lower && bytes.iter().any(u8::is_ascii_uppercase)) {
            return bytes;
        }
        self.wipe();
        self.text.reserve_exact(bytes.len());
        self.text.extend_from_slice(bytes);
        self.text.make_ascii_lowercase();
        &self.text
    }

    /// Wipes what the last id left; then a list that must grow leaves nothing behind.
    fn wipe(&mut self) {
        // The text was only ever made longer, so that what was written is what it holds.
        self.text.as_mut_slice().zeroize();
        self.text.clear();
        for list in [&mut self.chars, &mut self.lowered] {
            if !list.is_empty() {
                list.zeroize();
            }
        }
    }
}

/// White space of ASCII: the vertical tab, too, which `is_ascii_whitespace` leaves out.
const fn is_white(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

fn trimmed_ascii(bytes: &[u8]) -> &[u8] {
    let from = bytes.iter().position(|byte| !is_white(*byte)).unwrap_or(bytes.len());
    let to = bytes.iter().rposition(|byte| !is_white(*byte)).map_or(from, |last| last + 1);
    &bytes[from..to]
}

fn trimmed(chars: &[char]) -> &[char] {
    let from = chars.iter().position(|char| !char.is_whitespace()).unwrap_or(chars.len());
    let to = chars.iter().rposition(|char| !char.is_whitespace()).map_or(from, |last| last + 1);
    &chars[from..to]
}

/// Writes the NFC of some characters into an empty list: decomposed, in canonical order, composed.
/// There are `most` of them at most.
fn put_nfc(list: &mut Vec<char>, chars: impl Iterator<Item = char>, most: usize) {
    list.reserve_exact(most * DECOMPOSED_MAX);
    for char in chars {
        decompose_canonical(char, |part| list.push(part));
    }
    let mut from = 0;
    for at in 0..list.len() {
        let class = canonical_combining_class(list[at]);
        if class == 0 {
            from = at + 1;
            continue;
        }
        // Behind those of its class, so that equal ones keep their order.
        let run = &list[from..at];
        let place = from + run.partition_point(|char| canonical_combining_class(*char) <= class);
        list[place..=at].rotate_right(1);
    }
    put_together(list);
}

/// Composes what is decomposed and in order, in its place.
fn put_together(list: &mut Vec<char>) {
    let (mut end, mut starter, mut last) = (0, None, 0);
    for at in 0..list.len() {
        let char = list[at];
        let class = canonical_combining_class(char);
        if let Some(place) = starter {
            let is_next: bool = place + 1 == end;
            let both = if is_next || last < class { compose(list[place], char) } else { None };
            if let Some(both) = both {
                list[place] = both;
                continue;
            }
        }
        list[end] = char;
        if class == 0 {
            starter = Some(end);
        }
        last = class;
        end += 1;
    }
    // What is left behind the end is wiped with the list: it wipes all the room it has.
    list.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    fn form_of(text: &str, form: UserForm) -> String {
        let mut room = FormRoom::default();
        // Somebody before, of whom nothing may be left.
        room.form("ÅNGSTRÖM VOR IHM, ER WAR LÄNGER ALS ER".as_bytes(), form);
        String::from_utf8(room.form(text.as_bytes(), form).to_vec()).unwrap()
    }

    /// The same in words of the libraries.
    fn other_way(text: &str, form: UserForm) -> String {
        let mut text = text.to_owned();
        if form.nfc {
            text = text.nfc().collect();
        }
        if form.trim {
            text = text.trim().to_owned();
        }
        if form.lower {
            text = text.chars().flat_map(char::to_lowercase).collect();
        }
        if form.nfc { text.nfc().collect() } else { text }
    }

    /// Text with much that composes, orders and folds.
    fn texts() -> impl Strategy<Value = String> {
        let mark = prop_oneof![
            Just('\u{301}'),
            Just('\u{308}'),
            Just('\u{323}'),
            Just('\u{327}'),
            Just('\u{345}'),
            Just('\u{307}'),
            Just('\u{344}'),
            Just('\u{31b}'),
            Just('\u{3099}'),
        ];
        let letter = prop_oneof![
            prop::char::range('A', 'z'),
            Just(' '),
            Just('\u{a0}'),
            Just('\u{3000}'),
            Just('İ'),
            Just('Σ'),
            Just('ς'),
            Just('Å'),
            Just('\u{212b}'),
            Just('\u{212a}'),
            Just('ǅ'),
            Just('ᾈ'),
            Just('Ⱥ'),
            Just('\u{2000}'),
            Just('\u{85}'),
            Just('\u{b}'),
            prop::char::range('\u{1100}', '\u{11c2}'),
            prop::char::range('가', '깋'),
            any::<char>(),
        ];
        prop::collection::vec(prop_oneof![letter, mark], 0..24)
            .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn forms_are_those_of_the_libraries(text in texts(), code in 0..UserForm::COUNT) {
            let form = UserForm::from_code(code).unwrap();
            prop_assert_eq!(form_of(&text, form), other_way(&text, form));
        }

        #[test]
        fn a_form_is_its_own_form(text in texts(), code in 0..UserForm::COUNT) {
            let form = UserForm::from_code(code).unwrap();
            let once = form_of(&text, form);
            prop_assert_eq!(form_of(&once, form), once);
        }

        #[test]
        fn exact_is_every_byte(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut room = FormRoom::default();
            prop_assert_eq!(room.form(&bytes, UserForm::default()), &bytes[..]);
            for form in UserForm::all().filter(|_| std::str::from_utf8(&bytes).is_err()) {
                prop_assert_eq!(room.form(&bytes, form), &bytes[..]);
            }
        }
    }

    /// Of every character that has a form of its own: those of the lower planes, and the ideographs
    /// that are written otherwise.
    #[test]
    fn every_character_has_a_form_that_stays() {
        let only = |trim, nfc, lower| UserForm { trim, nfc, lower };
        let mut room = FormRoom::default();
        for char in ('\0'..'\u{20000}').chain('\u{2f800}'..'\u{2fa20}') {
            let text = String::from(char);
            for form in [only(true, true, true), only(false, false, true)] {
                let once = room.form(text.as_bytes(), form).to_vec();
                assert_eq!(room.form(&once, form), once, "{char:?} {form:?}");
            }
        }
    }

    #[test]
    fn options_do_what_they_say_and_nothing_else() {
        let only = |trim, nfc, lower| UserForm { trim, nfc, lower };
        let (trim, nfc, lower) =
            (only(true, false, false), only(false, true, false), only(false, false, true));
        for (text, form, wanted) in [
            ("\u{b} \u{a0}Viewer 1\u{3000}\u{2028}", trim, "Viewer 1"),
            ("\u{200b}zero width\u{feff}", trim, "\u{200b}zero width\u{feff}"),
            (" \t\r\n", trim, ""),
            ("\u{3000}\u{a0}", only(true, true, true), ""),
            ("e\u{301}", nfc, "é"),
            ("\u{1112}\u{1161}\u{11ab}", nfc, "한"),
            ("a\u{308}\u{323}", nfc, "ạ\u{308}"),
            ("\u{212b}", nfc, "Å"),
            ("ﬁ", nfc, "ﬁ"),
            ("VIEWER-Ä", lower, "viewer-ä"),
            ("İ", lower, "i\u{307}"),
            ("ΟΔΟΣ", lower, "οδοσ"),
            ("ẞ", lower, "ß"),
            ("E\u{301}", lower, "e\u{301}"),
            // Lowercase makes a new order: the dot of the I comes behind the one below.
            ("İ\u{323}", only(false, true, true), "ị\u{307}"),
            (" E\u{301} ", only(true, true, true), "é"),
            (" E\u{301} ", only(true, false, true), "e\u{301}"),
        ] {
            assert_eq!(form_of(text, form), wanted, "{text:?} {form:?}");
        }
    }

    #[test]
    fn what_needs_no_copy_has_none() {
        let mut room = FormRoom::default();
        let all = UserForm { trim: true, nfc: true, lower: true };
        assert_eq!(room.form(b" viewer-1 ", all), b"viewer-1");
        let trim = UserForm { trim: true, ..UserForm::default() };
        assert_eq!(room.form("\u{3000}시청자".as_bytes(), trim), "시청자".as_bytes());
        assert_eq!(room.text.capacity() + room.chars.capacity() + room.lowered.capacity(), 0);
    }

    #[test]
    fn room_never_grows_with_an_id_in_it() {
        // The longest forms of the longest ids: what a list needs is there before it is filled.
        let all = UserForm { trim: true, nfc: true, lower: true };
        for char in ['\u{1f82}', '\u{1d160}', '\u{344}', 'İ', 'Ⱥ', 'ᾈ', 'x'] {
            let text: String = std::iter::repeat_n(char, 256 / char.len_utf8()).collect();
            let text = format!("{text}Ä");
            let mut room = FormRoom::default();
            room.form(text.as_bytes(), all);
            let rooms = (room.chars.capacity(), room.lowered.capacity(), room.text.capacity());
            assert!(room.chars.len() <= rooms.0 && room.lowered.len() <= rooms.1, "{char:?}");
            // Exactly what was asked for first: a list that grew would have more.
            let count = text.chars().count();
            assert!(rooms.0 <= text.len().max(count * LOWERED_MAX) * DECOMPOSED_MAX, "{char:?}");
            let formed = String::from_utf8(room.text.to_vec()).unwrap();
            assert_eq!(formed, other_way(&text, all), "{char:?}");
        }
    }

    /// Another version of the tables may give another form to characters that were assigned since:
    /// that is a new canonicalizer version, or a decision that nobody's ids have them.
    #[test]
    fn the_tables_are_those_of_version_1() {
        assert_eq!(unicode_normalization::UNICODE_VERSION, (18, 0, 0));
    }
}
