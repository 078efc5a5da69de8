//! The bill's run: months of traffic with kills and starts, late logs, persons who are erased,
//! holds and restatements in it. What happened is kept in its order for the second count.

use std::time::Instant;

use super::maker::Maker;
use super::*;
use crate::support::PATIENCE;

/// The months that records of the run may lie in.
pub(super) const MONTHS: [&str; 5] = ["2026-09", "2026-10", "2026-11", "2026-12", "2027-01"];
/// A site whose collection has ended.
const ENDED: &str = "ended";
/// When a site is made that is a member of the group's closed months, too, and when it has records
/// of; and when another one ends.
const JOINS: &str = "2026-11-15T00:00:00Z";
const OLD: &str = "2026-10-25T10:00:00Z";
const PARTS: &str = "2026-11-18T00:00:00Z";
/// Records of a request, and lines of one that loads a backfill.
const ROWS: usize = 40;
const LATE_ROWS: usize = 12;
/// How far back late logs reach: beyond the accepted age, and to no month whose sets are due.
const LATE: i64 = 45 * DAY;
/// Months of this site stay on hold to the end.
const HELD: (&str, &str) = ("nepal", "2026-10");

/// A backfill that is open.
struct Job {
    id: String,
    site: &'static str,
    from: i64,
    to: i64,
    /// The turn in which it ends, and whether its records count then.
    until: u64,
    counts: bool,
}

/// The months of the hold that is released.
const HELD_MONTHS: [&str; 2] = ["2026-10", "2026-11"];

/// The server, and what happened to it.
pub(super) struct Run {
    pub(super) server: Clocked,
    pub(super) events: Vec<Value>,
    maker: Maker,
    now: i64,
    jobs: Vec<Job>,
    /// The hold that is released.
    hold: String,
    /// A producer whose names are listed.
    limited: String,
    billing: String,
    privacy: String,
    custodians: [String; 2],
}

impl Run {
    pub(super) fn begin() -> Self {
        let server = Clocked::outside(BEGIN);
        let mut maker = Maker::new();
        maker.sites.push(PARTED.0);
        for (site, body) in SITES.into_iter().chain([(ENDED, "{}"), QUIET, PARTED]) {
            assert_eq!(server.operate("PUT", &format!("/v1/sites/{site}"), body).status, 201);
        }
        let ended = server.operate("POST", &format!("/v1/sites/{ENDED}/terminate"), "");
        assert_eq!(ended.status, 200, "{ended:?}");
        let body = json!({
            "role": "producer", "sites": ["*"], "name": "limited", "producers": ["box-1"],
            "expires_in_days": 365,
        });
        let limited = server.operate("POST", "/v1/tokens", &body.to_string()).json();
        Self {
            limited: limited["token"].as_str().unwrap().to_owned(),
            billing: server.token("billing", 365),
            privacy: server.token("privacy", 365),
            custodians: ["one", "two"].map(|name| server.token_of(name, "custodian", 365)),
            server,
            events: Vec::new(),
            maker,
            now: second(BEGIN),
            jobs: Vec::new(),
            hold: String::new(),
        }
    }

    /// Everything of a turn; whether there is time for another one.
    pub(super) fn turn(mut self, turn: u64) -> (Self, bool) {
        self.come_and_go();
        let lines: Vec<String> = (0..ROWS).map(|_| self.maker.line(self.now)).collect();
        let is_killed = turn % 6 == 2;
        if is_killed {
            let questions = self.maker.random.below(80);
            let server = self.server.killed_over(&lines.join("\n"), questions);
            self = Self { server, ..self };
        }
        self.post(if turn % 4 == 3 { "limited" } else { "producer" }, &lines, is_killed);
        if turn % 10 == 7 {
            self.post_nothing();
        }
        self.backfills(turn);
        self.people(turn);
        self.holds(turn);
        match turn {
            50 => self.ask(),
            100 => self.restate("midway"),
            105 => self.ask(),
            _ => {}
        }
        if turn % 12 == 5 {
            self = Self { server: self.server.again(), ..self };
        }
        // Every other step is short, so that batches come close to every boundary.
        let step = if turn.is_multiple_of(2) { 2 * HOUR } else { 40 * HOUR };
        self.now += 2 * HOUR + self.maker.random.below(step as u64) as i64;
        if self.now >= second(END) {
            return (self, false);
        }
        self.server.until(&text(self.now));
        (self, true)
    }

    fn happened(&mut self, kind: &str, mut event: Value) {
        event["kind"] = kind.into();
        event["at"] = (self.now * 1_000).into();
        self.events.push(event);
    }

    fn post(&mut self, credential: &str, lines: &[String], was_killed: bool) {
        let body = lines.join("\n");
        let answer = match credential {
            "limited" => self.server.send(&self.limited, "POST", "/v1/records", &[NDJSON], &body),
            _ => self.server.lines(&body),
        };
        let taken = answer.count("accepted") + answer.count("duplicates") > 0;
        assert_eq!(answer.status, if taken { 200 } else { 422 }, "{answer:?}");
        let event = json!({"credential": credential, "lines": lines, "answer": null});
        // Of a batch that was on its way all of it had come, or nothing.
        if was_killed && answer.count("accepted") == 0 {
            self.happened("post", event.clone());
        }
        self.happened(
            "post",
            Value::Object({
                let mut event = event.as_object().unwrap().clone();
                event.insert("answer".to_owned(), answer.json());
                event
            }),
        );
    }

    /// Requests of which nothing is taken: what cannot be read, and a line that is refused.
    fn post_nothing(&mut self) {
        let answer = self.server.send(&self.limited, "POST", "/v1/records", &[JSON], "[{");
        assert_eq!(answer.status, 400, "{answer:?}");
        self.happened("unreadable", json!({"credential": "limited"}));
        self.post("producer", &["[]".to_owned()], false);
    }

    /// A site is made in mid-run, and brings the group, closed already, users of October; another
    /// one ends.
    fn come_and_go(&mut self) {
        let has = |maker: &Maker, (site, _): (&str, &str)| maker.sites.contains(&site);
        if self.now >= second(JOINS) && !has(&self.maker, JOINER) {
            let (site, body) = JOINER;
            assert_eq!(self.server.operate("PUT", &format!("/v1/sites/{site}"), body).status, 201);
            self.maker.sites.push(site);
            let late = |user| {
                let mut record = self.maker.of(self.now, site, user);
                record["occurred_at"] = OLD.into();
                record["outcome"] = "success".into();
                record["environment"] = "production".into();
                record["request_type"] = "new".into();
                record.to_string()
            };
            let lines: Vec<String> = [90, 91].map(late).to_vec();
            self.post("producer", &lines, false);
        }
        if self.now >= second(PARTS) && has(&self.maker, PARTED) {
            self.confirm_clock();
            let path = format!("/v1/sites/{}/terminate", PARTED.0);
            let ended = self.server.operate("POST", &path, "");
            assert_eq!(ended.status, 200, "{ended:?}");
            self.maker.sites.retain(|site| *site != PARTED.0);
            self.happened("terminated", json!({"site_id": PARTED.0}));
        }
    }

    fn backfills(&mut self, turn: u64) {
        if turn % 9 == 4 {
            // One is open while a person of it is erased.
            let (site, until, counts) = match turn {
                76 => ("seoul", 82, true),
                _ => {
                    let at = self.maker.random.below(SITES.len() as u64) as usize;
                    (SITES[at].0, turn + 3, turn % 4 != 1)
                }
            };
            self.make(site, until, counts);
        }
        for at in (0..self.jobs.len()).rev() {
            if turn < self.jobs[at].until {
                let of = (self.jobs[at].site, self.jobs[at].from, self.jobs[at].to);
                let lines: Vec<String> =
                    (0..LATE_ROWS).map(|_| self.maker.late(self.now, of)).collect();
                self.load(at, &lines);
            } else {
                self.end(at);
            }
        }
    }

    fn make(&mut self, site: &'static str, until: u64, counts: bool) {
        let from = self.now - LATE + self.maker.random.below(35 * DAY as u64) as i64;
        let to = self.now - self.maker.random.below(HOUR as u64) as i64;
        let body = json!({
            "site_id": site, "from": text(from), "to": text(to), "reason": "the link was down",
        });
        let made = self.server.operate("POST", "/v1/backfills", &body.to_string());
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let range = json!({"id": id, "site_id": site, "from": from * 1_000, "to": to * 1_000});
        self.happened("made", range);
        self.jobs.push(Job { id, site, from, to, until, counts });
    }

    fn load(&mut self, at: usize, lines: &[String]) {
        let id = self.jobs[at].id.clone();
        let path = format!("/v1/backfills/{id}/records");
        let producer = &self.server.producer;
        let answer = self.server.send(producer, "POST", &path, &[NDJSON], &lines.join("\n"));
        assert!([200, 422].contains(&answer.status), "{answer:?}");
        let answer = answer.json();
        let event = json!({"id": id, "credential": "producer", "lines": lines, "answer": answer});
        self.happened("loaded", event);
    }

    /// Closes a backfill or abandons it.
    fn end(&mut self, at: usize) {
        let Job { id, counts, .. } = self.jobs.remove(at);
        let path = format!("/v1/backfills/{id}");
        if counts {
            let closed = self.server.operate("POST", &format!("{path}/close"), "");
            assert_eq!(closed.status, 200, "{closed:?}");
            let outcome = closed.json()["outcome"].clone();
            self.happened("closed", json!({"id": id, "answer": outcome}));
        } else {
            let gone = self.server.operate("DELETE", &path, "");
            assert_eq!(gone.status, 200, "{gone:?}");
            self.happened("abandoned", json!({"id": id}));
        }
    }

    /// Persons are erased: at once, while their records are on hold, and while a backfill has some.
    /// Of the last two no later record is kept either.
    fn people(&mut self, turn: u64) {
        match turn {
            10 => self.plant("utc", 7),
            11 => self.erase("utc", "USE\u{301}R7 ", (7, false), "done"),
            33 => self.plant("berlin", 11),
            36 => self.erase("berlin", "use\u{301}R11", (11, true), "waiting_for_hold"),
            77 => {
                let at = self.jobs.iter().position(|job| job.site == "seoul").unwrap();
                let from = text(self.jobs[at].from);
                let mut record = self.maker.of(self.now, "seoul", 23);
                record["occurred_at"] = from.into();
                self.load(at, &[record.to_string()]);
            }
            79 => self.erase("seoul", "us\u{e9}r23", (23, true), "waiting_for_backfill"),
            83 => self.is_erased("seoul"),
            _ => {}
        }
    }

    /// Sends some records of a person.
    fn plant(&mut self, site: &str, user: u64) {
        let records = (0..3).map(|_| self.maker.of(self.now, site, user).to_string());
        let lines: Vec<String> = records.collect();
        self.post("producer", &lines, false);
    }

    fn erase(&mut self, site: &str, user: &str, (number, suppress): (u64, bool), state: &str) {
        let body = json!({"user_id": user, "suppress": suppress}).to_string();
        let path = format!("/v1/sites/{site}/subjects/erase");
        let erased = self.server.send(&self.privacy, "POST", &path, &[JSON], &body);
        // While keys are destroyed, once a day, it stands and is tried again.
        let said = erased.json()["state"].clone();
        assert!(said == state || said == "pending", "{erased:?}");
        assert_eq!(erased.status, if said == "done" { 200 } else { 202 }, "{erased:?}");
        if state == "done" {
            self.is_erased(site);
        }
        self.maker.gone.push(number);
        let answer = erased.json();
        self.happened(
            "erase",
            json!({"site_id": site, "user_id": user, "suppress": suppress, "answer": answer}),
        );
    }

    /// Nothing of an erasure is left to do, once nothing holds it up.
    fn is_erased(&self, site: &str) {
        let deadline = Instant::now() + PATIENCE;
        let path = format!("/v1/sites/{site}/subjects/erasures");
        loop {
            let left = self.server.send(&self.privacy, "GET", &path, &[], "").json();
            if left["items"] == json!([]) {
                return;
            }
            assert!(Instant::now() < deadline, "{left}");
        }
    }

    fn holds(&mut self, turn: u64) {
        match turn {
            // As soon as there is a record of each: a month without one cannot be held.
            29..36 if self.hold.is_empty() && self.has_records("berlin", &HELD_MONTHS) => {
                self.hold = self.open("berlin", &HELD_MONTHS);
            }
            55 => {
                for (custodian, status) in self.custodians.iter().zip([202, 200]) {
                    let path = format!("/v1/sites/berlin/holds/{}", self.hold);
                    let answer = self.server.send(custodian, "DELETE", &path, &[], "");
                    assert_eq!(answer.status, status, "{answer:?}");
                }
                self.is_erased("berlin");
            }
            60 => drop(self.open(HELD.0, &[HELD.1])),
            _ => {}
        }
    }

    fn has_records(&self, site: &str, months: &[&str]) -> bool {
        months.iter().all(|month| {
            let path = format!("/v1/sites/{site}/usage/{month}");
            self.server.operate("GET", &path, "").json()["records"].as_u64() > Some(0)
        })
    }

    fn open(&self, site: &str, months: &[&str]) -> String {
        let body = json!({
            "months": months, "ground": "billing_dispute", "review_at": "2027-06-01T00:00:00Z",
        });
        let path = format!("/v1/sites/{site}/holds");
        let opened = self.server.send(&self.privacy, "POST", &path, &[JSON], &body.to_string());
        assert_eq!(opened.status, 201, "{opened:?}");
        opened.json()["id"].as_str().unwrap().to_owned()
    }

    /// Destroys what is due, with all backfills ended.
    pub(super) fn finish(&mut self) {
        self.now = second(END);
        self.server.until(END);
        for at in (0..self.jobs.len()).rev() {
            self.end(at);
        }
        for (site, _) in SITES {
            self.is_erased(site);
        }
        self.confirm_clock();
        let custodian = &self.custodians[0];
        let ran = self.server.send(custodian, "POST", "/v1/retention/run", &[JSON], "");
        assert_eq!((ran.status, ran.count("failed")), (200, 0), "{ran:?}");
    }

    /// Whatever the clock did, it is right.
    fn confirm_clock(&self) {
        let time = json!({"time": text(self.now)}).to_string();
        let path = "/v1/retention/confirm-clock";
        let confirmed = self.server.send(&self.custodians[0], "POST", path, &[JSON], &time);
        assert!(matches!(confirmed.status, 200 | 409), "{confirmed:?}");
    }

    /// What arrived, and what the licences of each month were.
    fn ask(&mut self) {
        let (explained, pallycon) = self.explained();
        let arrivals = self.arrivals();
        self.happened(
            "asked",
            json!({"arrivals": arrivals, "explained": explained, "pallycon": pallycon}),
        );
    }

    /// The same with every other figure, once what was due is destroyed.
    pub(super) fn ask_all(&mut self) {
        self.ask();
        let path = "/v1/usage?from=2026-09&to=2027-02&limit=1000";
        let usage = self.server.operate("GET", path, "").json();
        let groups = groups(&self.server);
        let last = self.events.last_mut().unwrap();
        last["usage"] = usage["items"].clone();
        last["groups"] = groups.into();
        last["destroyed"] = true.into();
    }

    /// What every month of every site until now is explained with, and in the old shape.
    fn explained(&self) -> (Vec<Value>, Value) {
        let (mut explained, mut pallycon) = (Vec::new(), json!({}));
        let now = text(self.now);
        let months = MONTHS.into_iter().filter(|month| *month <= &now[..7]);
        for (month, (site, _)) in months.flat_map(|month| SITES.map(|site| (month, site))) {
            let path = format!("/v1/sites/{site}/usage/{month}");
            let answer = self.server.operate("GET", &format!("{path}/explained"), "");
            assert_eq!(answer.status, 200, "{answer:?}");
            let said = answer.json();
            // The usage has the quality of what was explained last.
            assert_eq!(self.server.operate("GET", &path, "").json()["quality"], said["quality"]);
            explained.push(said);
            let path = format!("/v1/compat/pallycon/{site}/statistics/{month}");
            pallycon[format!("{site} {month}")] = self.server.operate("GET", &path, "").json();
        }
        (explained, pallycon)
    }

    /// What arrived from whom, all pages.
    fn arrivals(&self) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/reconciliation?limit=200{cursor}");
            let page = self.server.operate("GET", &path, "").json();
            rows.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// Restates every month that is closed, of the sites and of the group.
    pub(super) fn restate(&mut self, reason: &str) {
        let body = json!({"reason": reason}).to_string();
        for (owner, month) in stated() {
            let path = statement_path(&owner, month);
            let first = self.server.send(&self.billing, "GET", &path, &[], "");
            let status = first.status;
            self.happened("stated", json!({"of": owner, "month": month, "status": status}));
            if status != 200 {
                continue;
            }
            let restated = self.server.operate("POST", &format!("{path}/restate"), &body);
            assert_eq!(restated.status, 201, "{restated:?}");
        }
    }

    /// All versions of all statements.
    fn statements(&self) -> Vec<Value> {
        let mut statements = Vec::new();
        for (owner, month) in stated() {
            let path = format!("{}/versions", statement_path(&owner, month));
            let all = self.server.send(&self.billing, "GET", &path, &[], "");
            // Whether there should be some says the second count.
            if all.status == 200 {
                let all = all.json();
                let of = |item: &Value| item["body"].clone();
                statements.extend(all["items"].as_array().unwrap().iter().map(of));
            }
        }
        statements
    }

    /// All that the second count needs, beside the settings of the sites.
    pub(super) fn given(&self, sites: Vec<Value>) -> Value {
        json!({
            "sites": sites, "events": self.events, "statements": self.statements(),
            "credentials": {
                "producer": {"name": "producer", "producers": null},
                "limited": {"name": "limited", "producers": ["box-1"]},
            },
            "ended": [ENDED], "held": [[HELD.0, HELD.1]], "destroyed_at": second(END) * 1_000,
        })
    }
}

/// The months of sites and of the group, `+acme`, that a statement is asked for of.
fn stated() -> Vec<(String, &'static str)> {
    let owners = SITES.into_iter().chain([QUIET, JOINER, PARTED]).map(|(site, _)| site.to_owned());
    let owners = owners.chain(["+acme".to_owned()]);
    let months = ["2026-09", "2026-10", "2026-11", "2026-12"];
    owners.flat_map(|of| months.map(|month| (of.clone(), month))).collect()
}

pub(super) fn statement_path(owner: &str, month: &str) -> String {
    match owner.strip_prefix('+') {
        Some(group) => format!("/v1/groups/{group}/statements/{month}"),
        None => format!("/v1/sites/{owner}/statements/{month}"),
    }
}

/// A billing group's months.
pub(super) fn groups(server: &Clocked) -> Vec<Value> {
    let month = |month: &&str| {
        let answer = server.operate("GET", &format!("/v1/groups/acme/usage/{month}"), "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    MONTHS.iter().map(month).collect()
}
