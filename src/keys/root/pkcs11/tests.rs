//! What needs no token; with a real one: `src/keys/tests/softhsm.rs`.

use super::*;

#[test]
fn a_pin_is_not_tried_where_the_token_warns() {
    assert_eq!(may_log_in((true, false, false)), Ok(()));
    assert_eq!(may_log_in((true, false, true)), Err(Pkcs11Fault::PinLastTry));
    assert_eq!(may_log_in((true, true, false)), Err(Pkcs11Fault::PinLocked));
    assert_eq!(may_log_in((true, true, true)), Err(Pkcs11Fault::PinLocked));
    assert_eq!(may_log_in((false, false, false)), Err(Pkcs11Fault::PinUnset));
}

#[test]
fn codes_become_sentences() {
    let of = |code| Pkcs11Fault::from(Error::Pkcs11(code, Function::Login));
    for (code, fault) in [
        (RvError::PinIncorrect, Pkcs11Fault::PinRefused),
        (RvError::PinLocked, Pkcs11Fault::PinLocked),
        (RvError::PinExpired, Pkcs11Fault::PinUnset),
        (RvError::TokenNotPresent, Pkcs11Fault::NoToken),
        (RvError::DeviceRemoved, Pkcs11Fault::Gone),
        (RvError::CryptokiNotInitialized, Pkcs11Fault::Gone),
        (RvError::SessionHandleInvalid, Pkcs11Fault::Gone),
        (RvError::MechanismInvalid, Pkcs11Fault::Mechanism),
    ] {
        assert_eq!(of(code), fault);
    }
    let other = RootError::Pkcs11 { label: "bt".into(), fault: of(RvError::DeviceMemory) };
    let sentence = "the PKCS#11 token \"bt\" cannot be used: it refused Login with DeviceMemory; \
                    look up the code in its manual";
    assert_eq!(other.to_string(), sentence);
}

/// What every sentence of a token looks like: one line, no full stop of its own, something to do.
#[test]
fn each_fault_says_what_to_do() {
    let path = PathBuf::from("/run/pin");
    let pin = |fault| Pkcs11Fault::Pin { path: path.clone(), fault };
    for fault in [
        Pkcs11Fault::Module(path.clone()),
        Pkcs11Fault::NoToken,
        Pkcs11Fault::TwoTokens,
        Pkcs11Fault::ReadOnly,
        pin(PinFault::Missing),
        pin(PinFault::Exposed(0o644)),
        pin(PinFault::Form),
        Pkcs11Fault::PinUnset,
        Pkcs11Fault::PinRefused,
        Pkcs11Fault::PinLastTry,
        Pkcs11Fault::PinLocked,
        Pkcs11Fault::Gone,
        Pkcs11Fault::NoKey(3),
        Pkcs11Fault::TwoKeys(3),
        Pkcs11Fault::Loose(3),
        Pkcs11Fault::NotDestroyed(3),
        Pkcs11Fault::OtherRoot,
        Pkcs11Fault::NotOpened,
        Pkcs11Fault::Mechanism,
    ] {
        let sentence = fault.to_string();
        assert!(sentence.contains([';', ':']), "{sentence}");
        assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
    }
}

/// A file that is no library, and a library that is no module.
#[test]
fn what_is_no_module_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    for module in [dir.path().join("none.so"), text] {
        let settings = Pkcs11Settings {
            module: module.clone(),
            label: "bt".into(),
            pin_file: dir.path().join("pin"),
        };
        let refused = Pkcs11Root::new(settings)
            .begin_epoch(VekId { vault: crate::keys::VaultId([1; 16]), epoch: 1 });
        let fault = Pkcs11Fault::Module(module);
        assert!(matches!(&refused, Err(RootError::Pkcs11 { fault: f, .. }) if *f == fault));
    }
}
