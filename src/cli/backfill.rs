//! The verbs of backfills. Records are sent by whoever has them, with any HTTP client.

use clap::Subcommand;
use hyper::Method;

use super::client::Ask;
use super::{escape, quote};

/// Backfills.
#[derive(Debug, Subcommand)]
pub enum BackfillVerb {
    /// Make a backfill for late records of a site.
    Create {
        /// The site.
        site: String,
        /// The first instant of its records, RFC 3339.
        #[arg(long)]
        from: String,
        /// The instant behind its records, RFC 3339.
        #[arg(long)]
        to: String,
        /// Why; it goes into the ledger.
        #[arg(long)]
        reason: String,
        /// The producer name whose credentials may load it; every producer of the site without it.
        #[arg(long)]
        producer: Option<String>,
    },
    /// List the backfills, the newest first.
    List,
    /// Show how a backfill stands.
    Show {
        /// Its id.
        id: String,
    },
    /// Count everything of a backfill at once.
    Close {
        /// Its id.
        id: String,
    },
    /// Abandon a backfill: nothing of it is counted, and its records are destroyed.
    Abandon {
        /// Its id.
        id: String,
    },
}

/// The question of a verb.
pub fn backfill(verb: BackfillVerb) -> Ask {
    let of = |id: &str, what: &str| format!("/v1/backfills/{}{what}", escape(id));
    let post = |path, body| Ask { method: Method::POST, body, ..Ask::get(path) };
    match verb {
        BackfillVerb::Create { site, from, to, reason, producer } => {
            let mut body = format!(
                "{{\"site_id\":{},\"from\":{},\"to\":{},\"reason\":{}",
                quote(&site),
                quote(&from),
                quote(&to),
                quote(&reason)
            );
            if let Some(producer) = producer {
                body.push_str(&format!(",\"producer\":{}", quote(&producer)));
            }
            body.push('}');
            post("/v1/backfills".to_owned(), body)
        }
        BackfillVerb::List => Ask::get("/v1/backfills".to_owned()),
        BackfillVerb::Show { id } => Ask::get(of(&id, "")),
        BackfillVerb::Close { id } => post(of(&id, "/close"), String::new()),
        BackfillVerb::Abandon { id } => Ask { method: Method::DELETE, ..Ask::get(of(&id, "")) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::backfill::BackfillRequest;

    #[test]
    fn a_backfill_is_asked_for_as_the_server_reads_it() {
        let asked = backfill(BackfillVerb::Create {
            site: "A".to_owned(),
            from: "2026-09-01T00:00:00Z".to_owned(),
            to: "2026-10-01T00:00:00Z".to_owned(),
            reason: "no \"link\"".to_owned(),
            producer: Some("offline".to_owned()),
        });
        let read = BackfillRequest::parse(&mut asked.body.into_bytes()).unwrap();
        assert_eq!((read.site.as_str(), read.reason.as_str()), ("A", "no \"link\""));
        assert_eq!(read.producer.as_deref(), Some("offline"));
        let asked = backfill(BackfillVerb::Close { id: "b1/x".to_owned() });
        assert_eq!(
            (asked.path.as_str(), asked.method),
            ("/v1/backfills/b1%2Fx/close", Method::POST)
        );
    }
}
