//! Content codings of request bodies: identity, gzip (several members) and zstd (several frames,
//! window of at most 8 MiB, RFC 9659), inflated into a capped, wiped [`Buffer`].

use std::io::Read;

use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use zeroize::Zeroizing;

use super::body::{BodyError, Buffer};

/// The codings that a client may use, for `Accept-Encoding` in a 415 (RFC 9110 §12.5.3).
pub const ACCEPTED: &str = "gzip, zstd";
/// Largest zstd window: 2^23 = 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes inflated in one step.
const STEP_BYTES: usize = 64 << 10;

/// The coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Reads `Content-Encoding`; `None` for a coding that we do not know, and for more than one:
    /// nobody compresses twice but an attacker.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut codings = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
        match (codings.next(), codings.next()) {
            (None, _) => Some(Self::Identity),
            (Some(name), None) if name.eq_ignore_ascii_case(b"zstd") => Some(Self::Zstd),
            (Some(name), None) => {
                let gzip = [&b"gzip"[..], b"x-gzip"];
                gzip.iter().any(|known| name.eq_ignore_ascii_case(known)).then_some(Self::Gzip)
            }
            (Some(_), Some(_)) => None,
        }
    }

    /// Inflates `coded` into `plain`.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] as soon as the cap is passed, so that a bomb costs no more than an
    /// honest body; [`BodyError::BadCoding`] where the coding is broken, cut or followed by junk.
    pub fn inflate(self, coded: &[u8], mut plain: Buffer) -> Result<Buffer, BodyError> {
        match self {
            Self::Identity => plain.extend(coded)?,
            Self::Gzip => copy(flate2::bufread::MultiGzDecoder::new(coded), &mut plain)?,
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(coded);
                let mut decoder = decoder.map_err(|_| BodyError::BadCoding)?;
                let limited = decoder.window_log_max(ZSTD_WINDOW_LOG_MAX);
                limited.map_err(|_| BodyError::BadCoding)?;
                copy(decoder, &mut plain)?;
            }
        }
        Ok(plain)
    }
}

fn copy(mut from: impl Read, to: &mut Buffer) -> Result<(), BodyError> {
    let mut step = Zeroizing::new(vec![0; STEP_BYTES]);
    loop {
        match from.read(&mut step) {
            Ok(0) => return Ok(()),
            Ok(n) => to.extend(step.get(..n).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(BodyError::BadCoding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::Budget;
    use super::*;
    use std::io::Write;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn inflate(coding: Coding, coded: &[u8], max_bytes: usize) -> Result<Vec<u8>, BodyError> {
        let budget = Budget::new(64 << 20);
        let plain = coding.inflate(coded, Buffer::new(max_bytes, budget.share()))?;
        Ok(plain.as_slice().to_vec())
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(inflate(Coding::Gzip, &two, 100).unwrap(), b"one two");
        let frame = |text: &[u8]| zstd::stream::encode_all(text, 3).unwrap();
        let two = [frame(b"one "), frame(b"two")].concat();
        assert_eq!(inflate(Coding::Zstd, &two, 100).unwrap(), b"one two");
        assert_eq!(inflate(Coding::Identity, b"one", 3).unwrap(), b"one");
    }

    #[test]
    fn bombs_stop_at_the_cap() {
        let zeros = vec![0; 8 << 20];
        let cap = 1 << 20;
        assert_eq!(inflate(Coding::Gzip, &gzip(&zeros), cap), Err(BodyError::TooLarge));
        let bomb = zstd::stream::encode_all(&zeros[..], 3).unwrap();
        assert!(bomb.len() < 10_000);
        assert_eq!(inflate(Coding::Zstd, &bomb, cap), Err(BodyError::TooLarge));
        assert_eq!(inflate(Coding::Identity, &zeros, cap), Err(BodyError::TooLarge));
    }

    #[test]
    fn cut_broken_and_trailing_bytes_are_refused() {
        let whole = gzip(b"some text that is long enough");
        let frame = zstd::stream::encode_all(&b"some text"[..], 3).unwrap();
        for (coding, whole) in [(Coding::Gzip, &whole), (Coding::Zstd, &frame)] {
            let cut = &whole[..whole.len() - 3];
            assert_eq!(inflate(coding, cut, 100), Err(BodyError::BadCoding));
            let junk = [whole.as_slice(), b"junk"].concat();
            assert_eq!(inflate(coding, &junk, 100), Err(BodyError::BadCoding));
            assert_eq!(inflate(coding, b"plain text", 100), Err(BodyError::BadCoding));
        }
    }

    #[test]
    fn a_window_over_8_mib_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(25).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.write_all(&[1; 100]).unwrap();
        let coded = encoder.finish().unwrap();
        assert_eq!(inflate(Coding::Zstd, &coded, 1 << 20), Err(BodyError::BadCoding));
    }

    #[test]
    fn one_known_coding_is_read_and_others_are_not() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            Coding::from_headers(&headers)
        };
        assert_eq!(read(&[]), Some(Coding::Identity));
        assert_eq!(read(&["identity"]), Some(Coding::Identity));
        assert_eq!(read(&["GZip"]), Some(Coding::Gzip));
        assert_eq!(read(&["x-gzip"]), Some(Coding::Gzip));
        assert_eq!(read(&["zstd"]), Some(Coding::Zstd));
        for unknown in [&["br"][..], &["deflate"], &["gzip, gzip"], &["gzip", "zstd"]] {
            assert_eq!(read(unknown), None, "{unknown:?}");
        }
    }
}
