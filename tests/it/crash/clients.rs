//! Clients that send every batch until it is answered 200, and know what each answer must say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::oracle::{Oracle, Record};
use crate::support::{self, Answer, PATIENCE, Random, Server, usage};

/// Records of a batch, at most.
const BATCH_RECORDS_MAX: u64 = 400;
/// Batches of each client that are sent once more after a start.
const SAMPLE: u64 = 3;
/// A record that is refused.
const UNKNOWN_TYPE: &str = r#"{"event_id":"x","type":"nothing","site_id":"ACME"}"#;
/// Rows of a page of arrivals.
const PAGE: u64 = 3;
/// The time of a record lies this long before the start of the test, or less.
pub const AGE_SECONDS_MAX: u64 = 33 * 86_400;

/// Some records that are sent together.
#[derive(Clone)]
struct Batch {
    records: Vec<Record>,
    /// The `Idempotency-Key`, where the client uses one.
    key: Option<String>,
    attempts: u64,
}

impl Batch {
    fn received(&self) -> u64 {
        self.records.len() as u64
    }

    /// Sends the batch; `None` when there was no answer.
    fn post(&self, http: &mut support::Client, key: Option<&str>) -> Option<Answer> {
        let mut body = String::with_capacity(self.records.len() * 256);
        self.records.iter().for_each(|record| record.write(&mut body));
        let mut headers = vec![("content-type", "application/x-ndjson")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        http.send("POST", "/v1/records", &headers, body.as_bytes()).ok()
    }
}

/// One client: at most one batch of it is under way.
struct Client {
    number: u64,
    random: Random,
    now_second: i64,
    next_event: u64,
    pending: Option<Batch>,
    done: Vec<Batch>,
    /// Duplicates in the answers that came.
    duplicates: u64,
    /// Records in requests whose answer did not come.
    unanswered: u64,
    /// Requests that nothing can be taken of: refused records, and bodies that cannot be read;
    /// those that were answered, and those whose answer did not come.
    unfit: [[u64; 2]; 2],
}

impl Client {
    fn new(number: u64, random: &mut Random) -> Self {
        Self {
            number,
            random: random.fork(),
            now_second: jiff::Timestamp::now().as_second(),
            next_event: number << 32,
            pending: None,
            done: Vec::new(),
            duplicates: 0,
            unanswered: 0,
            unfit: [[0; 2]; 2],
        }
    }

    /// Makes the next batch: new records, records of this batch again, and records of earlier
    /// batches again. Odd clients give each batch an `Idempotency-Key`.
    fn compose(&mut self) {
        let count = 1 + self.random.below(BATCH_RECORDS_MAX);
        let mut records: Vec<Record> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let again = match self.random.below(20) {
                0 => pick(&records, &mut self.random),
                1 => pick(&self.done, &mut self.random)
                    .and_then(|batch| pick(&batch.records, &mut self.random)),
                _ => None,
            };
            let again = again.copied();
            records.push(again.unwrap_or_else(|| {
                self.next_event += 1;
                Record::random(self.next_event, self.now_second, &mut self.random)
            }));
        }
        let key =
            (self.number % 2 == 1).then(|| format!("batch-{}-{}", self.number, self.done.len()));
        self.pending = Some(Batch { records, key, attempts: 0 });
    }

    /// Sends the pending batch once; true when nothing is pending any more.
    fn send_pending(&mut self, http: &mut support::Client, oracle: &Mutex<Oracle>) -> bool {
        let Some(mut batch) = self.pending.take() else { return true };
        batch.attempts += 1;
        let answer = batch.post(http, batch.key.as_deref());
        match answer {
            Some(answer) if answer.status == 200 => {
                self.acknowledged(&batch, &answer, oracle);
                self.done.push(batch);
                return true;
            }
            Some(answer) if answer.status == 503 => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
            }
            Some(answer) => panic!("client {}: {answer:?}", self.number),
            None => {}
        }
        self.unanswered += batch.received();
        self.pending = Some(batch);
        false
    }

    /// Now and then sends what nothing can be taken of.
    fn send_unfit(&mut self, http: &mut support::Client) {
        let kind = self.random.below(6) as usize;
        let (media, body, status) = match kind {
            0 => ("application/x-ndjson", UNKNOWN_TYPE, 422),
            1 => ("application/json", "[{", 400),
            _ => return,
        };
        let answer = http.send("POST", "/v1/records", &[("content-type", media)], body.as_bytes());
        let answered = answer.is_ok_and(|answer| {
            assert!(answer.status == status || answer.status == 503, "{answer:?}");
            answer.status == status
        });
        self.unfit[kind][usize::from(!answered)] += 1;
    }

    fn acknowledged(&mut self, batch: &Batch, answer: &Answer, oracle: &Mutex<Oracle>) {
        let mut oracle = oracle.lock().unwrap_or_else(PoisonError::into_inner);
        let new = batch.records.iter().filter(|record| oracle.add(record)).count() as u64;
        let accepted = answer.count("accepted");
        // Without a key, a batch that became durable without an answer is all duplicates now.
        let retried = batch.key.is_none() && batch.attempts > 1 && accepted == 0;
        assert!(accepted == new || retried, "{new} of {} are new: {answer:?}", batch.received());
        assert_eq!(answer.count("rejected"), 0, "{answer:?}");
        assert_eq!(answer.count("received"), batch.received(), "{answer:?}");
        assert_eq!(answer.count("duplicates"), batch.received() - accepted, "{answer:?}");
        let replayed = answer.header("idempotent-replayed").is_some();
        assert!(!replayed || batch.attempts > 1, "{answer:?}");
        self.duplicates += answer.count("duplicates");
    }

    /// Sends a batch that was answered 200 before: now all of it is a duplicate.
    fn send_again(&mut self, place: usize, http: &mut support::Client) {
        let batch = &self.done[place];
        let answer = batch.post(http, None).expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.count("accepted"), 0, "it was lost: {answer:?}");
        assert_eq!(answer.count("duplicates"), batch.received(), "{answer:?}");
        self.duplicates += batch.received();
    }
}

fn pick<'a, T>(list: &'a [T], random: &mut Random) -> Option<&'a T> {
    list.get(random.below(list.len() as u64) as usize)
}

/// All clients, and what they know.
pub struct Fleet {
    clients: Vec<Client>,
    oracle: Mutex<Oracle>,
}

/// What a server had lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// Batches of which nothing was new to it.
    pub known_batches: u64,
    /// Records that were new to it.
    pub accepted: u64,
}

/// How many batches were acknowledged in this round.
pub struct Acknowledged(AtomicU64);

impl Acknowledged {
    /// How many it is now.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until it is so many.
    #[track_caller]
    pub fn wait(&self, target: u64, server: &Server) {
        let deadline = Instant::now() + PATIENCE;
        while self.0.load(Ordering::Relaxed) < target {
            let late = Instant::now() >= deadline;
            assert!(!late, "{} of {target}:\n{}", self.0.load(Ordering::Relaxed), server.logs());
            thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Fleet {
    /// So many clients that have sent nothing.
    pub fn new(clients: u64, random: &mut Random) -> Self {
        let clients = (0..clients).map(|number| Client::new(number, random)).collect();
        Self { clients, oracle: Mutex::new(Oracle::new()) }
    }

    /// Does something with each client at once.
    fn each(
        &mut self,
        address: SocketAddr,
        token: &str,
        work: impl Fn(&mut Client, &mut support::Client, &Mutex<Oracle>) + Sync,
    ) {
        let (oracle, work) = (&self.oracle, &work);
        thread::scope(|scope| {
            for client in &mut self.clients {
                let mut http = support::Client::new(address, token);
                scope.spawn(move || work(client, &mut http, oracle));
            }
        });
    }

    /// Sends what is pending; a server that runs must answer 200.
    pub fn send_pending(&mut self, server: &Server, token: &str) {
        self.each(server.address(), token, |client, http, oracle| {
            assert!(client.send_pending(http, oracle), "not answered");
        });
    }

    /// Sends the last batch and some others that were answered 200 once more.
    pub fn send_again(&mut self, server: &Server, token: &str) {
        self.each(server.address(), token, |client, http, _| {
            let mut end = client.done.len();
            for _ in 0..SAMPLE {
                let Some(place) = end.checked_sub(1) else { return };
                client.send_again(place, http);
                end = client.random.below(end as u64) as usize;
            }
        });
    }

    /// Sends every batch that was ever answered 200 once more.
    pub fn send_everything_again(&mut self, server: &Server, token: &str) {
        self.each(server.address(), token, |client, http, _| {
            (0..client.done.len()).for_each(|place| client.send_again(place, http));
        });
    }

    /// Sends every batch that was answered 200 once more to a server that may have lost some: as it
    /// was sent first, and then without a key, which must find all of it.
    pub fn send_lost(&mut self, server: &Server, token: &str) -> Lost {
        let lost = Mutex::new(Lost::default());
        self.each(server.address(), token, |client, http, _| {
            for place in 0..client.done.len() {
                let batch = &client.done[place];
                let answer = batch.post(http, batch.key.as_deref()).expect("an answer");
                assert_eq!(answer.status, 200, "{answer:?}");
                let replayed = answer.header("idempotent-replayed").is_some();
                let accepted = if replayed { 0 } else { answer.count("accepted") };
                let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
                lost.accepted += accepted;
                lost.known_batches += u64::from(accepted == 0);
                drop(lost);
                client.send_again(place, http);
            }
        });
        lost.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the server until `end` has ended it.
    pub fn load(&mut self, server: Server, token: &str, end: impl FnOnce(Server, &Acknowledged)) {
        let acknowledged = Acknowledged(AtomicU64::new(0));
        let (oracle, done) = (&self.oracle, &acknowledged);
        thread::scope(|scope| {
            for client in &mut self.clients {
                let mut http = support::Client::new(server.address(), token);
                scope.spawn(move || {
                    client.compose();
                    while client.send_pending(&mut http, oracle) {
                        done.0.fetch_add(1, Ordering::Relaxed);
                        client.send_unfit(&mut http);
                        client.compose();
                    }
                });
            }
            end(server, done);
        });
    }

    /// Compares all figures with the oracle's. Nothing must be pending.
    pub fn check(&self, server: &Server, token: &str) {
        let duplicates = self.check_figures(server, token);
        // A retry after a lost answer may raise this figure, and nothing else may.
        let answered: u64 = self.clients.iter().map(|client| client.duplicates).sum();
        let unanswered: u64 = self.clients.iter().map(|client| client.unanswered).sum();
        let bounds = answered..=answered + unanswered;
        assert!(bounds.contains(&duplicates), "{duplicates} duplicates, not in {bounds:?}");
        self.check_arrivals(server, duplicates);
    }

    /// What arrived is what is counted, and what was refused is there as well.
    fn check_arrivals(&self, server: &Server, duplicates: u64) {
        let found = arrived(server);
        assert_eq!(found["accepted"], self.records() as u64, "{found:?}");
        assert_eq!(found["duplicates"], duplicates, "the figures of the months say so: {found:?}");
        for (kind, name) in ["rejected", "unreadable_requests"].into_iter().enumerate() {
            let [answered, unanswered] = [0, 1]
                .map(|at| self.clients.iter().map(|client| client.unfit[kind][at]).sum::<u64>());
            let bounds = answered..=answered + unanswered;
            assert!(bounds.contains(&found[name]), "{found:?}: {name} is not in {bounds:?}");
        }
        let received = found["accepted"] + found["duplicates"] + found["rejected"];
        assert_eq!(found["received"], received, "{found:?}");
    }

    /// The same without the duplicates, which a restore takes back; answers these.
    pub fn check_figures(&self, server: &Server, token: &str) -> u64 {
        let oracle = self.oracle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut duplicates = 0;
        for ((site, month), wanted) in oracle.figures() {
            let found = usage(server, token, site, month);
            duplicates += found["duplicates"].as_u64().expect("a number");
            for (name, figure) in wanted.as_object().expect("an object") {
                assert_eq!(found[name], *figure, "{name} of {site} in {month}");
            }
        }
        duplicates
    }

    /// Distinct records that were acknowledged.
    pub fn records(&self) -> usize {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner).records()
    }
}

/// The sums of everything that arrived, over all hours and senders.
fn arrived(server: &Server) -> BTreeMap<&'static str, u64> {
    let operator = server.operator_token();
    let names = ["received", "accepted", "duplicates", "unreadable_requests", "rejected"];
    let mut sums = BTreeMap::from(names.map(|name| (name, 0)));
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/reconciliation?limit={PAGE}{cursor}");
        let answer = support::get(server, &operator, &path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        for row in page["items"].as_array().expect("items") {
            for name in &names[..4] {
                *sums.entry(name).or_default() += row[name].as_u64().expect("a number");
            }
            let rejected = row["rejected"].as_object().expect("reasons");
            assert!(rejected.keys().all(|reason| reason == "unknown_type"), "{row}");
            let records = rejected.values().map(|records| records.as_u64().expect("a number"));
            *sums.entry("rejected").or_default() += records.sum::<u64>();
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return sums,
        }
    }
}
