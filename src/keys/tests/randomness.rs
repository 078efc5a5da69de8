//! Check 28: a system without randomness. The process must end at once, because keys would repeat,
//! and that is tried in a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::crypto::secret::no_randomness;
use crate::keys::{KeyRing, Settings};

/// Tells the process of its own where its keys are, and how often there is randomness.
const PLACE: &str = "BLINDTALLY_TEST_PLACE";
const TIMES: &str = "BLINDTALLY_TEST_TIMES";
const ABORTED: i32 = 6;
/// The file that it writes when it was not stopped.
const WENT_ON: &str = "went-on";
/// Far more often than a first start asks.
const OFTEN: u64 = 10_000;

/// The start of the keys in a process of its own.
fn started(place: &str, times: &str) {
    no_randomness::after(times.parse().unwrap());
    let opened = KeyRing::open(&Settings::in_dir(Path::new(place).join("keys")));
    std::fs::write(Path::new(place).join(WENT_ON), opened.is_ok().to_string()).unwrap();
}

fn start(place: &Path, times: u64) -> ExitStatus {
    let own = "keys::tests::randomness::check_28_without_randomness_no_start_goes_on";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", own, "--nocapture"]).env(PLACE, place);
    command.env(TIMES, times.to_string()).output().unwrap().status
}

#[test]
fn check_28_without_randomness_no_start_goes_on() {
    if let (Ok(place), Ok(times)) = (std::env::var(PLACE), std::env::var(TIMES)) {
        return started(&place, &times);
    }
    let mut stopped = 0;
    for times in 0..OFTEN {
        let dir = tempfile::tempdir().unwrap();
        let done = start(dir.path(), times);
        let went_on = std::fs::read_to_string(dir.path().join(WENT_ON)).ok();
        if done.success() {
            assert_eq!(went_on.as_deref(), Some("true"));
            break;
        }
        stopped += 1;
        assert_eq!((done.signal(), went_on), (Some(ABORTED), None), "after {times}");
        // What it left is made whole by a start with randomness, and no key in it is zeros.
        let (ring, _) = KeyRing::open(&Settings::in_dir(dir.path().join("keys"))).unwrap();
        let secrets = ring.secrets();
        assert!(!secrets.is_empty() && secrets.values().all(|secret| *secret != [0; 32]));
    }
    assert!(stopped > 3, "a first start asks for randomness more than {stopped} times");
}
