//! Seals: no bytes open that were not sealed here with this key at this place.
#![no_main]

use blindtally::crypto::{Aad, OpenError, SealKey, Secret, seal};
use blindtally::model::ids::KeyId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let secret = Secret::take(&mut [7; 32]).expect("32 bytes are a secret");
    let key = SealKey::new(KeyId(1), &secret);
    let aad = Aad::new("fuzz/1").number(7);
    let opened = key.open(&aad, data);
    match seal::key_id(data) {
        Err(error) => assert_eq!(opened, Err(error)),
        Ok(KeyId(1)) => assert_eq!(opened, Err(OpenError::Changed)),
        Ok(other) => assert_eq!(opened, Err(OpenError::OtherKey(other))),
    }
    let Some((at, plain)) = data.split_first_chunk::<2>() else { return };
    let mut sealed = key.seal(&aad, plain);
    assert_eq!(sealed.len(), plain.len() + seal::OVERHEAD_BYTES);
    assert_eq!(key.open(&aad, &sealed).as_deref(), Ok(plain));
    let elsewhere = Aad::new("fuzz/1").number(8);
    assert_eq!(key.open(&elsewhere, &sealed), Err(OpenError::Changed));
    let at = usize::from(u16::from_le_bytes(*at));
    let place = at % sealed.len();
    sealed[place] ^= 1 << (at % 8);
    assert!(key.open(&aad, &sealed).is_err(), "a changed seal opens");
    assert!(key.open(&aad, &sealed[..place]).is_err(), "a cut seal opens");
});
