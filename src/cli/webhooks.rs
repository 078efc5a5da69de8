//! The verbs of webhooks.

use clap::Subcommand;
use hyper::Method;

use super::client::Ask;
use super::{escape, quote};

/// Webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookVerb {
    /// Make a webhook; its secret is printed once.
    Create {
        /// Where to send to, an https address.
        url: String,
        /// An event: month.closed, threshold.reached, quality.alarm or destruction.done; may be
        /// given more than once.
        #[arg(long = "event", required = true)]
        events: Vec<String>,
        /// A site to tell of; may be given more than once. All that the token has without it.
        #[arg(long = "site")]
        sites: Vec<String>,
    },
    /// List the webhooks, without their secrets.
    List,
    /// Remove a webhook.
    Remove {
        /// Its id.
        id: String,
    },
    /// Give a webhook a new secret, printed once; the one before signs as well for a day.
    Rotate {
        /// Its id.
        id: String,
    },
    /// Send a webhook a message that says nothing.
    Test {
        /// Its id.
        id: String,
    },
    /// Show what became of a webhook's messages, the newest first.
    Deliveries {
        /// Its id.
        id: String,
    },
}

/// The question of a verb.
pub fn webhook(verb: WebhookVerb) -> Ask {
    let of = |id: &str, what: &str| format!("/v1/webhooks/{}{what}", escape(id));
    let post = |path, body| Ask { method: Method::POST, body, ..Ask::get(path) };
    match verb {
        WebhookVerb::Create { url, events, sites } => {
            let mut body = format!("{{\"url\":{},\"events\":{}", quote(&url), list(&events));
            if !sites.is_empty() {
                body.push_str(&format!(",\"sites\":{}", list(&sites)));
            }
            body.push('}');
            post("/v1/webhooks".to_owned(), body)
        }
        WebhookVerb::List => Ask::get("/v1/webhooks".to_owned()),
        WebhookVerb::Remove { id } => Ask { method: Method::DELETE, ..Ask::get(of(&id, "")) },
        WebhookVerb::Rotate { id } => post(of(&id, "/rotate"), String::new()),
        WebhookVerb::Test { id } => post(of(&id, "/test"), String::new()),
        WebhookVerb::Deliveries { id } => Ask::get(of(&id, "/deliveries")),
    }
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_asked_for_in_json() {
        let asked = webhook(WebhookVerb::Create {
            url: "https://a.example/\"x".to_owned(),
            events: vec!["month.closed".to_owned()],
            sites: vec!["A".to_owned(), "B".to_owned()],
        });
        let expected =
            r#"{"url":"https://a.example/\"x","events":["month.closed"],"sites":["A","B"]}"#;
        assert_eq!((asked.path.as_str(), asked.body.as_str()), ("/v1/webhooks", expected));
        let asked = webhook(WebhookVerb::Rotate { id: "w1/x".to_owned() });
        assert_eq!(
            (asked.path.as_str(), asked.method),
            ("/v1/webhooks/w1%2Fx/rotate", Method::POST)
        );
    }
}
