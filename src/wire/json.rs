//! A strict pull reader of JSON (RFC 8259) that owns its text and gives it away piece by piece:
//! strings are unescaped in place and borrow from the text, so that nothing is allocated.
//!
//! The text must be valid UTF-8; who makes a reader checks that once. A reader says only that a
//! text is broken, never where or why, so no input can leak through its errors.

use std::mem;

mod ahead;

/// Nesting that the reader can follow. A record may be nested far less deep; what lies between the
/// two costs a batch only that one record.
const LEVELS_MAX: u32 = 128;

/// The text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// The longest text of a [`Pattern`], bytes.
pub const PATTERN_BYTES_MAX: usize = 24;

/// A short text that is compared in three words instead of byte by byte.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    words: [u64; 3],
    masks: [u64; 3],
    length: usize,
}

impl Pattern {
    /// The pattern of a text of 1 to 24 bytes. A longer one is cut; a test of the schema keeps such
    /// names out.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; PATTERN_BYTES_MAX];
        let mut mask = [0; PATTERN_BYTES_MAX];
        for ((to, mask), from) in bytes.iter_mut().zip(&mut mask).zip(text.bytes()) {
            *to = from;
            *mask = 0xff;
        }
        let length = text.len().min(PATTERN_BYTES_MAX);
        Self { words: words(&bytes), masks: words(&mask), length }
    }

    /// The slow way near the end of a text.
    #[inline(never)]
    fn starts(&self, text: &[u8]) -> bool {
        let mut mine = [0; PATTERN_BYTES_MAX];
        for (to, word) in mine.as_chunks_mut::<8>().0.iter_mut().zip(self.words) {
            *to = word.to_le_bytes();
        }
        mine.get(..self.length).is_some_and(|mine| text.starts_with(mine))
    }
}

#[inline(always)]
fn words(text: &[u8; 24]) -> [u64; 3] {
    let (chunks, _) = text.as_chunks::<8>();
    match chunks {
        [a, b, c] => [u64::from_le_bytes(*a), u64::from_le_bytes(*b), u64::from_le_bytes(*c)],
        _ => [0; 3],
    }
}

/// A strict pull reader over a text that it owns. It is small, so that a loop can hold it in
/// registers: borrow it for a call (`&mut`) only where that does not matter.
pub struct Reader<'a> {
    rest: &'a mut [u8],
    total: usize,
    /// The text has no backslash and no control character, so a string ends at the next quote.
    clean: bool,
}

impl<'a> Reader<'a> {
    /// A reader at the start of a text; `None` when the text is not valid UTF-8.
    #[inline]
    pub fn new(text: &'a mut [u8]) -> Option<Self> {
        let (clean, ascii) = survey(text);
        if !ascii && std::str::from_utf8(text).is_err() {
            return None;
        }
        let total = text.len();
        Some(Self { rest: text, total, clean })
    }

    /// Moves the reader out, and leaves one that has nothing to read.
    #[inline(always)]
    pub fn lift(&mut self) -> Self {
        Self { rest: mem::take(&mut self.rest), ..*self }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// The next byte that is no white space, which stays unread; 0 at the end of the text.
    #[inline(always)]
    pub fn peek(&mut self) -> u8 {
        match self.rest.first() {
            Some(byte) if *byte > b' ' => *byte,
            // One space is how most writers set their JSON.
            Some(b' ') => {
                self.advance(1);
                match self.rest.first() {
                    Some(byte) if *byte > b' ' => *byte,
                    _ => self.peek_spaced(),
                }
            }
            _ => self.peek_spaced(),
        }
    }

    #[inline(always)]
    fn peek_spaced(&mut self) -> u8 {
        let spaces = spaces(self.rest);
        self.advance(spaces);
        // A control character is never JSON, and must not be taken for the end of the text.
        self.rest.first().map_or(0, |byte| (*byte).max(1))
    }

    /// Whether exactly one space comes before the next token.
    pub fn spaced(&self) -> bool {
        matches!(&*self.rest, [b' ', next, ..] if *next > b' ')
    }

    /// Drops bytes that were looked at.
    #[inline(always)]
    fn advance(&mut self, bytes: usize) {
        match mem::take(&mut self.rest).get_mut(bytes..) {
            Some(rest) => self.rest = rest,
            None => none_left(),
        }
    }

    /// Reads one punctuation byte if it is next.
    #[inline(always)]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        if found {
            self.advance(1);
        }
        found
    }

    /// After a value: reads `,` (true) or the closing byte (false).
    ///
    /// # Errors
    /// When the text is broken there.
    #[inline(always)]
    pub fn more(&mut self, close: u8) -> Result<bool, Broken> {
        let next = self.peek();
        if next != b',' && next != close {
            return Err(Broken);
        }
        self.advance(1);
        Ok(next == b',')
    }

    /// Reads the colon after a member name.
    ///
    /// # Errors
    /// When the text is broken there.
    #[inline(always)]
    pub fn colon(&mut self) -> Result<(), Broken> {
        if self.take(b':') { Ok(()) } else { Err(Broken) }
    }

    /// Whether the pattern is what comes next, white space aside.
    #[inline(always)]
    pub fn is_next(&mut self, pattern: &Pattern) -> bool {
        self.peek();
        match self.rest.first_chunk::<PATTERN_BYTES_MAX>() {
            Some(chunk) => {
                let [a, b, c] = words(chunk);
                let differing = ((a & pattern.masks[0]) ^ pattern.words[0])
                    | ((b & pattern.masks[1]) ^ pattern.words[1])
                    | ((c & pattern.masks[2]) ^ pattern.words[2]);
                differing == 0
            }
            None => pattern.starts(self.rest),
        }
    }

    /// Reads a pattern that was found to be next.
    #[inline(always)]
    pub fn pass(&mut self, pattern: &Pattern) {
        self.advance(pattern.length);
    }

    /// Reads a string. It is unescaped in place and belongs to the caller from now on.
    ///
    /// # Errors
    /// When the text is broken there.
    #[inline(always)]
    pub fn string(&mut self) -> Result<&'a mut [u8], Broken> {
        if !self.take(b'"') {
            return Err(Broken);
        }
        self.string_body()
    }

    /// Reads a string whose opening quote has been read.
    ///
    /// # Errors
    /// When the text is broken there.
    #[inline(always)]
    pub fn string_body(&mut self) -> Result<&'a mut [u8], Broken> {
        let end = if self.clean { quote(self.rest) } else { plain(self.rest) };
        match self.rest.get(end) {
            Some(b'"') => self.give(end, end + 1),
            _ => {
                // Moved there and back, so that the reader here need not live in memory.
                let (text, reader) = self.lift().string_escaped(end)?;
                *self = reader;
                Ok(text)
            }
        }
    }

    /// Gives away what lies before `end`, and goes on at `next`.
    #[inline(always)]
    fn give(&mut self, end: usize, next: usize) -> Result<&'a mut [u8], Broken> {
        let rest = mem::take(&mut self.rest);
        let (head, tail) = rest.split_at_mut_checked(next).ok_or(Broken)?;
        self.rest = tail;
        head.get_mut(..end).ok_or(Broken)
    }

    #[inline(never)]
    fn string_escaped(mut self, first: usize) -> Result<(&'a mut [u8], Self), Broken> {
        let (mut from, mut to) = (first, first);
        loop {
            match *self.rest.get(from).ok_or(Broken)? {
                b'"' => break,
                b'\\' => {
                    let tail = self.rest.get(from..).unwrap_or_default();
                    let (char, used) = escape(tail).ok_or(Broken)?;
                    let mut utf8 = [0; 4];
                    // An escape is at least as long as what it stands for, so `to` never overtakes
                    // `from`.
                    for byte in char.encode_utf8(&mut utf8).bytes() {
                        *self.rest.get_mut(to).ok_or(Broken)? = byte;
                        to += 1;
                    }
                    from += used;
                }
                0..=0x1f => return Err(Broken),
                byte => {
                    *self.rest.get_mut(to).ok_or(Broken)? = byte;
                    to += 1;
                    from += 1;
                }
            }
        }
        let text = self.give(to, from + 1)?;
        Ok((text, self))
    }

    /// Reads a number and gives its text.
    ///
    /// # Errors
    /// When the text is broken there.
    pub fn number(&mut self) -> Result<&'a [u8], Broken> {
        self.peek();
        let end = number(self.rest).ok_or(Broken)?;
        Ok(self.give(end, end)?)
    }

    /// Reads `true`, `false` or `null`.
    ///
    /// # Errors
    /// When the text is broken there.
    pub fn literal(&mut self, word: &'static str) -> Result<(), Broken> {
        self.peek();
        if !self.rest.starts_with(word.as_bytes()) {
            return Err(Broken);
        }
        self.advance(word.len());
        Ok(())
    }

    /// Reads a whole value of any type, strictly, and forgets it. Tells how many levels of objects
    /// and arrays it had.
    ///
    /// # Errors
    /// When the text is broken there.
    pub fn skip(&mut self) -> Result<u32, Broken> {
        // One bit a level: whether it is an object.
        let mut objects = 0u128;
        let (mut levels, mut deepest) = (0u32, 0u32);
        loop {
            match self.peek() {
                open @ (b'{' | b'[') => {
                    self.advance(1);
                    levels += 1;
                    deepest = deepest.max(levels);
                    if levels > LEVELS_MAX {
                        return Err(Broken);
                    }
                    objects = objects << 1 | u128::from(open == b'{');
                    let close = if open == b'{' { b'}' } else { b']' };
                    if !self.take(close) {
                        self.skip_name(objects)?;
                        continue;
                    }
                    objects >>= 1;
                    levels -= 1;
                }
                _ => self.skip_scalar()?,
            }
            loop {
                if levels == 0 {
                    return Ok(deepest);
                }
                if self.more(if objects & 1 == 1 { b'}' } else { b']' })? {
                    self.skip_name(objects)?;
                    break;
                }
                objects >>= 1;
                levels -= 1;
            }
        }
    }

    fn skip_name(&mut self, objects: u128) -> Result<(), Broken> {
        if objects & 1 == 1 {
            self.string()?;
            self.colon()?;
        }
        Ok(())
    }

    fn skip_scalar(&mut self) -> Result<(), Broken> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    /// Checks that nothing but white space is left.
    ///
    /// # Errors
    /// When the text is broken there.
    pub fn end(&mut self) -> Result<(), Broken> {
        if self.peek() == 0 { Ok(()) } else { Err(Broken) }
    }
}

/// Keeps the compiler from turning a test that never fails into a slow conditional move.
#[cold]
fn none_left() {}

#[inline(never)]
fn spaces(text: &[u8]) -> usize {
    text.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count()
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES << 7;

/// Whether the text has neither a backslash nor a control character, and whether it is ASCII.
fn survey(text: &[u8]) -> (bool, bool) {
    let (mut special, mut high) = (0u8, 0u8);
    for byte in text {
        special |= u8::from(*byte < 0x20) | u8::from(*byte == b'\\');
        high |= byte;
    }
    (special == 0, high < 0x80)
}

/// How many bytes stand before the first quote.
#[inline(always)]
fn quote(text: &[u8]) -> usize {
    let marks = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word) ^ (ONES * b'"' as u64);
        word.wrapping_sub(ONES) & !word & HIGHS
    };
    let mut rest = text;
    while let Some((chunk, tail)) = rest.split_first_chunk::<16>() {
        let ([low, high], _) = chunk.as_chunks::<8>() else { break };
        let (low, high) = (marks(*low), marks(*high));
        if low | high != 0 {
            let (word, skip) = if low != 0 { (low, 0) } else { (high, 8) };
            return text.len() - rest.len() + skip + (word.trailing_zeros() / 8) as usize;
        }
        rest = tail;
    }
    text.len() - rest.len() + plain_tail(rest)
}

/// Marks, in their high bits, the bytes of a word that are a quote, a backslash or a control
/// character. Bytes that became zero, or lie below a bound, borrow from their high bit; a borrow
/// can spill only upward, so the lowest mark is exact.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let slash = word ^ (ONES * b'\\' as u64);
    ((quote.wrapping_sub(ONES) & !quote)
        | (slash.wrapping_sub(ONES) & !slash)
        | (word.wrapping_sub(ONES * 0x20) & !word))
        & HIGHS
}

/// How many bytes stand before the first quote, backslash or control character. Sixteen at a time,
/// because most strings are shorter and then take one branch.
#[inline(always)]
fn plain(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((chunk, tail)) = rest.split_first_chunk::<16>() {
        let ([low, high], _) = chunk.as_chunks::<8>() else { break };
        let (low, high) = (marks(u64::from_le_bytes(*low)), marks(u64::from_le_bytes(*high)));
        if low | high != 0 {
            let (word, skip) = if low != 0 { (low, 0) } else { (high, 8) };
            return text.len() - rest.len() + skip + (word.trailing_zeros() / 8) as usize;
        }
        rest = tail;
    }
    text.len() - rest.len() + plain_tail(rest)
}

#[inline(never)]
fn plain_tail(rest: &[u8]) -> usize {
    let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..=0x1f);
    rest.iter().position(special).unwrap_or(rest.len())
}

/// Reads one escape at the start of the text: what it stands for, and its length.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let plain = match text.get(1)? {
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return escape_unicode(text),
        _ => return None,
    };
    Some((plain, 2))
}

/// `\uXXXX`, or two of them that are a pair of surrogates.
fn escape_unicode(text: &[u8]) -> Option<(char, usize)> {
    let high = hex4(text.get(2..6)?)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high).map(|char| (char, 6));
    }
    if text.get(6..8)? != b"\\u" {
        return None;
    }
    let low = hex4(text.get(8..12)?)?;
    if !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).map(|char| (char, 12))
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, b| char::from(*b).to_digit(16).map(|digit| n << 4 | digit))
}

/// The length of the number (RFC 8259 §6) at the start of the text.
fn number(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        text.get(from..).map_or(0, |tail| tail.iter().take_while(|b| b.is_ascii_digit()).count())
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return None;
        }
        at += exponent;
    }
    Some(at)
}
