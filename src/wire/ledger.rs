//! The ledger as it is answered (API.md "Retention and proof"). A line goes out as a JSON string,
//! so that its bytes, which are the leaf of the tree, arrive exactly as they lie on the disk.

use serde_json::{Map, Value, json};

/// Some entries of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPage {
    /// The number of the first entry.
    pub from: u64,
    /// Entries in the whole ledger, that of this very reading included.
    pub size: u64,
    /// The lines, without their newlines.
    pub lines: Vec<String>,
}

impl LedgerPage {
    /// The page: `size`, `from`, `items`, and `next` where there is more.
    pub fn to_json(&self) -> Vec<u8> {
        let mut page = Map::new();
        page.insert("size".to_owned(), json!(self.size));
        page.insert("from".to_owned(), json!(self.from));
        page.insert("items".to_owned(), json!(self.lines));
        let next = self.from.saturating_add(self.lines.len() as u64);
        if next < self.size {
            page.insert("next".to_owned(), json!(next));
        }
        Value::Object(page).to_string().into_bytes()
    }

    /// Reads an answer, as a client does; `None` when it is not one.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let page: Value = serde_json::from_slice(answer).ok()?;
        let line = |item: &Value| item.as_str().map(str::to_owned);
        let lines = page["items"].as_array()?.iter().map(line).collect::<Option<_>>()?;
        Some(Self { from: page["from"].as_u64()?, size: page["size"].as_u64()?, lines })
    }
}

/// The last checkpoint of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerHead {
    /// The name of the ledger.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The root of their tree, hex.
    pub root: String,
    /// The signed note.
    pub checkpoint: String,
    /// The public key. Whoever checks should have it from elsewhere too.
    pub verifier_key: String,
}

impl LedgerHead {
    /// The head as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let head = json!({
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "checkpoint": self.checkpoint,
            "verifier_key": self.verifier_key,
        });
        head.to_string().into_bytes()
    }

    /// Reads an answer, as a client does; `None` when it is not one.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let head: Value = serde_json::from_slice(answer).ok()?;
        let text = |name: &str| head[name].as_str().map(str::to_owned);
        Some(Self {
            origin: text("origin")?,
            size: head["size"].as_u64()?,
            root: text("root")?,
            checkpoint: text("checkpoint")?,
            verifier_key: text("verifier_key")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_as_they_are_and_a_page_says_where_it_goes_on() {
        let line = r#"{"a":"\"\\ é"}"#;
        let page = LedgerPage { from: 3, size: 5, lines: vec![line.to_owned()] };
        let read: Value = serde_json::from_slice(&page.to_json()).unwrap();
        assert_eq!(read["items"][0].as_str(), Some(line));
        assert_eq!(
            (&read["size"], &read["from"], &read["next"]),
            (&json!(5), &json!(3), &json!(4))
        );
        let last = LedgerPage { from: 4, ..page };
        let read: Value = serde_json::from_slice(&last.to_json()).unwrap();
        assert!(read.get("next").is_none(), "{read}");
        assert_eq!(LedgerPage::parse(&last.to_json()), Some(last));
        assert_eq!(LedgerPage::parse(b"{\"items\":[1],\"from\":0,\"size\":1}"), None);
        let beyond = LedgerPage { from: u64::MAX, size: 5, lines: Vec::new() };
        let read: Value = serde_json::from_slice(&beyond.to_json()).unwrap();
        assert!(read.get("next").is_none(), "{read}");
    }
}
