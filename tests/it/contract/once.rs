//! A record counts once, and a batch with an `Idempotency-Key` is answered once.

use super::*;

const DAY: i64 = 86_400;

#[test]
fn a_duplicate_is_the_same_site_producer_event_and_day() {
    let world = World::new();
    put_site(&world.server, "B", "{}");
    let now = ago(0);
    let one = with(&license("d1", "u"), "occurred_at", now.clone());
    let answer = world.lines(&[one.clone(), one.clone(), license("d2", "u")]);
    assert_eq!(counts(&answer), [3, 2, 1, 0], "within a batch");
    // What else the record says does not matter.
    let changed = with(&with(&one, "user_id", "other"), "outcome", "fail");
    assert_eq!(counts(&world.lines(&[changed])), [1, 0, 1, 0], "across batches");
    let others = [
        with(&one, "site_id", "B"),
        with(&one, "producer", "other"),
        with(&one, "event_id", "D1"),
        with(&one, "occurred_at", ago(DAY)),
        with(&one, "occurred_at", ago(34 * DAY)),
    ];
    assert_eq!(counts(&world.lines(&others)), [5, 5, 0, 0], "each differs in one of the four");
    // The credential's own producer name, spoken or not, is one name.
    let spoken = with(&one, "producer", "p");
    assert_eq!(counts(&world.lines(&[spoken])), [1, 0, 1, 0]);
    let world = world.crash();
    let mut again = others.to_vec();
    again.push(one);
    assert_eq!(counts(&world.lines(&again)), [6, 0, 6, 0], "across a crash");
    let world = world.restart();
    assert_eq!(counts(&world.lines(&again)), [6, 0, 6, 0], "across a restart");
    assert_eq!(world.usage("B", month_of(&now))["licenses_issued"], json!(1));
}

#[test]
fn another_credential_of_the_same_producer_repeats_it() {
    let world = World::new();
    let post = |name: &str, producer: &str, record: &Value| {
        let body = json!({"role": "producer", "sites": ["A"], "name": name, "producer": producer});
        let token = token(&world.server, &body);
        let text = record.to_string();
        ask(&world.server, &token, "POST", "/v1/records", &[NDJSON], text.as_bytes())
    };
    let record = license("r", "u");
    assert_eq!(counts(&post("old key", "ls", &record)), [1, 1, 0, 0]);
    assert_eq!(
        counts(&post("new key", "ls", &record)),
        [1, 0, 1, 0],
        "the name is kept over rotation"
    );
    assert_eq!(counts(&post("old key", "ls-2", &record)), [1, 1, 0, 0]);
}

fn keyed(key: &str) -> [(&'static str, &str); 2] {
    [NDJSON, ("idempotency-key", key)]
}

#[test]
fn the_first_answer_comes_again() {
    let world = World::new();
    let bad = with(&license("i2", "u"), "schema", 3);
    let body = format!("{}\n{bad}\n", license("i1", "u"));
    let first = world.post(&keyed("key-1"), &body);
    assert_eq!((first.status, counts(&first)), (200, [2, 1, 0, 1]));
    assert_eq!(first.header("idempotent-replayed"), None);
    let same = |world: &World, headers: &[(&str, &str)], body: &[u8]| {
        let again = world.post(headers, body);
        assert_eq!(again.status, 200, "{again:?}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again:?}");
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert_eq!(again.body, first.body, "byte for byte");
    };
    same(&world, &keyed("key-1"), body.as_bytes());
    same(&world, &keyed("\"key-1\""), body.as_bytes());
    let gzip = limits::gzip(body.as_bytes());
    let coded = [NDJSON, ("idempotency-key", "key-1"), ("content-encoding", "gzip")];
    same(&world, &coded, &gzip);
    let world = world.crash();
    same(&world, &keyed("key-1"), body.as_bytes());
    // Other key, same records: duplicates, and a new answer.
    let other = world.post(&keyed("key-2"), &body);
    assert_eq!((other.status, counts(&other)), (200, [2, 0, 1, 1]));
    assert_eq!(world.usage("A", month_of(&ago(0)))["licenses_issued"], json!(1));
}

#[test]
fn a_key_belongs_to_one_body_and_one_producer() {
    let world = World::new();
    let (one, two) = (license("k1", "u").to_string(), license("k2", "u").to_string());
    assert_eq!(world.post(&keyed("k"), &one).status, 200);
    problem(&world.post(&keyed("k"), &two), 422, "idempotency-mismatch");
    problem(&world.post(&keyed("k"), ""), 422, "idempotency-mismatch");
    let token_of = |name: &str, producer: &str| {
        let body = json!({"role": "producer", "sites": ["*"], "name": name, "producer": producer});
        token(&world.server, &body)
    };
    let post = |token: &str, body: &str| {
        ask(&world.server, token, "POST", "/v1/records", &keyed("k"), body.as_bytes())
    };
    let stranger = post(&token_of("s", "stranger"), &two);
    assert_eq!((stranger.status, counts(&stranger)), (200, [1, 1, 0, 0]));
    let rotated = post(&token_of("rotated", "p"), &one);
    assert_eq!(rotated.header("idempotent-replayed"), Some("true"), "{rotated:?}");
}

#[test]
fn a_key_does_not_cross_the_sites_of_credentials() {
    let world = World::new();
    put_site(&world.server, "B", "{}");
    let token_of = |sites: &[&str]| {
        let body = json!({"role": "producer", "sites": sites, "name": "n", "producer": "same"});
        token(&world.server, &body)
    };
    let post = |token: &str, body: &str| {
        ask(&world.server, token, "POST", "/v1/records", &keyed("x"), body.as_bytes())
    };
    let (a, b) = (license("x1", "u"), with(&license("x2", "u"), "site_id", "B"));
    let both = format!("{a}\n{b}\n");
    // The same body means another thing to a credential that has other sites.
    let of_a = post(&token_of(&["A"]), &both);
    assert_eq!((of_a.status, counts(&of_a)), (200, [2, 1, 0, 1]), "{of_a:?}");
    let of_both = post(&token_of(&["A", "B"]), &both);
    assert_eq!(of_both.header("idempotent-replayed"), None);
    assert_eq!((of_both.status, counts(&of_both)), (200, [2, 1, 1, 0]), "{of_both:?}");
    let of_b = post(&token_of(&["B"]), &b.to_string());
    assert_eq!((of_b.status, counts(&of_b)), (200, [1, 0, 1, 0]), "{of_b:?}");
    let rotated = post(&token_of(&["B", "A"]), &both);
    assert_eq!(rotated.header("idempotent-replayed"), Some("true"), "{rotated:?}");
}

#[test]
fn a_key_covers_the_headers_of_an_event() {
    let world = World::new();
    let time = ago(0);
    let post = |id: &str| {
        let headers = [
            JSON,
            ("idempotency-key", "e"),
            ("ce-specversion", "1.0"),
            ("ce-type", "drm.license.issued"),
            ("ce-source", "p"),
            ("ce-subject", "A"),
            ("ce-time", &time),
            ("ce-id", id),
        ];
        world.post(&headers, r#"{"outcome":"success"}"#)
    };
    assert_eq!(counts(&post("b1")), [1, 1, 0, 0]);
    assert_eq!(post("b1").header("idempotent-replayed"), Some("true"));
    problem(&post("b2"), 422, "idempotency-mismatch");
}

#[test]
fn only_success_is_kept() {
    let world = World::new();
    let bad = with(&license("o1", "u"), "schema", 3).to_string();
    for _ in 0..2 {
        let refused = world.post(&keyed("o"), &bad);
        problem(&refused, 422, "nothing-accepted");
        assert_eq!(refused.header("idempotent-replayed"), None);
    }
    problem(&world.post(&[JSON, ("idempotency-key", "o")], "["), 400, "unreadable");
    let good = license("o1", "u").to_string();
    assert_eq!(counts(&world.post(&keyed("o"), &good)), [1, 1, 0, 0]);
    let empty = world.post(&keyed("empty"), "\n");
    let again = world.post(&keyed("empty"), "\n");
    assert_eq!((empty.status, again.status), (200, 200));
    assert_eq!(again.body, empty.body);
    for key in ["", "\"open", &"k".repeat(256)] {
        problem(&world.post(&keyed(key), &good), 400, "bad-idempotency-key");
    }
    assert_eq!(world.post(&keyed(&"k".repeat(255)), &good).status, 200);
}

#[test]
fn many_at_once_count_once() {
    let world = World::new();
    let body: String = (0..500).map(|n| format!("{}\n", license(&format!("m{n}"), "u"))).collect();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| world.post(&keyed("at-once"), &body))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut first = 0;
    for answer in &answers {
        match (answer.status, answer.header("idempotent-replayed")) {
            (200, None) => {
                first += 1;
                assert_eq!(counts(answer), [500, 500, 0, 0]);
            }
            (200, Some("true")) => assert_eq!(counts(answer), [500, 500, 0, 0]),
            (409, None) => {
                problem(answer, 409, "idempotency-running");
                assert!(answer.header("retry-after").is_some());
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(first, 1, "{answers:?}");
    // The same without a key: everything is sent eight times and counts once.
    let body = body.replace("\"m", "\"n");
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| world.post(&[NDJSON], &body))).collect();
        let totals = threads.into_iter().map(|thread| counts(&thread.join().unwrap()));
        let sum = totals.fold([0; 4], |sum, one| std::array::from_fn(|at| sum[at] + one[at]));
        assert_eq!(sum, [4_000, 500, 3_500, 0]);
    });
    let usage = world.usage("A", month_of(&ago(0)));
    assert_eq!((&usage["licenses_issued"], &usage["duplicates"]), (&json!(1_000), &json!(3_500)));
}
