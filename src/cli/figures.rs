//! The verbs of figures: what is counted of a month, and what arrived in an hour.

use clap::Args;

use super::client::Ask;
use super::escape;

/// Which month of which site.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// The site's id.
    site: String,
    /// The month, YYYY-MM.
    month: String,
    /// Answer with CSV.
    #[arg(long)]
    csv: bool,
    /// Say what the licences were.
    #[arg(long)]
    explained: bool,
}

impl UsageArgs {
    /// What is asked.
    pub fn question(&self) -> Ask {
        let part = if self.explained { "/explained" } else { "" };
        let path = format!("/v1/sites/{}/usage/{}{part}", escape(&self.site), escape(&self.month));
        Ask { csv: self.csv, ..Ask::get(path) }
    }
}

/// Which hours.
#[derive(Debug, Args)]
pub struct ReconciliationArgs {
    /// Hours that begin at this time or after it, RFC 3339.
    #[arg(long)]
    from: Option<String>,
    /// Hours that begin before this time, RFC 3339.
    #[arg(long)]
    to: Option<String>,
    /// Most rows, up to 1000.
    #[arg(long)]
    limit: Option<String>,
    /// Where an earlier answer ended.
    #[arg(long)]
    cursor: Option<String>,
    /// Answer with CSV.
    #[arg(long)]
    csv: bool,
}

impl ReconciliationArgs {
    /// What is asked.
    pub fn question(&self) -> Ask {
        let Self { from, to, limit, cursor, csv } = self;
        let given = [("from", from), ("to", to), ("limit", limit), ("cursor", cursor)].into_iter();
        let given =
            given.filter_map(|(name, value)| Some(format!("{name}={}", escape(value.as_ref()?))));
        let query = given.collect::<Vec<_>>().join("&");
        Ask { csv: *csv, ..Ask::get(format!("/v1/reconciliation?{query}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_asked() {
        let mut args =
            ReconciliationArgs { from: None, to: None, limit: None, cursor: None, csv: true };
        assert_eq!(args.question().path, "/v1/reconciliation?");
        args.from = Some("2026-11-01T00:00:00+09:00".to_owned());
        args.limit = Some("7".to_owned());
        let question = args.question();
        let path = "/v1/reconciliation?from=2026-11-01T00%3A00%3A00%2B09%3A00&limit=7";
        assert_eq!((&*question.path, question.csv), (path, true));
    }
}
