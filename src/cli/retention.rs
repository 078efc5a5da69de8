//! The verbs of retention: what is due, holds, certificates. A certificate is checked here, without
//! a server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;

use super::client::Ask;
use super::{EXIT_FAILED, escape, failed, quote};
use crate::retention::certificate;

/// What is due and what is not.
#[derive(Debug, Subcommand)]
pub enum RetentionVerb {
    /// List the lots with class, epoch, due time, state and holds.
    List {
        /// Of this site only.
        #[arg(long)]
        site: Option<String>,
        /// In this state only: active, due, held, overdue, destroying, destroyed, failed
        /// or certified.
        #[arg(long)]
        state: Option<String>,
    },
    /// Destroy what is due now.
    Run,
    /// Remove a month of a site before it is due: the first person asks, the second one does it.
    Destroy {
        /// The site's id.
        site: String,
        /// The month, YYYY-MM.
        month: String,
        /// controller_request, collected_in_error or authority_order.
        #[arg(long)]
        reason: String,
        /// Records of the month that come later are refused; said while some could still come.
        #[arg(long)]
        refuse_late_records: bool,
    },
    /// Say that a jump of the server's clock is right.
    ConfirmClock {
        /// The time that it is, by another clock than the server's, e.g. 2027-01-01T00:00:00Z.
        #[arg(long)]
        time: String,
    },
}

/// Holds.
#[derive(Debug, Subcommand)]
pub enum HoldVerb {
    /// Keep months of a site beyond their time.
    Open {
        /// The site's id.
        site: String,
        /// A month, YYYY-MM; may be given more than once.
        #[arg(long = "month", required = true)]
        months: Vec<String>,
        /// billing_dispute, unpaid, overpaid, legal_claim or authority_request.
        #[arg(long)]
        ground: String,
        /// When somebody must look again, e.g. 2027-01-01T00:00:00Z; within twelve months.
        #[arg(long)]
        review_at: String,
        /// A class: records, sets or detections; may be given more than once. All without it.
        #[arg(long = "class")]
        classes: Vec<String>,
        /// What to say about it; never a person's name.
        #[arg(long)]
        reason: Option<String>,
    },
    /// List a site's holds.
    List {
        /// The site's id.
        site: String,
    },
    /// Look at a hold that stays, and say until when.
    Review {
        /// The site's id.
        site: String,
        /// The hold's id.
        id: String,
        /// When somebody must look again, e.g. 2027-01-01T00:00:00Z; within twelve months.
        #[arg(long)]
        review_at: String,
        /// Why it stays; never a person's name.
        #[arg(long)]
        reason: String,
    },
    /// Release a hold: the first person asks, the second one ends it.
    Release {
        /// The site's id.
        site: String,
        /// The hold's id.
        id: String,
    },
}

/// Certificates.
#[derive(Debug, Subcommand)]
pub enum CertificateVerb {
    /// List the certificates.
    List,
    /// Print a certificate, byte for byte.
    Get {
        /// Its id.
        id: String,
    },
    /// Check a certificate, without a server.
    Verify {
        /// The certificate's file.
        file: PathBuf,
        /// The ledger's public key: its file `verifier.key`.
        #[arg(long)]
        key: PathBuf,
    },
}

/// The question of a verb.
pub fn retention(verb: RetentionVerb) -> Ask {
    match verb {
        RetentionVerb::List { site, state } => {
            let site = site.map(|site| format!("site={}", escape(&site)));
            let state = state.map(|state| format!("state={}", escape(&state)));
            let query: Vec<String> = site.into_iter().chain(state).collect();
            let query = query.join("&");
            let mark = if query.is_empty() { "" } else { "?" };
            Ask::get(format!("/v1/retention{mark}{query}"))
        }
        RetentionVerb::Run => post("/v1/retention/run".to_owned(), String::new()),
        RetentionVerb::Destroy { site, month, reason, refuse_late_records } => {
            let late = if refuse_late_records { ",\"late_records\":\"refuse\"" } else { "" };
            let path = format!("/v1/sites/{}/retention/{}/destroy", escape(&site), escape(&month));
            post(path, format!("{{\"reason\":{}{late}}}", quote(&reason)))
        }
        RetentionVerb::ConfirmClock { time } => {
            let body = format!("{{\"time\":{}}}", quote(&time));
            post("/v1/retention/confirm-clock".to_owned(), body)
        }
    }
}

/// The question of a verb.
pub fn hold(verb: HoldVerb) -> Ask {
    match verb {
        HoldVerb::Open { site, months, ground, review_at, classes, reason } => {
            let mut body = format!(
                "{{\"months\":{},\"ground\":{},\"review_at\":{}",
                list(&months),
                quote(&ground),
                quote(&review_at)
            );
            if !classes.is_empty() {
                body.push_str(&format!(",\"classes\":{}", list(&classes)));
            }
            if let Some(reason) = &reason {
                body.push_str(&format!(",\"reason\":{}", quote(reason)));
            }
            body.push('}');
            post(format!("/v1/sites/{}/holds", escape(&site)), body)
        }
        HoldVerb::List { site } => Ask::get(format!("/v1/sites/{}/holds", escape(&site))),
        HoldVerb::Review { site, id, review_at, reason } => {
            let path = format!("/v1/sites/{}/holds/{}/review", escape(&site), escape(&id));
            let (review_at, reason) = (quote(&review_at), quote(&reason));
            post(path, format!("{{\"review_at\":{review_at},\"reason\":{reason}}}"))
        }
        HoldVerb::Release { site, id } => {
            let path = format!("/v1/sites/{}/holds/{}", escape(&site), escape(&id));
            Ask { method: Method::DELETE, ..Ask::get(path) }
        }
    }
}

/// The question that ends a site's collection.
pub fn terminate(site: &str, reason: Option<&String>) -> Ask {
    let body =
        reason.map_or_else(String::new, |reason| format!("{{\"reason\":{}}}", quote(reason)));
    post(format!("/v1/sites/{}/terminate", escape(site)), body)
}

/// The question of a verb, or the end of one that asks nobody.
pub fn certificate(verb: CertificateVerb) -> Result<Ask, ExitCode> {
    match verb {
        CertificateVerb::List => Ok(Ask::get("/v1/certificates".to_owned())),
        CertificateVerb::Get { id } => Ok(Ask::get(format!("/v1/certificates/{}", escape(&id)))),
        CertificateVerb::Verify { file, key } => Err(match check(&file, &key) {
            Ok(sentence) => {
                println!("{sentence}");
                ExitCode::SUCCESS
            }
            Err(sentence) => failed(&sentence, ExitCode::from(EXIT_FAILED)),
        }),
    }
}

/// Checks a certificate's file; a sentence of what it certifies, or of why it certifies nothing.
fn check(file: &PathBuf, key: &PathBuf) -> Result<String, String> {
    let unreadable = |path: &PathBuf, error| format!("{} cannot be read: {error}.", path.display());
    let text = std::fs::read(file).map_err(|error| unreadable(file, error))?;
    let line = std::fs::read_to_string(key).map_err(|error| unreadable(key, error))?;
    let body = certificate::verify(&text, &line).map_err(|error| format!("{error}."))?;
    let keys: usize = body.lots.iter().map(|lot| lot.keys.len()).sum();
    let copies = if body.vek.home_copy_opens {
        "provided that no copy was taken of the VEK home"
    } else {
        "also with a copy of the VEK home"
    };
    Ok(format!(
        "Certificate {} of ledger {} is genuine: {} lots with {keys} keys were destroyed by {}, \
         {copies}.",
        body.id,
        body.ledger,
        body.lots.len(),
        body.ended_at
    ))
}

fn post(path: String, body: String) -> Ask {
    Ask { method: Method::POST, body, ..Ask::get(path) }
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("[{}]", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_questions() {
        let asked = retention(RetentionVerb::List { site: Some("A B".into()), state: None });
        assert_eq!(asked.path, "/v1/retention?site=A%20B");
        let asked = retention(RetentionVerb::List { site: None, state: None });
        assert_eq!(asked.path, "/v1/retention");
        let asked = retention(RetentionVerb::ConfirmClock { time: "2027-01-01T00:00:00Z".into() });
        assert_eq!(asked.body, "{\"time\":\"2027-01-01T00:00:00Z\"}");
        let asked = retention(RetentionVerb::Destroy {
            site: "A".into(),
            month: "2026-05".into(),
            reason: "authority_order".into(),
            refuse_late_records: true,
        });
        assert_eq!(asked.path, "/v1/sites/A/retention/2026-05/destroy");
        assert_eq!(asked.body, "{\"reason\":\"authority_order\",\"late_records\":\"refuse\"}");
        let asked = hold(HoldVerb::Open {
            site: "A".into(),
            months: vec!["2026-10".into(), "2026-11".into()],
            ground: "unpaid".into(),
            review_at: "2027-01-01T00:00:00Z".into(),
            classes: vec!["sets".into()],
            reason: Some("say \"why\"".into()),
        });
        assert_eq!((asked.path.as_str(), asked.method), ("/v1/sites/A/holds", Method::POST));
        assert_eq!(
            asked.body,
            "{\"months\":[\"2026-10\",\"2026-11\"],\"ground\":\"unpaid\",\
             \"review_at\":\"2027-01-01T00:00:00Z\",\"classes\":[\"sets\"],\
             \"reason\":\"say \\\"why\\\"\"}"
        );
        let asked = hold(HoldVerb::Review {
            site: "A B".into(),
            id: "h1".into(),
            review_at: "2027-01-01T00:00:00Z".into(),
            reason: "it \"goes\" on".into(),
        });
        assert_eq!(
            (asked.path.as_str(), asked.method),
            ("/v1/sites/A%20B/holds/h1/review", Method::POST)
        );
        assert_eq!(
            asked.body,
            "{\"review_at\":\"2027-01-01T00:00:00Z\",\"reason\":\"it \\\"goes\\\" on\"}"
        );
        let asked = hold(HoldVerb::Release { site: "A".into(), id: "h1".into() });
        assert_eq!((asked.path.as_str(), asked.method), ("/v1/sites/A/holds/h1", Method::DELETE));
        assert_eq!(terminate("A", None).body, "");
    }

    #[test]
    fn a_file_that_is_no_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("c.json"), folder.path().join("verifier.key"));
        assert!(check(&file, &key).unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "{}").unwrap();
        std::fs::write(&key, "nonsense").unwrap();
        assert!(check(&file, &key).unwrap_err().contains("not a verifier key"));
    }
}
