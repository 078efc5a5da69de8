//! The server as a process of its own: start, readiness, signals, output.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Client;

/// Longer than any start or end may take, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A directory of its own for data and keys; gone when this is dropped.
pub struct Place {
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Place {
    /// A new one.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { directory, environment: Vec::new() }
    }

    /// Sets an environment variable, by its whole name, for every process that starts here.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// For whatever else a test writes.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The keys directory.
    pub fn keys(&self) -> PathBuf {
        self.path().join("data-keys")
    }

    /// The ledger's directory.
    pub fn ledger(&self) -> PathBuf {
        self.path().join("data-ledger")
    }
}

/// A running server. It is killed when this is dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    keys: PathBuf,
    output: Output,
}

/// Starts the real binary on a free port and waits until it is ready. `settings` are environment
/// variables without their prefix: `("FOLD__SECONDS", "1")`.
#[track_caller]
pub fn start(place: &Place, settings: &[(&str, &str)]) -> Server {
    let server = start_alive(place, settings);
    server.wait_for("/readyz", 200);
    server
}

/// Starts the real binary and waits only until it listens.
#[track_caller]
pub fn start_alive(place: &Place, settings: &[(&str, &str)]) -> Server {
    let mut child = spawn(place, settings);
    let output = Output::of(&mut child);
    let deadline = Instant::now() + PATIENCE;
    let address = loop {
        if let Some(address) = output.address() {
            break address;
        }
        let ended = child.try_wait().expect("the process's state");
        if ended.is_some() || Instant::now() > deadline {
            let _ = child.kill();
            panic!("the server did not start ({ended:?}):\n{}", output.text());
        }
        std::thread::sleep(LOOK);
    };
    Server { child, address, keys: place.keys(), output }
}

/// A process that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it said on both streams.
    pub output: String,
}

/// Runs the real binary where it is expected to refuse its start.
#[track_caller]
pub fn run_to_end(place: &Place, settings: &[(&str, &str)]) -> Ended {
    let mut child = spawn(place, settings);
    let output = Output::of(&mut child);
    let status = wait(&mut child).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the server did not end:\n{}", output.text())
    });
    Ended { status, output: output.finish() }
}

/// Runs `blindtally verify` on a place; how it ended and what it said.
#[track_caller]
pub fn verify(place: &Place, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
    command.arg("verify").arg("--data").arg(place.data()).args(arguments);
    let done = command.stdin(Stdio::null()).output().expect("the binary");
    let output = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    Ended { status: done.status, output: output.into_owned() }
}

/// Runs `blindtally evidence` against a server into a folder; how it ended and what it said.
#[track_caller]
pub fn evidence(server: &Server, token: &str, out: &Path) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
    command.arg("evidence").arg("--out").arg(out);
    command.env("BLINDTALLY_URL", format!("http://{}", server.address()));
    command.env("BLINDTALLY_TOKEN", token);
    let done = command.stdin(Stdio::null()).output().expect("the binary");
    let output = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    Ended { status: done.status, output: output.into_owned() }
}

/// Runs `blindtally load` against a server; how it ended and what it said.
#[track_caller]
pub fn load(server: &Server, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
    command.arg("load").arg("--url").arg(format!("http://{}", server.address())).args(arguments);
    for name in ["BLINDTALLY_URL", "BLINDTALLY_TOKEN", "BLINDTALLY_BILLING_TOKEN"] {
        command.env_remove(name);
    }
    let done = command.stdin(Stdio::null()).output().expect("the binary");
    let output = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    Ended { status: done.status, output: output.into_owned() }
}

/// Starts the real binary and kills it after this long, wherever it is by then.
pub fn kill_early(place: &Place, settings: &[(&str, &str)], after: Duration) {
    let mut child = spawn(place, settings);
    let output = Output::of(&mut child);
    std::thread::sleep(after);
    let ended = child.try_wait().expect("the process's state");
    assert!(ended.is_none(), "the server ended by itself ({ended:?}):\n{}", output.text());
    child.kill().expect("a kill");
    child.wait().expect("an end");
}

/// Ends this very process as `kill -9` does.
#[allow(unsafe_code, reason = "std has no way to send this signal")]
pub fn kill_self() {
    let pid = i32::try_from(std::process::id()).expect("a process id");
    // SAFETY: the call takes two integers, and names this process.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    // It is delivered before the call returns, or at the latest here.
    loop {
        std::thread::park();
    }
}

fn spawn(place: &Place, settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
    command.arg("serve").arg("--data").arg(place.data()).args(["--listen", "127.0.0.1:0"]);
    command.envs(place.environment.iter().map(|(name, value)| (name, value)));
    command.envs(settings.iter().map(|(name, value)| (format!("BLINDTALLY__{name}"), value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary")
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the process's state") {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far on both streams.
    pub fn logs(&self) -> String {
        self.output.text()
    }

    /// The token that the first start wrote.
    #[track_caller]
    pub fn operator_token(&self) -> String {
        let path = self.keys.join("operator.token");
        std::fs::read_to_string(path).expect("the operator token").trim().to_owned()
    }

    /// Waits until a path answers this status.
    #[track_caller]
    pub fn wait_for(&self, path: &str, status: u16) {
        let deadline = Instant::now() + PATIENCE;
        let mut client = Client::new(self.address, "");
        loop {
            let answer = client.send("GET", path, &[], b"");
            if answer.as_ref().is_ok_and(|answer| answer.status == status) {
                return;
            }
            assert!(Instant::now() < deadline, "{path}: {answer:?}\n{}", self.logs());
            std::thread::sleep(LOOK);
        }
    }

    /// `kill -9`, at once.
    pub fn kill(mut self) {
        self.kill_now();
    }

    fn kill_now(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Tells the process to end (SIGTERM), and does not wait.
    #[allow(unsafe_code, reason = "std has no way to send this signal")]
    pub fn signal_term(&self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: the call takes two integers; the child is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    /// SIGTERM, and how the process ended.
    #[track_caller]
    pub fn terminate(self) -> Ended {
        self.signal_term();
        self.ended()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let status = wait(&mut self.child);
        let status = status.unwrap_or_else(|| panic!("it does not end:\n{}", self.logs()));
        Ended { status, output: std::mem::take(&mut self.output).finish() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill_now();
        if std::thread::panicking() {
            eprintln!("The server said:\n{}", self.logs());
        }
    }
}

/// What a process says: both streams in one text, read by two threads.
#[derive(Default)]
struct Output {
    text: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Output {
    fn of(child: &mut Child) -> Self {
        let mut output = Self::default();
        output.read(child.stdout.take().expect("a pipe"));
        output.read(child.stderr.take().expect("a pipe"));
        output
    }

    fn read(&mut self, stream: impl Read + Send + 'static) {
        let text = Arc::clone(&self.text);
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(&line));
                text.push('\n');
            }
        }));
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.lock().clone()
    }

    /// All of it, once the process has ended.
    fn finish(self) -> String {
        for reader in self.readers {
            let _ = reader.join();
        }
        std::mem::take(&mut *self.text.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The address in the line that says `ready`.
    fn address(&self) -> Option<SocketAddr> {
        let text = self.lock();
        let line = text.lines().find(|line| line.contains("ready") && line.contains("address"))?;
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value["address"].as_str()?.parse().ok()
    }
}
