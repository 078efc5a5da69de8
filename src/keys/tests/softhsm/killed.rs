//! A process that is really killed at each moment around a call of the token and between the steps
//! of a destruction; and again in the start after it.

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::token::SoftHsm;
use super::{again, apart, files, put_back, root_of, vault_fault, vault_in};
use crate::crypto::{Aad, Secret};
use crate::keys::tests::destroy::{done, filled, victims};
use crate::keys::{
    KeyRing, LedgerMark, Pkcs11Fault, Pkcs11Root, Resumed, RootError, RootProvider, Step, Steps,
    VekId,
};

/// Where the vault is and after how many moments to end, in a process that is to be killed.
const CUT_DIR: &str = "BLINDTALLY_TEST_CUT_DIR";
const CUT_AT: &str = "BLINDTALLY_TEST_CUT_AT";

/// Ends the process, as `kill -9` does, at one of the moments around a token's calls and between
/// the steps of a destruction.
struct Ends(AtomicU32);

impl Ends {
    fn moment(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            std::process::abort();
        }
    }
}

impl Steps for Ends {
    fn done(&self, _: Step) {
        self.moment();
    }
}

struct Ending(Pkcs11Root, Arc<Ends>);

impl Ending {
    fn around<T>(&self, call: impl FnOnce(&Pkcs11Root) -> T) -> T {
        self.1.moment();
        let answer = call(&self.0);
        self.1.moment();
        answer
    }
}

impl RootProvider for Ending {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn begin_epoch(&self, vek: VekId) -> Result<(), RootError> {
        self.around(|root| root.begin_epoch(vek))
    }

    fn end_epoch(&self, vek: VekId) -> Result<(), RootError> {
        self.around(|root| root.end_epoch(vek))
    }

    fn ends_epochs(&self) -> bool {
        self.0.ends_epochs()
    }

    fn wrap(&self, vek: VekId, aad: &Aad, plain: &[u8; 32]) -> Result<Vec<u8>, RootError> {
        self.around(|root| root.wrap(vek, aad, plain))
    }

    fn unwrap(&self, vek: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError> {
        self.around(|root| root.unwrap(vek, aad, wrapped))
    }
}

/// In the process that is to be killed: destroys, and may not live to see the end.
fn destroy_until(token: &SoftHsm, dir: &Path, moments: u32) {
    let ends = Arc::new(Ends(AtomicU32::new(moments)));
    let root = Ending(root_of(token), Arc::clone(&ends));
    let (ring, _) = KeyRing::open_with(&vault_in(dir.to_owned(), token), Box::new(root)).unwrap();
    if ring.vek_epoch().unwrap() == 1 {
        done(ring.destroy(&victims(&ring), LedgerMark::default(), ends.as_ref()));
    }
}

#[test]
fn a_process_killed_around_the_token_goes_on() {
    const TEST: &str = "keys::tests::softhsm::killed::a_process_killed_around_the_token_goes_on";
    apart(TEST, |token| {
        if let (Some(dir), Some(at)) = (env::var_os(CUT_DIR), env::var_os(CUT_AT)) {
            let at = at.into_string().unwrap().parse().unwrap();
            return destroy_until(token, Path::new(&dir), at);
        }
        let (mut rolled_back, mut finished) = (0, 0);
        for moments in 0.. {
            let dir = token.dir().join(format!("keys-{moments}"));
            let settings = vault_in(dir.clone(), token);
            let (ring, _) = KeyRing::open(&settings).unwrap();
            filled(&ring);
            let (before, due) = (ring.secrets(), victims(&ring));
            let copied = files(&settings.dir);
            drop(ring);
            // Killed twice at the same distance: in the destruction, then in what follows.
            let more = [(CUT_DIR, dir.into_os_string()), (CUT_AT, moments.to_string().into())];
            let ended = again(TEST, token, &more);
            if !ended.status.success() {
                again(TEST, token, &more);
            }
            let (ring, opened) = KeyRing::open(&settings).unwrap();
            assert_ne!(opened.resumed, Resumed::Waiting);
            if ring.vek_epoch().unwrap() == 1 {
                rolled_back += 1;
                assert_eq!(ring.secrets(), before);
                done(ring.destroy(&due, LedgerMark::default(), &()));
            } else {
                finished += 1;
            }
            assert!(ring.is_destroyed(&due, 1));
            let now = ring.secrets();
            assert!(due.iter().all(|id| !now.contains_key(id)));
            assert!(now.iter().all(|(id, secret)| before.get(id).is_none_or(|had| had == secret)));
            drop(ring);
            assert_eq!(token.keys(), usize::try_from(moments).unwrap() + 1, "{moments}");
            put_back(&copied);
            assert_eq!(vault_fault(&settings), Pkcs11Fault::NoKey(1), "{moments}");
            if ended.status.success() {
                break;
            }
        }
        assert!(rolled_back > 5 && finished > 5, "{rolled_back} {finished}");
    });
}
