//! The published vectors of the pseudonyms, computed once more by a second implementation in
//! Python, which shares no code with the server (P3).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Runs the second implementation over a file of vectors.
fn check(file: &Path) -> Output {
    let done = Command::new("python3").arg("-B").arg(vectors().join("check.py")).arg(file).output();
    done.unwrap_or_else(|error| panic!("python3 cannot be run ({error}); `make setup` installs it"))
}

#[test]
fn the_second_implementation_agrees() {
    let output = check(&vectors().join("pseudonyms.json"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(" rows, 0 wrong"), "{said}");
}

#[test]
fn a_changed_vector_is_noticed() {
    let text = std::fs::read_to_string(vectors().join("pseudonyms.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pseudonyms.json");
    for member in ["\"canonical\": \"", "\"message\": \"", "\"base\": \"", "\"tag\": \""] {
        let at = text.rfind(member).unwrap() + member.len();
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        std::fs::write(&file, changed).unwrap();
        let output = check(&file);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{member}: {said}");
        assert!(said.contains(" rows, 1 wrong"), "{member}: {said}");
    }
}
