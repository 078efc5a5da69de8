//! Looking for one member before its object is read, in bounds that hold whatever the text is: a
//! body may hold thousands of objects without that member.

use super::{Reader, escape, plain};

/// How far [`Reader::glance_ahead`] looks, bytes: nearly all records are shorter.
const GLANCE_BYTES: usize = 4 << 10;

impl Reader<'_> {
    /// The quick way of [`Self::look_ahead`], for an object whose schema has the name at one place
    /// only: any other finding belongs to a text that will be refused. `finder` finds the quoted
    /// name. It looks at [`GLANCE_BYTES`] at most, since a body may hold thousands of objects
    /// without the name.
    pub fn glance_ahead<'b>(
        &self,
        finder: &memchr::memmem::Finder<'_>,
        room: &'b mut [u8; 64],
        looked: &mut u64,
    ) -> Option<&'b [u8]> {
        if !self.clean {
            return None;
        }
        let text = self.ahead(GLANCE_BYTES);
        *looked += text.len() as u64;
        let at = finder.find(text)?;
        let before = text.get(..at)?;
        // Without backslashes, an even number of quotes before it means that it is no part of a
        // string; with a colon behind it, it is a name.
        let odd = before.iter().fold(0u8, |odd, b| odd ^ u8::from(*b == b'"'));
        let (colon, b':') = next_after(text, at + finder.needle().len())? else { return None };
        if odd != 0 || leaves_object(before) {
            return None;
        }
        copy_text(text, colon + 1, room)
    }

    /// Looks ahead, inside the object being read, for a member with a text value, and copies that
    /// text. The position must lie before a value or a name of that object. Nothing is read, and
    /// nothing is checked that reading will check anyway. It ends with the object, and after
    /// `bytes_max` at the latest.
    pub fn look_ahead<'b>(
        &self,
        name: &str,
        bytes_max: usize,
        room: &'b mut [u8; 64],
        looked: &mut u64,
    ) -> Option<&'b [u8]> {
        let text = self.ahead(bytes_max);
        let mut at = 0;
        let found = find_member(text, name, &mut at, room);
        *looked += at as u64;
        copy_text(text, found?, room)
    }

    /// What is still to be read, up to a number of bytes.
    fn ahead(&self, bytes_max: usize) -> &[u8] {
        self.rest.get(..bytes_max).unwrap_or(self.rest)
    }
}

/// Where the value of a member begins, inside the object that the text begins in. `at` is left
/// where the search ended.
fn find_member(text: &[u8], name: &str, at: &mut usize, room: &mut [u8; 64]) -> Option<usize> {
    let mut level = 0u32;
    loop {
        match *text.get(*at)? {
            b'"' => {
                let (start, end) = (*at + 1, string_end(text, *at + 1)?);
                *at = end;
                let (next, byte) = next_after(text, end + 1)?;
                let is_ours = level == 0 && byte == b':';
                if is_ours && is_name(text.get(start..end)?, name, room) {
                    return Some(next + 1);
                }
            }
            b'{' | b'[' => level += 1,
            b'}' | b']' => level = level.checked_sub(1)?,
            _ => {}
        }
        *at += 1;
    }
}

/// Whether a text may lead from one element of an array to the next: then what stands behind it may
/// belong to another object.
fn leaves_object(text: &[u8]) -> bool {
    memchr::memchr_iter(b'}', text).any(|at| {
        let Some((comma, b',')) = next_after(text, at + 1) else { return false };
        matches!(next_after(text, comma + 1), Some((_, b'{')))
    })
}

/// Whether a string as it is written stands for the name.
#[inline(always)]
fn is_name(raw: &[u8], name: &str, room: &mut [u8; 64]) -> bool {
    raw == name.as_bytes()
        || (raw.contains(&b'\\')
            && unescape(raw, room).and_then(|n| room.get(..n)) == Some(name.as_bytes()))
}

/// Where the next byte that is no white space lies, and which it is.
fn next_after(text: &[u8], from: usize) -> Option<(usize, u8)> {
    let tail = text.get(from..)?;
    let skip = tail.iter().position(|b| !b.is_ascii_whitespace())?;
    Some((from + skip, *tail.get(skip)?))
}

fn copy_text<'b>(text: &[u8], from: usize, room: &'b mut [u8; 64]) -> Option<&'b [u8]> {
    let (quote, b'"') = next_after(text, from)? else { return None };
    let end = string_end(text, quote + 1)?;
    let length = unescape(text.get(quote + 1..end)?, room)?;
    room.get(..length)
}

fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += plain(text.get(at..)?);
        match *text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

/// Unescapes into a small room; `None` when it does not fit.
fn unescape(raw: &[u8], room: &mut [u8; 64]) -> Option<usize> {
    if !raw.contains(&b'\\') {
        room.get_mut(..raw.len())?.copy_from_slice(raw);
        return Some(raw.len());
    }
    let (mut from, mut to) = (0, 0);
    while let Some(byte) = raw.get(from) {
        let mut utf8 = [*byte, 0, 0, 0];
        let (length, used) = match byte {
            b'\\' => {
                let (char, used) = escape(raw.get(from..)?)?;
                (char.encode_utf8(&mut utf8).len(), used)
            }
            _ => (1, 1),
        };
        room.get_mut(to..to + length)?.copy_from_slice(utf8.get(..length)?);
        to += length;
        from += used;
    }
    Some(to)
}
