//! What is said where the keys cannot be used: a plain sentence of one line that ends with what the
//! operator has to do, and holds nothing that is secret.

use std::io;
use std::path::PathBuf;

use crate::keys::{PinFault, RegisterError, RootError, VekError};

/// What an operator is told to do begins with one of these.
const TO_DO: [&str; 11] = [
    "check ",
    "end ",
    "find out ",
    "give ",
    "look ",
    "put ",
    "run ",
    "start ",
    "update ",
    "use ",
    "write ",
];

fn io_error() -> io::Error {
    io::Error::from(io::ErrorKind::PermissionDenied)
}

/// Each variant once; one that is new does not compile before it stands here.
fn register_errors() -> Vec<RegisterError> {
    use RegisterError as E;
    let file = "register.a";
    let all = vec![
        E::Io { file, source: io_error() },
        E::Foreign { file },
        E::Version { file, version: 9 },
        E::OtherVault { file },
        E::Duplicate { file },
        E::Apart { a: 1, b: 2 },
        E::Headers,
        E::Slot { slot: 3 },
        E::NotKept { file, slot: Some(3) },
        E::NotKept { file, slot: None },
        E::Full,
        E::Failed(io::ErrorKind::StorageFull),
    ];
    for error in &all {
        match error {
            E::Io { .. }
            | E::Foreign { .. }
            | E::Version { .. }
            | E::OtherVault { .. }
            | E::Duplicate { .. } => {}
            E::Apart { .. }
            | E::Headers
            | E::Slot { .. }
            | E::NotKept { .. }
            | E::Full
            | E::Failed(_) => {}
        }
    }
    all
}

fn vek_errors() -> Vec<VekError> {
    use VekError as E;
    let all = vec![
        E::Root(RootError::Other("key file".to_owned())),
        E::Io(io_error()),
        E::Damaged,
        E::Version(9),
        E::TwoVaults,
        E::PreviousLives,
        E::NoEpoch(3),
        E::TooLong(4_096),
        E::GoneBefore(3),
        E::NotKept,
        E::NotZeroed,
    ];
    for error in &all {
        match error {
            E::Root(_)
            | E::Io(_)
            | E::Damaged
            | E::Version(_)
            | E::TwoVaults
            | E::PreviousLives
            | E::NoEpoch(_) => {}
            E::TooLong(_) | E::GoneBefore(_) | E::NotKept | E::NotZeroed => {}
        }
    }
    all
}

/// Those of a token have a test of their own beside it, but for its PIN's file.
fn root_errors() -> Vec<RootError> {
    use RootError as E;
    let path = PathBuf::from("/keys/root.key");
    let all = vec![
        E::Missing(path.clone()),
        E::Exposed { path: path.clone(), mode: 0o644 },
        E::Form(path.clone()),
        E::Share { path: path.clone(), needed: 2 },
        E::Io { path, source: io_error() },
        E::Provider { name: "test".to_owned(), why: "busy".to_owned() },
        E::Ended("test".to_owned()),
        E::Other("key file".to_owned()),
    ];
    for error in &all {
        match error {
            E::Missing(_) | E::Exposed { .. } | E::Form(_) | E::Io { .. } | E::Provider { .. } => {}
            E::Share { .. } => {}
            E::Ended(_) | E::Other(_) | E::Pkcs11 { .. } => {}
        }
    }
    all
}

#[test]
fn each_sentence_ends_with_what_to_do() {
    let mut said = vec![PinFault::Io(io::ErrorKind::PermissionDenied).to_string()];
    said.extend(register_errors().iter().map(ToString::to_string));
    said.extend(vek_errors().iter().map(ToString::to_string));
    said.extend(root_errors().iter().map(ToString::to_string));
    for sentence in said {
        // What was found, and after it what to do.
        let (found, to_do) = sentence.rsplit_once("; ").expect("two parts");
        let begins = TO_DO.iter().any(|verb| to_do.starts_with(verb));
        assert!(begins && !found.is_empty(), "{sentence}");
        assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
    }
}
