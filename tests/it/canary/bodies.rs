//! Marked ids in the bodies of every other route that takes one: a person, a customer's list, a
//! hold, a webhook, a restatement, a removal, a backup.

use super::plant::SITE;
use super::requests::Sender;
use crate::support::{Server, make_token};

/// A role, a method, a path, and bodies in which `C` stands for a canary. None of them is taken:
/// what is taken of such a body is shown to whoever may read it (a hold's reason, a backup's name).
type Refused = (&'static str, &'static str, &'static str, &'static [&'static str]);

const ERASE: &[&str] = &[
    r#"{"device":{"kind":"C","value":"C"}}"#,
    r#"{"user_id":"C","user_id":"C"}"#,
    r#"{"user_id":{"C":"C"}}"#,
    r#"{"user_id":"C","ground":"C"}"#,
    r#"{"user_id":"C","repeats":"C"}"#,
    r#"{"user_id":"C","C":1}"#,
    r#"{"user_id":"C"#,
];
const REASONS: &[&str] =
    &[r#"{"reason":{"C":"C"}}"#, r#"{"reason":["C"]}"#, r#"{"C":"C"}"#, r#"{"reason":"C"#, "C"];
const REFUSED: &[Refused] = &[
    ("privacy", "POST", "/v1/sites/SITE/subjects/erase", ERASE),
    (
        "billing",
        "POST",
        "/v1/sites/SITE/statements/2026-10/challenge",
        &["{\"user_id\":\"C\"}\n{\"user_id\":\"C\"}\n", "{\"C\":\"C\"}", "{\"user_id\":\"C"],
    ),
    ("operator", "POST", "/v1/sites/SITE/statements/2026-10/restate", REASONS),
    // The month is not closed, so nothing is restated.
    ("operator", "POST", "/v1/sites/SITE/statements/2026-10/restate", &[r#"{"reason":"C"}"#]),
    ("operator", "POST", "/v1/sites/SITE/terminate", REASONS),
    (
        "privacy",
        "POST",
        "/v1/sites/SITE/holds",
        &[
            r#"{"months":["C"],"ground":"billing_dispute","review_at":"2030-01-01T00:00:00Z"}"#,
            r#"{"months":["2026-10"],"ground":"C","review_at":"2030-01-01T00:00:00Z"}"#,
            r#"{"months":["2026-10"],"ground":"billing_dispute","review_at":"C"}"#,
            r#"{"months":["2026-10"],"classes":["C"],"ground":"billing_dispute"}"#,
            r#"{"months":["2026-10"],"reason":{"C":"C"}}"#,
            r#"{"months":["2026-10"],"C":"C"}"#,
            r#"{"user_id":"C"#,
        ],
    ),
    (
        "privacy",
        "POST",
        "/v1/sites/SITE/holds/h1/review",
        &[
            r#"{"review_at":"C","reason":"it goes on"}"#,
            r#"{"review_at":"2030-01-01T00:00:00Z","reason":{"C":"C"}}"#,
            r#"{"C":"C"}"#,
            r#"{"reason":"C"#,
        ],
    ),
    (
        "custodian",
        "POST",
        "/v1/sites/SITE/retention/2026-10/destroy",
        &[r#"{"reason":"C"}"#, r#"{"C":"C"}"#, r#"{"reason":"C"#],
    ),
    ("custodian", "POST", "/v1/retention/confirm-clock", &[r#"{"time":"C"}"#, r#"{"C":"C"}"#]),
    (
        "operator",
        "POST",
        "/v1/backups",
        &[r#"{"name":"C"}"#, r#"{"name":"C/C"}"#, r#"{"name":{"C":1}}"#, r#"{"C":"C"}"#],
    ),
    (
        "operator",
        "POST",
        "/v1/webhooks",
        &[
            r#"{"url":"http://C.example/C","events":["month.closed"]}"#,
            r#"{"url":"https://C@hooks.example.com/","events":["month.closed"]}"#,
            r#"{"url":"https://hooks.example.com/C","events":["C"]}"#,
            r#"{"url":"https://hooks.example.com/","events":["month.closed"],"sites":["C !"]}"#,
            r#"{"url":{"C":"C"},"events":["month.closed"]}"#,
            r#"{"url":"https://hooks.example.com/C","C":"C"}"#,
            r#"{"url":"https://hooks.example.com/C"#,
        ],
    ),
    (
        "operator",
        "PUT",
        "/v1/sites/SITE",
        &[r#"{"billing_group":"C !"}"#, r#"{"plan_mau":"C"}"#, r#"{"closing_hours":"C"}"#],
    ),
];

impl Sender {
    /// All of them, as they are and made long.
    pub fn other_bodies(&mut self, server: &Server) {
        for (role, method, path, bodies) in REFUSED {
            let token = make_token(server, role, &["*"]);
            let path = path.replace("SITE", SITE);
            let media = if path.ends_with("challenge") { "x-ndjson" } else { "json" };
            let media = format!("application/{media}");
            for body in *bodies {
                for tail in [String::new(), "x".repeat(300)] {
                    let word = self.word(body);
                    let body = body.replace('C', &format!("{word}{tail}"));
                    let headers = [("content-type", media.as_str())];
                    let answer = self.send(&token, (method, &path), &headers, body.as_bytes());
                    let refused = (400..500).contains(&answer.status) && answer.status != 401;
                    assert!(refused && answer.status != 403, "{method} {path}: {answer:?}");
                }
            }
        }
        self.webhook(server);
    }

    /// A webhook that is made: its address may hold a secret, which operators see and nobody else.
    fn webhook(&mut self, server: &Server) {
        let word = self.word("the path of a webhook");
        let body =
            format!(r#"{{"url":"https://hooks.example.com/{word}","events":["month.closed"]}}"#);
        let token = server.operator_token();
        let made = crate::support::send_json(server, &token, "POST", "/v1/webhooks", &body);
        assert_eq!(made.status, 201, "{made:?}");
    }
}
