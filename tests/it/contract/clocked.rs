//! What takes days: these servers run inside the test, with a clock that the test moves.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::outside::Process;
use super::*;
use crate::support::{Client, PATIENCE};
use blindtally::app::App;
use blindtally::config::{Flags, Settings, compose};
use blindtally::model::time::{Clock, Timestamp};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::runtime::Runtime;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A clock that a test moves: a file of eight bytes, so that another process sees it, too.
pub(super) struct Moved(File);

impl Moved {
    /// The clock of a place.
    pub(super) fn open(place: &Path) -> Arc<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        Arc::new(Self(file.open(place.join("clock")).unwrap()))
    }

    /// Sets it.
    pub(super) fn set(&self, time: &str) {
        self.write(time.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    }

    fn write(&self, millisecond: i64) {
        self.0.write_all_at(&millisecond.to_le_bytes(), 0).unwrap();
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        Timestamp(i64::from_le_bytes(bytes))
    }
}

/// Where a server runs.
enum Host {
    /// In this process.
    Here(Runtime, App),
    /// In one of its own.
    Outside(Process),
}

impl Host {
    fn drain(self) {
        match self {
            Self::Here(runtime, app) => runtime.block_on(app.drain()),
            Self::Outside(process) => process.drain(),
        }
    }
}

/// A server with site `A` that begins on 2026-11-10 at noon.
pub(super) struct Clocked {
    clock: Arc<Moved>,
    host: Host,
    address: SocketAddr,
    operator: String,
    pub(super) producer: String,
    place: Place,
    /// What is changed of the settings at each start.
    change: fn(&mut Settings),
}

impl Clocked {
    fn new() -> Self {
        Self::at("2026-11-10T12:00:00Z")
    }

    /// The same from another time on.
    pub(super) fn at(time: &str) -> Self {
        Self::with(time, |_| {})
    }

    /// The same with other settings.
    pub(super) fn with(time: &str, change: fn(&mut Settings)) -> Self {
        Self::on(time, change, |place, clock| {
            let (runtime, app) = app_on(place.path(), clock, change);
            let address = app.addresses()[0];
            (Host::Here(runtime, app), address)
        })
    }

    /// The same in a process of its own, with the settings of the bill's tests.
    pub(super) fn outside(time: &str) -> Self {
        Self::on_place(time, |place| Process::start(place.path()))
    }

    /// The same, started by somebody who makes the place ready.
    pub(super) fn on_place(
        time: &str,
        start: impl FnOnce(&Place) -> (Process, SocketAddr),
    ) -> Self {
        Self::on(
            time,
            |_| {},
            |place, _| {
                let (process, address) = start(place);
                (Host::Outside(process), address)
            },
        )
    }

    /// Runs the program as a client of this server; whether it went well, and what it printed.
    pub(super) fn program(&self, token: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_blindtally"));
        command.args(arguments).env("BLINDTALLY_URL", format!("http://{}", self.address));
        let done = command.env("BLINDTALLY_TOKEN", token).output().unwrap();
        (done.status.success(), String::from_utf8(done.stdout).unwrap())
    }

    /// The files of the keys, as they are now.
    pub(super) fn keys_now(&self) -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let files = std::fs::read_dir(self.place.keys()).unwrap().map(Result::unwrap);
        let files = files.filter(|file| file.file_type().unwrap().is_file());
        files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect()
    }

    fn on(
        time: &str,
        change: fn(&mut Settings),
        start: impl FnOnce(&Place, &Arc<Moved>) -> (Host, SocketAddr),
    ) -> Self {
        let place = Place::new();
        let clock = Moved::open(place.path());
        clock.set(time);
        let (host, address) = start(&place, &clock);
        let operator = std::fs::read_to_string(place.keys().join("operator.token")).unwrap();
        let mut clocked = Self {
            address,
            operator: operator.trim().to_owned(),
            producer: String::new(),
            clock,
            host,
            place,
            change,
        };
        assert_eq!(clocked.operate("PUT", "/v1/sites/A", "{}").status, 201);
        clocked.producer = clocked.token("producer", 365);
        clocked
    }

    fn set(&self, time: &str) {
        self.clock.set(time);
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.clock.write(self.clock.now().0 + seconds * 1_000);
    }

    pub(super) fn operate(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(&self.operator, method, path, &[JSON], body)
    }

    pub(super) fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.send_bytes(token, method, path, headers, body.as_bytes())
    }

    pub(super) fn send_bytes(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        Client::new(self.address, token).send(method, path, headers, body).unwrap()
    }

    /// The files of the server that hold a text.
    pub(super) fn files_with(&self, needle: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.place.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if let Ok(bytes) = std::fs::read(entry.path())
                    && bytes.windows(needle.len()).any(|part| part == needle)
                {
                    found.push(entry.path().display().to_string());
                }
            }
        }
        found
    }

    pub(super) fn token(&self, role: &str, days: u32) -> String {
        self.token_of(role, role, days)
    }

    /// A token of somebody of this name.
    pub(super) fn token_of(&self, name: &str, role: &str, days: u32) -> String {
        let body = json!({"role": role, "sites": ["*"], "name": name, "expires_in_days": days});
        let made = self.operate("POST", "/v1/tokens", &body.to_string());
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["token"].as_str().unwrap().to_owned()
    }

    /// As time goes by: the server sees the clock jump, and go on for an hour.
    pub(super) fn until(&self, time: &str) {
        let look = || assert_eq!(self.operate("PUT", "/v1/sites/A", "{}").status, 200);
        let at = time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        // At once: nobody sees the clock anywhere else.
        self.clock.write(at - HOUR * 1_000);
        look();
        self.pass(HOUR);
        look();
    }

    /// The same server, started once more.
    pub(super) fn again(self) -> Self {
        match self.host {
            Host::Here(runtime, app) => {
                runtime.block_on(app.drain());
                drop(runtime);
                let (runtime, app) = app_on(self.place.path(), &self.clock, self.change);
                Self { address: app.addresses()[0], host: Host::Here(runtime, app), ..self }
            }
            Host::Outside(process) => {
                process.drain();
                let (process, address) = Process::start(self.place.path());
                Self { address, host: Host::Outside(process), ..self }
            }
        }
    }

    /// The same server, killed while these lines are on their way, after so many other questions,
    /// and started once more.
    pub(super) fn killed_over(self, lines: &str, questions: u64) -> Self {
        let (mut client, token) =
            (Client::new(self.address, &self.producer), self.producer.clone());
        let ask = ("/v1/records", NDJSON, lines.to_owned());
        self.killed(&token, ask, |_, _| {
            for _ in 0..questions {
                client.send("GET", "/livez", &[], b"").unwrap();
            }
        })
    }

    /// The same server, killed while a retention run of the custodian is under way, once so many
    /// writes of the ledger were seen, or the run has ended; and started once more.
    pub(super) fn killed_running(self, custodian: &str, writes: u32) -> Self {
        let size = |place: &Place| {
            let files = std::fs::read_dir(place.ledger()).unwrap().map(Result::unwrap);
            files.map(|file| file.metadata().map_or(0, |file| file.len())).sum::<u64>()
        };
        let ask = ("/v1/retention/run", JSON, String::new());
        self.killed(custodian, ask, |place, has_ended| {
            let (mut last, mut seen) = (size(place), 0);
            while seen < writes && !has_ended() {
                let now = size(place);
                seen += u32::from(now != last);
                last = now;
                std::thread::yield_now();
            }
        })
    }

    /// Posts a body, and kills the server when `until` returns.
    fn killed(
        self,
        token: &str,
        (path, media, body): (&'static str, (&'static str, &'static str), String),
        until: impl FnOnce(&Place, &dyn Fn() -> bool),
    ) -> Self {
        let Host::Outside(process) = self.host else { panic!("it cannot be killed here") };
        let mut client = Client::new(self.address, token);
        // The connection stands.
        client.send("GET", "/livez", &[], b"").unwrap();
        let (say, hear) = std::sync::mpsc::channel();
        let sender = std::thread::spawn(move || {
            say.send(()).unwrap();
            let _ = client.send("POST", path, &[media], body.as_bytes());
        });
        hear.recv().unwrap();
        until(&self.place, &|| sender.is_finished());
        process.kill();
        sender.join().unwrap();
        let (process, address) = Process::start(self.place.path());
        Self { address, host: Host::Outside(process), ..self }
    }

    /// Posts one record of a time.
    fn post(&self, event_id: &str, time: &str, headers: &[(&str, &str)]) -> Answer {
        self.post_as("u", event_id, time, headers)
    }

    pub(super) fn lines(&self, lines: &str) -> Answer {
        self.send(&self.producer, "POST", "/v1/records", &[NDJSON], lines)
    }

    /// The ledger's public key.
    pub(super) fn verifier_key(&self) -> String {
        std::fs::read_to_string(self.place.ledger().join("verifier.key")).unwrap()
    }

    fn post_as(&self, user: &str, event: &str, time: &str, headers: &[(&str, &str)]) -> Answer {
        let record = with(&license(event, user), "occurred_at", time).to_string();
        let headers = [&[NDJSON], headers].concat();
        self.send(&self.producer, "POST", "/v1/records", &headers, &record)
    }

    pub(super) fn usage(&self, month: &str) -> Value {
        let answer = self.operate("GET", &format!("/v1/sites/A/usage/{month}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(super) fn end(self) {
        self.stop();
    }

    /// Ends the server; its files are left.
    pub(super) fn stop(self) -> Place {
        self.host.drain();
        self.place
    }
}

/// A server on a place.
pub(super) fn app_on(
    place: &Path,
    clock: &Arc<Moved>,
    change: fn(&mut Settings),
) -> (Runtime, App) {
    let flags = Flags {
        data: Some(place.join("data")),
        listen: vec!["127.0.0.1:0".to_owned()],
        ..Flags::default()
    };
    let mut settings = compose("", "", [], &flags).unwrap();
    change(&mut settings);
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::start(settings, clock.clone())).unwrap();
    (runtime, app)
}

#[test]
fn a_token_expires() {
    let server = Clocked::new();
    let token = server.token("billing", 1);
    let ask = || server.send(&token, "GET", "/v1/sites", &[], "");
    assert_eq!(ask().status, 200);
    server.pass(DAY - 1);
    assert_eq!(ask().status, 200);
    server.pass(1);
    problem(&ask(), 401, "bad-credential");
    server.end();
}

#[test]
fn a_retry_is_known_as_long_as_it_is_accepted() {
    let server = Clocked::new();
    let time = "2026-11-10T11:59:00Z";
    assert_eq!(counts(&server.post("r", time, &[])), [1, 1, 0, 0]);
    for _ in 0..34 {
        server.pass(DAY);
        assert_eq!(counts(&server.post("r", time, &[])), [1, 0, 1, 0]);
    }
    server.pass(23 * HOUR);
    assert_eq!(counts(&server.post("r", time, &[])), [1, 0, 1, 0], "duplicates come before age");
    // Now the day is over, but what is known of it goes only with a fold after a record of a later
    // day (a clock alone might be wrong); until then the retry is a duplicate still, and never
    // anything else.
    server.pass(3 * DAY);
    assert_eq!(counts(&server.post("new", "2026-12-18T10:00:00Z", &[])), [1, 1, 0, 0]);
    let (mut duplicates, deadline) = (35, Instant::now() + PATIENCE);
    loop {
        let again = server.post("r", time, &[]);
        if again.status == 422 {
            assert_eq!(only_error(&again)["code"], json!("too_old"));
            break;
        }
        assert_eq!(counts(&again), [1, 0, 1, 0]);
        duplicates += 1;
        assert!(Instant::now() < deadline, "it is never too old");
        // The next fold is due a minute later.
        server.pass(60);
    }
    let usage = server.usage("2026-11");
    assert_eq!((&usage["licenses_issued"], &usage["duplicates"]), (&json!(1), &json!(duplicates)));
    server.end();
}

#[test]
fn an_answer_is_kept_for_seven_days() {
    let server = Clocked::new();
    let key = [("idempotency-key", "k")];
    let (first, other) = ("2026-11-10T11:00:00Z", "2026-11-10T11:30:00Z");
    let answer = server.post("k1", first, &key);
    assert_eq!(answer.status, 200);
    server.pass(7 * DAY - HOUR);
    let again = server.post("k1", first, &key);
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again:?}");
    assert_eq!(again.body, answer.body);
    problem(&server.post("k2", other, &key), 422, "idempotency-mismatch");
    // Kept by the day, and given up with the next write.
    server.pass(2 * DAY);
    assert_eq!(server.post("between", "2026-11-18T00:00:00Z", &[]).status, 200);
    let fresh = server.post("k2", other, &key);
    assert_eq!((fresh.status, fresh.header("idempotent-replayed")), (200, None), "{fresh:?}");
    server.end();
}

/// A month is open, then closing, then closed; what comes later stands beside it, is kept, and
/// changes no figure, over a restart too.
#[test]
fn a_month_closes_and_stays() {
    let mut server = Clocked::new();
    let figures = |server: &Clocked| {
        let usage = server.usage("2026-11");
        let names = ["state", "mau", "licenses_issued", "duplicates", "corrections"];
        names.map(|name| usage[name].clone())
    };
    let none = json!({"records": 0, "users": 0});
    assert_eq!(server.post("s", "2026-11-10T11:00:00Z", &[]).status, 200);
    server.set("2026-11-30T23:59:59.999Z");
    assert_eq!(figures(&server), [json!("open"), json!(1), json!(1), json!(0), none.clone()]);
    server.set("2026-12-01T00:00:00Z");
    assert_eq!(figures(&server)[0], json!("closing"));
    let late = server.post("late", "2026-11-30T23:00:00Z", &[]);
    assert_eq!((counts(&late), late.json().get("corrected")), ([1, 1, 0, 0], None));
    assert_eq!(counts(&server.post("s", "2026-11-10T11:00:00Z", &[])), [1, 0, 1, 0]);
    // The last moment before, and the first of the close.
    server.until("2026-12-03T23:59:59.999Z");
    assert_eq!(server.post("last", "2026-11-30T22:00:00Z", &[]).status, 200);
    let closing = [json!("closing"), json!(1), json!(3), json!(1), none];
    assert_eq!(figures(&server), closing);
    assert_eq!(server.usage("2026-11")["closes_at"], json!("2026-12-04T00:00:00Z"));
    server.set("2026-12-04T00:00:00Z");
    let after = server.post_as("v", "after", "2026-11-30T21:00:00Z", &[]);
    assert_eq!((counts(&after), &after.json()["corrected"]), ([1, 1, 0, 0], &json!(1)));
    assert_eq!(counts(&server.post("s", "2026-11-10T11:00:00Z", &[])), [1, 0, 1, 0]);
    let late = json!({"records": 1, "users": 1, "licenses_issued": 1});
    let closed = [json!("closed"), json!(1), json!(3), json!(1), late];
    assert_eq!(figures(&server), closed);
    server = server.again();
    assert_eq!(figures(&server), closed);
    assert_eq!(counts(&server.post("after", "2026-11-30T21:00:00Z", &[])), [1, 0, 1, 0]);
    assert_eq!(figures(&server), closed, "a duplicate after the close changes nothing");
    server.end();
}

/// Nobody sends anything, and the months close all the same, each at its own time.
#[test]
fn months_close_without_traffic() {
    let server = Clocked::new();
    let put = |site: &str, body: &str| {
        assert_eq!(server.operate("PUT", &format!("/v1/sites/{site}"), body).status, 201);
    };
    put("seoul", r#"{"time_zone":"Asia/Seoul","closing_hours":24}"#);
    put("york", r#"{"time_zone":"America/New_York","closing_hours":240}"#);
    let closed = || {
        let answer = server.operate("GET", "/v1/usage?month=2026-11", "").json();
        let items = answer["items"].as_array().unwrap().clone();
        let closed = items.into_iter().filter(|item| item["state"] == json!("closed"));
        closed.map(|item| item["site_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (before, at, sites) in [
        ("2026-12-01T14:59:59Z", "2026-12-01T15:00:00Z", &["seoul"][..]),
        ("2026-12-03T23:59:59Z", "2026-12-04T00:00:00Z", &["A", "seoul"]),
        ("2026-12-11T04:59:59Z", "2026-12-11T05:00:00Z", &["A", "seoul", "york"]),
    ] {
        server.until(before);
        assert!(closed().len() < sites.len(), "{before}");
        server.set(at);
        let deadline = Instant::now() + PATIENCE;
        while closed() != sites {
            assert!(Instant::now() < deadline, "{at}: {:?}", closed());
        }
    }
    server.end();
}

#[test]
fn closing_hours_change_with_the_next_month() {
    let server = Clocked::new();
    assert_eq!(server.post("s", "2026-11-10T11:00:00Z", &[]).status, 200);
    let changed = server.operate("PUT", "/v1/sites/A", r#"{"closing_hours":24}"#).json();
    assert_eq!(changed["closing_hours"], json!(72));
    assert_eq!(changed["effective"], json!({"closing_hours": "2026-12"}));
    let closes = |month| server.usage(month)["closes_at"].clone();
    assert_eq!(closes("2026-11"), json!("2026-12-04T00:00:00Z"));
    assert_eq!(closes("2026-12"), json!("2027-01-02T00:00:00Z"));
    server.end();
}

#[test]
fn a_new_zone_begins_with_its_month() {
    let server = Clocked::new();
    assert_eq!(server.post("z", "2026-11-10T11:00:00Z", &[]).status, 200);
    let put = |body: &str| server.operate("PUT", "/v1/sites/A", body);
    let announced = put(r#"{"time_zone":"Asia/Seoul"}"#).json();
    assert_eq!(announced["time_zone"], json!("UTC"));
    assert_eq!(announced["effective"], json!({"time_zone": "2026-12"}));
    server.set("2026-12-10T12:00:00Z");
    let read = server.operate("GET", "/v1/sites/A", "").json();
    assert_eq!(read["time_zone"], json!("Asia/Seoul"), "{read}");
    assert_eq!(read.get("effective"), None, "{read}");
    let zones = || {
        let of = |month: &str| server.usage(month)["time_zone"].clone();
        (of("2026-11"), of("2026-12"))
    };
    assert_eq!(zones(), (json!("UTC"), json!("Asia/Seoul")));
    server.end();
}

/// The same month after another change: its zone and its sentinels are those it was counted with.
#[test]
fn a_past_month_keeps_its_settings() {
    let server = Clocked::new();
    assert_eq!(server.post("z", "2026-11-10T11:00:00Z", &[]).status, 200);
    let put = |body: &str| assert_eq!(server.operate("PUT", "/v1/sites/A", body).status, 200);
    put(r#"{"time_zone":"Asia/Seoul","sentinel_user_ids":["u"]}"#);
    server.set("2026-12-01T12:00:00Z");
    put(r#"{"sentinel_user_ids":["u","lobby"]}"#);
    assert_eq!(server.post("late", "2026-11-30T11:00:00Z", &[]).status, 200);
    let november = server.usage("2026-11");
    assert_eq!(november["time_zone"], json!("UTC"), "{november}");
    assert_eq!(november["unattributed_licenses"], json!(0), "{november}");
    server.end();
}

/// A month whose first midnight there is twice begins with the first of the two, and one whose
/// first midnight there is not begins with the first instant of its day.
#[test]
fn a_month_begins_inside_a_change_of_the_clocks() {
    for (zone, begins) in [
        // Clocks went from 1:00 back to 0:00 on 1 November 2020.
        ("America/Havana", "2020-11-01T04:00:00Z"),
        // Clocks went from 0:00 on to 1:00 on 1 April 2016.
        ("Asia/Amman", "2016-03-31T22:00:00Z"),
    ] {
        let begin: jiff::Timestamp = begins.parse().unwrap();
        let at = |ms: i64| (begin + jiff::SignedDuration::from_millis(ms)).to_string();
        let server = Clocked::at(&at(3 * HOUR * 1_000));
        let body = json!({"time_zone": zone}).to_string();
        assert_eq!(server.operate("PUT", "/v1/sites/A", &body).status, 200);
        for (event, ms) in [("before", -1), ("first", 0), ("later", 2 * HOUR * 1_000)] {
            assert_eq!(counts(&server.post_as(event, event, &at(ms), &[])), [1, 1, 0, 0]);
        }
        let middle = begin + jiff::SignedDuration::from_secs(15 * DAY);
        let month = &middle.to_string()[..7];
        let usage = server.usage(month);
        assert_eq!((&usage["from"], &usage["mau"]), (&json!(begins), &json!(2)), "{usage}");
        let before = &(begin - jiff::SignedDuration::from_secs(15 * DAY)).to_string()[..7];
        let usage = server.usage(before);
        assert_eq!((&usage["to"], &usage["mau"]), (&json!(begins), &json!(1)), "{usage}");
        server.end();
    }
}
