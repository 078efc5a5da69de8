//! Whole runs against a pretend server, which counts naively, is now and then busy, and now and
//! then breaks a connection after it took the batch.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::tests::{Recount, parsed};
use super::*;
use crate::model::time::Month;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// A server that keeps everything in sets of strings.
struct Pretend {
    fleet: Fleet,
    recount: Mutex<Recount>,
    requests: AtomicU64,
    revoked: AtomicU64,
    /// Every so many batches it answers 503; 0 = never.
    busy_every: u64,
    /// Every so many batches it takes the batch and breaks the connection; 0 = never.
    break_every: u64,
    /// Every so many batches it loses the first record; 0 = never.
    lose_every: u64,
}

impl Pretend {
    fn new(busy_every: u64, break_every: u64, lose_every: u64) -> Arc<Self> {
        Arc::new(Self {
            fleet: Fleet::new(5, "rehearsal", 6, 900),
            recount: Mutex::default(),
            requests: AtomicU64::new(0),
            revoked: AtomicU64::new(0),
            busy_every,
            break_every,
            lose_every,
        })
    }

    /// Serves on a free port until the process ends.
    fn serve(self: &Arc<Self>) -> SocketAddr {
        let server = Arc::clone(self);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let server = Arc::clone(&server);
                    let service = service_fn(move |request| Arc::clone(&server).answer(request));
                    let connection =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(async move { connection.await.ok() });
                }
            });
        });
        told.recv().unwrap()
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, io::Error> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let coding = head.headers.get("content-encoding").cloned();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let parts: Vec<&str> = path.split('/').skip(2).collect();
        let (status, said) = match (&head.method, &parts[..]) {
            (&Method::PUT, ["sites", _]) => (StatusCode::CREATED, json!({})),
            (&Method::POST, ["tokens"]) => {
                (StatusCode::CREATED, json!({"token": "bt_k_s", "key_id": "k"}))
            }
            (&Method::DELETE, ["tokens", "k"]) => {
                self.revoked.fetch_add(1, Ordering::Relaxed);
                (StatusCode::NO_CONTENT, json!({}))
            }
            (&Method::GET, ["sites", site, "usage", month]) => {
                (StatusCode::OK, self.usage(site, Month::parse(month.as_bytes()).unwrap()))
            }
            (&Method::POST, ["records"]) => {
                let plain = match coding.as_ref().map(|coding| coding.to_str().unwrap()) {
                    Some("zstd") => zstd::bulk::decompress(&body, 1 << 24).unwrap(),
                    _ => body.to_vec(),
                };
                return self.take(&plain);
            }
            _ => (StatusCode::NOT_FOUND, json!({})),
        };
        Ok(respond(status, &said).unwrap())
    }

    fn take(&self, plain: &[u8]) -> Result<Response<Full<Bytes>>, io::Error> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let hits = |every: u64| every > 0 && number.is_multiple_of(every);
        if hits(self.busy_every) {
            let mut busy = respond(StatusCode::SERVICE_UNAVAILABLE, &json!({})).unwrap();
            busy.headers_mut().insert("retry-after", "0".parse().unwrap());
            return Ok(busy);
        }
        let records = parsed(plain);
        let mut recount = self.recount.lock().unwrap();
        let before = recount.events();
        for record in records.iter().skip(usize::from(hits(self.lose_every))) {
            recount.observe(record, &self.fleet);
        }
        if hits(self.break_every) {
            return Err(io::Error::other("broken on purpose"));
        }
        let accepted = recount.events() - before;
        let duplicates = records.len() - accepted;
        let said = json!({"receipt": "r", "received": records.len(), "accepted": accepted,
            "duplicates": duplicates, "rejected": 0, "errors": []});
        Ok(respond(StatusCode::OK, &said).unwrap())
    }

    fn usage(&self, site: &str, month: Month) -> Value {
        let recount = self.recount.lock().unwrap();
        let figure = |name: &str| recount.figure(site, month, &format!("/{name}"));
        let mut by_drm = serde_json::Map::new();
        for drm in ["widevine", "playready", "fairplay", "ncg", "wiseplay", "clearkey", "oma"] {
            let (mau, licenses) = (format!("{drm}/mau"), format!("{drm}/licenses_issued"));
            let row = json!({"mau": figure(&format!("by_drm_type/{mau}")),
                "licenses_issued": figure(&format!("by_drm_type/{licenses}"))});
            by_drm.insert(drm.to_owned(), row);
        }
        let other = figure("by_drm_type/other/licenses_issued");
        if other > 0 {
            let row = json!({"mau": figure("by_drm_type/other/mau"), "licenses_issued": other});
            by_drm.insert("other".to_owned(), row);
        }
        let mut usage = json!({"site_id": site, "month": month.to_string(), "state": "open",
            "by_drm_type": by_drm, "corrections": {"records": 0, "users": 0},
            "other_environments": {"trial": figure("other_environments/trial"),
                "test": figure("other_environments/test")}});
        for name in [
            "mau",
            "licenses_issued",
            "licenses_failed",
            "devices",
            "unattributed_licenses",
            "watermark_sessions",
            "watermark_users",
            "duplicates",
        ] {
            usage[name] = figure(name).into();
        }
        usage
    }
}

fn respond(status: StatusCode, said: &Value) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(said.to_string().into()));
    *response.status_mut() = status;
    Ok(response)
}

fn rehearse(server: &Arc<Pretend>, options: &[&str]) -> Result<bool, Error> {
    let url = format!("http://{}", server.serve());
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "bt_operator_secret\n").unwrap();
    let file = token.path().to_str().unwrap();
    let common = "load --seed 5 --site-prefix rehearsal --sites 6 --users 900 --records 6000 \
        --batch 100 --now 2026-11-22T04:16:00Z --spread-days 25 --duplicates 0.1 --late 0.1 \
        --quiet --check";
    let fixed = ["--url", &url, "--operator-token-file", file];
    let line = common.split_whitespace().chain(fixed).chain(options.iter().copied());
    let outcome = drive(&Cli::parse_from(line).args);
    assert_eq!(server.revoked.load(Ordering::Relaxed), 2, "no token is left behind");
    outcome
}

#[test]
fn an_exact_server_passes() {
    assert!(rehearse(&Pretend::new(0, 0, 0), &["--usage", "--encoding", "zstd"]).unwrap());
    assert!(rehearse(&Pretend::new(0, 0, 0), &["--pregenerate", "--rate", "60000"]).unwrap());
}

#[test]
fn a_busy_server_with_bad_connections_passes() {
    let server = Pretend::new(5, 7, 0);
    assert!(rehearse(&server, &["--generators", "2"]).unwrap());
    assert!(server.requests.load(Ordering::Relaxed) > 60, "batches were sent again");
}

#[test]
fn a_server_that_loses_one_record_fails() {
    assert!(!rehearse(&Pretend::new(0, 0, 40), &[]).unwrap());
}

#[test]
fn an_absent_server_is_an_error() {
    let line = "load --url http://127.0.0.1:9 --records 10 --quiet --write /nonexistent/file";
    assert!(drive(&Cli::parse_from(line.split_whitespace()).args).is_err());
    let line = ["load", "--records", "10", "--quiet", "--late", "2"];
    assert!(matches!(drive(&Cli::parse_from(line).args), Err(Error::Options(_))));
}

#[test]
fn a_written_stream_is_read_back_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let line = ["load", "--records", "2500", "--quiet", "--now", "2026-11-22T04:16:00Z"];
    let args = Cli::parse_from(line.into_iter().chain(["--write", path])).args;
    assert!(drive(&args).unwrap());
    let bodies = feed::read(file.path(), 1_000, Encoding::Identity).unwrap();
    let sizes: Vec<u32> = bodies.iter().map(|body| body.records).collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
    let traffic = traffic(&args).unwrap();
    assert_eq!(bodies[2].bytes, traffic.batch(2, None).0);
}
