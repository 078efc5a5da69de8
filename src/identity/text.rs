//! How bytes are spelled: hex, base64, UUID text. Each reader fills `out` and answers whether the
//! whole text was a spelling of exactly that many bytes; after a false, `out` holds rubbish.

use zeroize::Zeroize;

/// No digit of the alphabet at hand.
const NONE: u8 = 0xff;

/// The value of a hex digit of either case, or [`NONE`].
pub(super) const fn nibble(digit: u8) -> u8 {
    let number = digit.wrapping_sub(b'0');
    let letter = (digit | 0x20).wrapping_sub(b'a');
    if number < 10 {
        number
    } else if letter < 6 {
        letter + 10
    } else {
        NONE
    }
}

/// Reads two hex digits a byte.
pub(super) fn hex(text: &[u8], out: &mut [u8]) -> bool {
    let (eights, tail) = text.as_chunks::<8>();
    let (fours, rest) = out.as_chunks_mut::<4>();
    // Both ends agree exactly when there are two digits for every byte.
    if eights.len() != fours.len() || tail.len() != rest.len() * 2 {
        return false;
    }
    for (bytes, digits) in fours.iter_mut().zip(eights) {
        match eight_digits(*digits) {
            Some(four) => *bytes = four,
            None => return false,
        }
    }
    let mut digits = [b'0'; 8];
    digits[..tail.len()].copy_from_slice(tail);
    let last = eight_digits(digits);
    digits.zeroize();
    if let Some(four) = last {
        rest.copy_from_slice(&four[..rest.len()]);
    }
    last.is_some()
}

/// Eight hex digits as four bytes, all at once in the lanes of one word: a table look-up for each
/// digit costs four times as much, and device ids are mostly hex.
#[inline]
fn eight_digits(digits: [u8; 8]) -> Option<[u8; 4]> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    let word = u64::from_le_bytes(digits);
    // The top bit of a lane is set where the lane is at least `from` (all lanes are below 0x80).
    let at_least = |word: u64, from: u8| word.wrapping_add((0x80 - u64::from(from)) * EACH) & TOP;
    let folded = word | (0x20 * EACH);
    let number = at_least(word, b'0') & !at_least(word, b'9' + 1);
    let letter = at_least(folded, b'a') & !at_least(folded, b'f' + 1);
    if word & TOP != 0 || (number | letter) != TOP {
        return None;
    }
    let values = (word & (0x0f * EACH)) + (letter >> 7) * 9;
    let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let pairs = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    let [a, b, _, _, c, d, _, _] = pairs.to_le_bytes();
    Some([a, b, c, d])
}

/// Whether the text has the form of a UUID (RFC 9562 §4), as far as its length and hyphens go;
/// answers it without the braces of Microsoft's spelling.
#[inline]
pub(super) fn uuid_form(text: &[u8]) -> Option<&[u8]> {
    let bare = match text {
        [b'{', bare @ .., b'}'] => bare,
        bare => bare,
    };
    let hyphens = bare.len() == 36
        && bare[8] == b'-'
        && bare[13] == b'-'
        && bare[18] == b'-'
        && bare[23] == b'-';
    hyphens.then_some(bare)
}

/// Reads UUID text in the order in which it is written (big-endian groups).
pub(super) fn uuid(text: &[u8], out: &mut [u8]) -> bool {
    match uuid_form(text) {
        Some(bare) if out.len() == 16 => {
            let mut digits = [0; 32];
            digits[..8].copy_from_slice(&bare[..8]);
            digits[8..12].copy_from_slice(&bare[9..13]);
            digits[12..16].copy_from_slice(&bare[14..18]);
            digits[16..20].copy_from_slice(&bare[19..23]);
            digits[20..].copy_from_slice(&bare[24..]);
            let fits = hex(&digits, out);
            digits.as_mut_slice().zeroize();
            fits
        }
        _ => false,
    }
}

/// How many bytes the text stands for if it is base64.
#[inline]
pub(super) fn base64_bytes(text: &[u8]) -> usize {
    unpadded(text).len() * 3 / 4
}

/// Reads base64 of either alphabet (RFC 4648 §4 and §5), with or without padding. Padding must be
/// right where there is any, and left-over bits must be zero, so that bytes have few spellings.
pub(super) fn base64(text: &[u8], out: &mut [u8]) -> bool {
    let body = unpadded(text);
    let padding_fits = body.len() == text.len() || text.len().is_multiple_of(4);
    if !padding_fits || body.len() % 4 == 1 || out.len() != body.len() * 3 / 4 {
        return false;
    }
    let (quads, tail) = body.as_chunks::<4>();
    let (triples, rest) = out.as_chunks_mut::<3>();
    let mut seen = 0;
    for (bytes, digits) in triples.iter_mut().zip(quads) {
        *bytes = four_digits(*digits, &mut seen);
    }
    let mut digits = [b'A'; 4];
    digits[..tail.len()].copy_from_slice(tail);
    let last = four_digits(digits, &mut seen);
    let (kept, left_over) = last.split_at(rest.len());
    rest.copy_from_slice(kept);
    seen < 64 && left_over.iter().all(|bits| *bits == 0)
}

/// Four base64 digits as three bytes; `seen` gets 64 or more where one is no digit.
#[inline]
fn four_digits(digits: [u8; 4], seen: &mut u8) -> [u8; 3] {
    let values = digits.map(|digit| BASE64[usize::from(digit)]);
    *seen |= values[0] | values[1] | values[2] | values[3];
    let [a, b, c, d] = values.map(u32::from);
    let [_, first, second, third] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
    [first, second, third]
}

#[inline]
fn unpadded(text: &[u8]) -> &[u8] {
    match text {
        [body @ .., b'=', b'='] | [body @ .., b'='] => body,
        body => body,
    }
}

/// The value of every base64 digit of both alphabets.
const BASE64: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < 26 {
        table[b'A' as usize + value] = value as u8;
        table[b'a' as usize + value] = value as u8 + 26;
        value += 1;
    }
    let mut value = 0;
    while value < 10 {
        table[b'0' as usize + value] = value as u8 + 52;
        value += 1;
    }
    table[b'+' as usize] = 62;
    table[b'-' as usize] = 62;
    table[b'/' as usize] = 63;
    table[b'_' as usize] = 63;
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXUPPER};
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; base64_bytes(text)];
        base64(text, &mut out).then_some(out)
    }

    proptest! {
        #[test]
        fn every_spelling_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for alphabet in [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD] {
                prop_assert_eq!(read(alphabet.encode(&bytes).as_bytes()), Some(bytes.clone()));
            }
            let mut out = vec![0; bytes.len()];
            prop_assert!(hex(HEXUPPER.encode(&bytes).as_bytes(), &mut out));
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn agrees_with_the_published_crate_on_any_text(text in "[A-Ca-c0-2+/]{0,12}={0,3}") {
            let theirs = BASE64.decode(text.as_bytes()).or(BASE64_NOPAD.decode(text.as_bytes()));
            prop_assert_eq!(read(text.as_bytes()), theirs.ok());
        }
    }

    #[test]
    fn every_byte_is_a_digit_or_is_not() {
        for byte in 0..=u8::MAX {
            for at in 0..10 {
                let mut text = *b"0123456789";
                text[at] = byte;
                let mut out = [0; 5];
                let fits = hex(&text, &mut out);
                assert_eq!(fits, byte.is_ascii_hexdigit(), "{byte} at {at}");
                let theirs = data_encoding::HEXLOWER_PERMISSIVE.decode(&text);
                assert_eq!(fits.then_some(out.to_vec()), theirs.ok());
            }
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for text in ["A", "AA=", "AAA==", "====", "=", "AB==", "AAB=", "AA A", "AAAA=", "é"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        let mut out = [0; 2];
        for text in ["012", "01234", "012g", "01 2", "@123"] {
            assert!(!hex(text.as_bytes(), &mut out), "{text}");
        }
    }
}
