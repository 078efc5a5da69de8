//! Bodies in gzip and zstd: never more than the cap comes out, the budget is given back, and what
//! was packed by the usual means comes out as it went in.
#![no_main]

use std::io::Write;

use blindtally_fuzz::choose;
use blindtally_fuzz::http::body::{BodyError, Budget, Buffer};
use blindtally_fuzz::http::inflate::Coding;
use libfuzzer_sys::fuzz_target;

const CAPS: [usize; 3] = [1 << 20, 1 << 10, 0];
const BUDGET_BYTES: usize = 768 << 10;

fuzz_target!(|data: &[u8]| {
    let Some((choice, coded)) = choose(data, 9) else { return };
    let coding = [Coding::Gzip, Coding::Zstd, Coding::Identity][choice % 3];
    let cap = CAPS[choice / 3];
    let opened = inflate(coding, coded, cap);
    if coding == Coding::Identity {
        assert!(coded.len() > cap || opened.as_deref() == Ok(coded));
        return;
    }
    let packed = pack(coding, coded);
    let again = inflate(coding, &packed, cap);
    if coded.len() > cap {
        assert_eq!(again, Err(BodyError::TooLarge));
        return;
    }
    assert_eq!(again.as_deref(), Ok(coded));
    // Two members, or two frames, are one body.
    let twice = inflate(coding, &[packed.as_slice(), &packed].concat(), cap);
    if coded.len() * 2 <= cap {
        assert_eq!(twice, Ok([coded, coded].concat()));
    }
    // Anything else behind the end is junk.
    if opened == Err(BodyError::BadCoding) && !coded.is_empty() {
        let followed = inflate(coding, &[packed.as_slice(), coded].concat(), cap);
        assert!(followed.is_err(), "junk behind the end was taken");
    }
    if !packed.is_empty() {
        let short = inflate(coding, &packed[..packed.len() - 1], cap);
        assert_eq!(short, Err(BodyError::BadCoding), "a cut body was taken");
    }
});

fn inflate(coding: Coding, coded: &[u8], cap: usize) -> Result<Vec<u8>, BodyError> {
    let budget = Budget::new(BUDGET_BYTES);
    let buffer = Buffer::new(cap, budget.share());
    let plain = coding.inflate(coded, buffer).map(|plain| {
        assert!(plain.as_slice().len() <= cap, "more than the cap");
        assert!(budget.held_bytes() >= plain.as_slice().len(), "bytes that nobody counted");
        assert!(budget.held_bytes() <= BUDGET_BYTES);
        plain.as_slice().to_vec()
    });
    assert_eq!(budget.held_bytes(), 0, "the share was not given back");
    plain
}

fn pack(coding: Coding, plain: &[u8]) -> Vec<u8> {
    if coding == Coding::Zstd {
        return zstd::bulk::compress(plain, 1).expect("compression into memory");
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("compression into memory");
    encoder.finish().expect("compression into memory")
}
