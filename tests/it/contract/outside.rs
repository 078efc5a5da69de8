//! A server in a process of its own whose clock the test moves, so that it can be killed: this test
//! binary, started once more for one of its tests.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::clocked::{Moved, app_on};
use crate::support::Place;
use crate::support::softhsm::{CONF, LABEL, SoftHsm};
use blindtally::config::Settings;
use blindtally::keys::Pkcs11Settings;

/// Says to that test which place it serves.
const PLACE: &str = "BLINDTALLY_TEST_PLACE";
const TEST: &str = "contract::outside::a_server_of_another_process_sees_the_clock_of_the_test";
/// A place that has this directory has its root key in the token there.
pub(super) const TOKEN: &str = "token";
/// Before the address in what the process prints.
const AT: &str = "serves at ";

/// The process; it ends with its test.
pub(super) struct Process {
    child: Child,
    /// Closed, it tells the process to drain.
    stop: Option<ChildStdin>,
}

impl Process {
    /// Starts it on a place, whose clock says what time it is.
    pub(super) fn start(place: &Path) -> (Self, SocketAddr) {
        let mut child =
            Self::command(place).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = |line: String| line.split_once(AT)?.1.trim().parse().ok();
        let address = lines.find_map(|line| address(line.unwrap())).expect("no server");
        // Whatever else it says is read, so that it never waits.
        std::thread::spawn(move || lines.for_each(drop));
        let stop = child.stdin.take();
        (Self { child, stop }, address)
    }

    fn command(place: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([TEST, "--exact", "--nocapture", "--test-threads=1"]).env(PLACE, place);
        // The library reads it once in a process.
        command.env(CONF, SoftHsm::at(&place.join(TOKEN)).conf());
        command
    }

    /// What it says where it does not start.
    pub(super) fn refused(place: &Path) -> String {
        let done = Self::command(place).stdin(Stdio::null()).output().unwrap();
        assert!(!done.status.success());
        String::from_utf8([done.stdout, done.stderr].concat()).unwrap()
    }

    /// Lets it drain.
    pub(super) fn drain(mut self) {
        drop(self.stop.take());
        assert!(self.child.wait().unwrap().success());
    }

    /// `kill -9`.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        assert!(!self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_token(settings: &mut Settings) {
    let place = settings.store.data.parent().unwrap();
    let pin_file = SoftHsm::at(&place.join(TOKEN)).pin_file();
    let (module, label) = (SoftHsm::module(), LABEL.to_owned());
    settings.keys.pkcs11 = Some(Pkcs11Settings { module, label, pin_file });
}

fn serve(place: &Path) {
    let clock = Moved::open(place);
    let change = if place.join(TOKEN).exists() { in_token } else { super::bill::odd };
    let (runtime, app) = app_on(place, &clock, change);
    println!("{AT}{}", app.addresses()[0]);
    // The end of the test, or of its process, is the end of this.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    runtime.block_on(app.drain());
}

#[test]
fn a_server_of_another_process_sees_the_clock_of_the_test() {
    if let Some(place) = std::env::var_os(PLACE) {
        return serve(Path::new(&place));
    }
    let place = Place::new();
    let clock = Moved::open(place.path());
    clock.set("2031-05-06T07:08:09Z");
    for killed in [true, false] {
        let (process, address) = Process::start(place.path());
        let operator = std::fs::read_to_string(place.keys().join("operator.token")).unwrap();
        let mut client = crate::support::Client::new(address, operator.trim());
        let path = "/v1/sites/A/usage/2031-05";
        let put = client.send("PUT", "/v1/sites/A", &[super::JSON], b"{}").unwrap();
        assert_eq!(put.status, if killed { 201 } else { 200 });
        for second in 10..12 {
            let time = format!("2031-05-06T07:08:{second}Z");
            clock.set(&time);
            let usage = client.send("GET", path, &[], b"").unwrap().json();
            assert!(usage["as_of"].as_str().unwrap().starts_with(&time[..19]), "{usage}");
        }
        if killed { process.kill() } else { process.drain() }
    }
}
