//! What a record costs, on the real process: `cargo bench --bench end_to_end [-- RECORDS]`.
//!
//! A server on a fresh directory and `blindtally load` on the same machine, over loopback, with
//! bodies made before the sending. CPU is that of the server's process until the last answer, by
//! thread, folds and compactions included; it is what to compare, since wall time is shared with
//! the sender. No figure is a test.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BLINDTALLY: &str = env!("CARGO_BIN_EXE_blindtally");
const ADDRESS: &str = "127.0.0.1:8087";
const RECORDS: u64 = 20_000_000;

fn main() -> io::Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let records: u64 = asked.unwrap_or(RECORDS);
    let dir = std::env::temp_dir().join(format!("blindtally-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let result = run(&dir, records);
    fs::remove_dir_all(&dir)?;
    result
}

fn run(dir: &Path, records: u64) -> io::Result<()> {
    let mut server = Server::start(dir)?;
    println!("== {records} records, 1,000 a request, fsync before each answer");
    let full = load(dir, &["--records", &records.to_string(), "--pregenerate"])?;
    server.print(records)?;
    print_stored(dir, &server, records)?;

    let half = (full / 2).to_string();
    println!("== at half of that load, {half} records a second: latency of the acknowledgement");
    load(dir, &["--records", "2000000", "--rate", &half, "--seed", "2", "--site-prefix", "H"])?;
    println!("== one record a request, 64 connections");
    let single = ["--records", "50000", "--batch", "1", "--concurrency", "64", "--seed", "3"];
    load(dir, &[&single[..], &["--site-prefix", "O"]].concat())?;
    println!("== reading a month while records come in as fast as they can");
    read_under_load(dir)?;
    println!("== as many records again, of nearly as many users");
    let many = ["--records", &records.to_string(), "--users", &records.to_string()];
    load_quietly(dir, &[&many[..], &["--seed", "5", "--site-prefix", "M"]].concat())?;
    print_sets(&get(dir, "/metrics")?);

    server.child.kill()?;
    server.child.wait()?;
    let began = Instant::now();
    let mut server = Server::start(dir)?;
    println!("== start after kill -9: {:.2} s", began.elapsed().as_secs_f64());
    server.child.kill()?;
    server.child.wait()?;
    Ok(())
}

/// A figure of the server's metrics.
fn figure(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

fn print_sets(metrics: &str) {
    let members = figure(metrics, "blindtally_tally_members");
    let bytes = figure(metrics, "blindtally_tally_bytes");
    println!("sets         {members} members, {:.1} bytes of memory each", bytes / members);
}

/// Bytes at rest and bytes written, by the server's own metrics and the kernel's count; memory of
/// the sets by member.
fn print_stored(dir: &Path, server: &Server, records: u64) -> io::Result<()> {
    let metrics = get(dir, "/metrics")?;
    let value = |name: &str| figure(&metrics, name);
    let at_rest = value("blindtally_block_bytes_total") / value("blindtally_folded_rows_total");
    let written = server.written()? as f64 / records as f64;
    let each = |name: &str| value(name) / records as f64;
    let in_files = each("blindtally_file_bytes");
    println!("at rest      {in_files:.1} bytes a record in files, {at_rest:.1} of them blocks");
    println!(
        "written      {written:.1} bytes a record, {:.2} for each in files",
        written / in_files
    );
    println!(
        "             log {:.1}, to files {:.1}, from files to files {:.1}",
        each("blindtally_log_bytes_total"),
        each("blindtally_flush_bytes_total"),
        each("blindtally_compaction_bytes_total"),
    );
    print_sets(&metrics);
    println!(
        "seen slots   {:.1} bytes of memory a record",
        value("blindtally_seen_bytes") / records as f64
    );
    Ok(())
}

fn read_under_load(dir: &Path) -> io::Result<()> {
    let sites = get(dir, "/v1/sites")?;
    let site = sites.split("\"site_id\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let month = jiff::Timestamp::now().strftime("%Y-%m").to_string();
    let path = format!("/v1/sites/{}/usage/{month}", site.unwrap_or("load-0000"));
    let mut took: Vec<Duration> = Vec::new();
    let load = ["--records", "1000000", "--seed", "4", "--site-prefix", "R"];
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| load_quietly(dir, &load));
        while !loading.is_finished() {
            let began = Instant::now();
            get(dir, &path)?;
            took.push(began.elapsed());
        }
        loading.join().map_err(|_| io::Error::other("the load panicked"))?
    })?;
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let [p50, p99, p999] = [at(0.5), at(0.99), at(0.999)];
    println!("{} reads, a connection each: p50 {p50:?}  p99 {p99:?}  p99.9 {p999:?}", took.len());
    Ok(())
}

/// The body of an answer to the operator.
fn get(dir: &Path, path: &str) -> io::Result<String> {
    let token = fs::read_to_string(dir.join("data-keys").join("operator.token"))?;
    let mut stream = std::net::TcpStream::connect(ADDRESS)?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("{path} was not answered"))),
    }
}

struct Server {
    child: Child,
}

impl Server {
    fn start(dir: &Path) -> io::Result<Self> {
        let child = Command::new(BLINDTALLY)
            .args(["serve", "--listen", ADDRESS, "--data"])
            .arg(dir.join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let until = Instant::now() + Duration::from_secs(120);
        while std::net::TcpStream::connect(ADDRESS).is_err() {
            if Instant::now() > until {
                return Err(io::Error::other("the server did not start"));
            }
            std::thread::yield_now();
        }
        Ok(Self { child })
    }

    /// CPU a record by thread (decode, hash, seal on the workers; judge, commit on the writer;
    /// blocks and runs on the fold), memory, and bytes written to the device.
    fn print(&self, records: u64) -> io::Result<()> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let mut all = (0, 0);
        let mut rows: Vec<(String, u64, u64)> = Vec::new();
        for task in fs::read_dir(proc.join("task"))? {
            let (name, user, system) = stat(&task?.path().join("stat"))?;
            all = (all.0 + user, all.1 + system);
            match rows.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, u, s)) => (*u, *s) = (*u + user, *s + system),
                None => rows.push((name, user, system)),
            }
        }
        // The kernel counts in hundredths of a second.
        let each = |ticks: u64| ticks as f64 * 10_000.0 / records as f64;
        println!(
            "server CPU   {:.3} us a record (user {:.3}, system {:.3})",
            each(all.0 + all.1),
            each(all.0),
            each(all.1)
        );
        for (name, user, system) in rows.iter().filter(|(_, u, s)| each(u + s) > 0.005) {
            println!("  {name:<18} {:.3} + {:.3}", each(*user), each(*system));
        }
        let status = fs::read_to_string(proc.join("status"))?;
        status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
        Ok(())
    }

    /// Bytes that the process had written to the device.
    fn written(&self) -> io::Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id()))?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(written.and_then(|bytes| bytes.parse().ok()).unwrap_or(0))
    }
}

fn stat(path: &Path) -> io::Result<(String, u64, u64)> {
    let text = fs::read_to_string(path)?;
    let (head, rest) = text.rsplit_once(')').unwrap_or((&text, ""));
    let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
    let mut fields = rest.split_ascii_whitespace().skip(11).map(|word| word.parse().unwrap_or(0));
    Ok((name, fields.next().unwrap_or(0), fields.next().unwrap_or(0)))
}

/// Sends, and prints what the load generator says; answers the records a second.
fn load(dir: &Path, args: &[&str]) -> io::Result<u64> {
    let said = load_quietly(dir, args)?;
    print!("{said}");
    let line = said.lines().find_map(|line| line.strip_prefix("throughput "));
    let figure = line.and_then(|line| line.split_whitespace().next()).unwrap_or("");
    figure.replace(',', "").parse().map_err(|_| io::Error::other("no throughput was said"))
}

fn load_quietly(dir: &Path, args: &[&str]) -> io::Result<String> {
    let output = Command::new(BLINDTALLY)
        .args(["load", "--url", &format!("http://{ADDRESS}"), "--quiet", "--operator-token-file"])
        .arg(dir.join("data-keys").join("operator.token"))
        .args(args)
        .stderr(Stdio::inherit())
        .output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(io::Error::other("the load did not end well"))
    }
}
