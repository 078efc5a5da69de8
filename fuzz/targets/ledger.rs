//! The texts of a foreign ledger: entries, checkpoints, keys, proofs. Each has one spelling, so
//! what is read, written again, is the same bytes; and no proof leads where it should not.
#![no_main]

use blindtally::ledger::tree::{self, Hash};
use blindtally::ledger::{Checkpoint, Proof, Recorded, VerifierKey, verify_proof};
use blindtally_fuzz::choose;
use libfuzzer_sys::fuzz_target;

/// A key that signed none of this.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fuzz_target!(|data: &[u8]| {
    let Some((format, bytes)) = choose(data, 6) else { return };
    match format {
        0 => entry(bytes),
        1 => {
            if let Some(checkpoint) = Checkpoint::parse(bytes) {
                assert_eq!(checkpoint.to_string().as_bytes(), bytes);
                assert!(!checkpoint.is_by(&key()));
            }
        }
        2 => proof(bytes),
        3 => {
            let text = String::from_utf8_lossy(bytes);
            if let Some(key) = VerifierKey::parse(&text) {
                assert_eq!(key.to_string(), text.trim_ascii());
            }
        }
        4 => inclusion(bytes),
        _ => consistency(bytes),
    }
});

fn key() -> VerifierKey {
    VerifierKey::parse(KEY).expect("the key is one")
}

fn entry(bytes: &[u8]) {
    let Ok(entry) = Recorded::decode(bytes) else { return };
    assert_eq!(entry.encode().as_deref(), Ok(bytes));
    assert!(entry.operation <= entry.number);
}

fn proof(bytes: &[u8]) {
    let Ok(proof) = Proof::parse(bytes) else { return };
    assert_eq!(proof.to_json().map(String::into_bytes).as_deref(), Ok(bytes));
    assert!(verify_proof(&proof, &key()).is_err());
}

/// Two numbers and hashes.
fn numbers(bytes: &[u8]) -> Option<(u64, u64, &[Hash])> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    let (second, rest) = rest.split_first_chunk::<8>()?;
    let (hashes, _) = rest.as_chunks::<32>();
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(*second), hashes))
}

fn inclusion(bytes: &[u8]) {
    let Some((index, size, hashes)) = numbers(bytes) else { return };
    let leaf = tree::leaf(b"");
    let Some(root) = tree::root_of_inclusion(leaf, index, size, hashes) else { return };
    assert!(index < size && hashes.len() <= 64);
    // Another leaf leads elsewhere.
    assert_ne!(tree::root_of_inclusion(tree::leaf(b"x"), index, size, hashes), Some(root));
}

fn consistency(bytes: &[u8]) {
    let Some((old, size, [old_root, root, proof @ ..])) = numbers(bytes) else { return };
    if tree::verify_consistency((old, *old_root), (size, *root), proof) {
        assert!(old == 0 || old == size && old_root == root || proof.len() <= 65);
    }
}
