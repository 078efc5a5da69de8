//! The PIN: read from its file when it is needed, wiped afterwards. From a file only: the
//! environment of a process cannot be wiped.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cryptoki::types::RawAuthPin;

use super::fault::{PinFault, Pkcs11Fault};
use crate::keys::wipe;

/// Longest PIN, bytes. Tokens take far less.
const PIN_BYTES_MAX: usize = 255;

/// Reads the PIN: one line, whose end is not part of it.
pub(super) fn read(path: &Path) -> Result<RawAuthPin, Pkcs11Fault> {
    // Room for a line's end, and for one byte that is too many. Of a fixed place, so that no copy
    // is left behind by growing.
    let mut text = [0; PIN_BYTES_MAX + 2];
    let pin = read_into(path, &mut text).and_then(|length| parse(&text[..length]));
    wipe(&mut text);
    pin.map_err(|fault| Pkcs11Fault::Pin { path: path.to_owned(), fault })
}

fn read_into(path: &Path, text: &mut [u8]) -> Result<usize, PinFault> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PinFault::Missing,
        kind => PinFault::Io(kind),
    };
    let mut file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PinFault::Exposed(mode));
    }
    let mut length = 0;
    loop {
        match file.read(&mut text[length..]) {
            Ok(0) => return Ok(length),
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
}

/// The PIN in a box of its own, wiped when it is dropped.
fn parse(text: &[u8]) -> Result<RawAuthPin, PinFault> {
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let fits = (1..=PIN_BYTES_MAX).contains(&line.len());
    if !fits || line.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        return Err(PinFault::Form);
    }
    Ok(RawAuthPin::new(Box::new(line.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, text: &[u8], mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Everything but the PIN itself, which nothing shows.
    fn fault(path: &Path) -> Option<PinFault> {
        match read(path) {
            Ok(_) => None,
            Err(Pkcs11Fault::Pin { path: said, fault }) if said == path => Some(fault),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_pin_is_one_line_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        assert_eq!(fault(&path), Some(PinFault::Missing));
        for mode in [0o640, 0o604, 0o660, 0o610] {
            write(&path, b"1234", mode);
            assert_eq!(fault(&path), Some(PinFault::Exposed(mode)));
        }
        let long = [b'1'; PIN_BYTES_MAX + 1];
        let very = [b'1'; 4_096];
        for bad in [&b""[..], b"\n", b"1\n2\n", b"1\n\n", b"1\r\n", b"1\0", &long, &very] {
            write(&path, bad, 0o600);
            assert_eq!(fault(&path), Some(PinFault::Form), "{} bytes", bad.len());
        }
        let line = [&long[1..], b"\n"].concat();
        for (good, mode) in [(&b"1234"[..], 0o600), (b"12 34\n", 0o400), (&line, 0o600)] {
            write(&path, good, mode);
            assert_eq!(fault(&path), None);
        }
    }

    #[test]
    fn nothing_shows_a_pin() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        write(&path, b"hush-7301\n", 0o600);
        assert!(!format!("{:?}", read(&path)).contains("7301"));
        write(&path, b"hush-7301\nmore", 0o600);
        let refused = read(&path).err().unwrap();
        assert!(!format!("{refused} {refused:?}").contains("7301"));
    }
}
