//! Problem documents (RFC 9457): the body of every answer that is no success. A detail is a fixed
//! sentence; it never holds a value of the input.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Where the types of problems are named.
const TYPE_BASE: &str = "https://blindtally.dev/problems/";

/// A problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    slug: &'static str,
    title: &'static str,
    status: u16,
    detail: Option<Cow<'static, str>>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of a type (the last part of its URI), with a title that is always the same for the
    /// type, and the HTTP status it is answered with.
    pub fn new(slug: &'static str, title: &'static str, status: u16) -> Self {
        Self { slug, title, status, detail: None, members: Map::new() }
    }

    /// Adds a sentence about this occurrence. It must hold no value of the input.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds an extension member. A name of the standard's own members is kept out.
    #[must_use]
    pub fn member(mut self, name: &str, value: Value) -> Self {
        if !matches!(name, "type" | "title" | "status" | "detail") {
            self.members.insert(name.to_owned(), value);
        }
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The last part of the type's URI.
    pub const fn slug(&self) -> &'static str {
        self.slug
    }

    /// The document.
    pub fn to_json(&self) -> Vec<u8> {
        let mut document = Map::new();
        document.insert("type".to_owned(), json!(format!("{TYPE_BASE}{}", self.slug)));
        document.insert("title".to_owned(), json!(self.title));
        document.insert("status".to_owned(), json!(self.status));
        if let Some(detail) = &self.detail {
            document.insert("detail".to_owned(), json!(detail));
        }
        document.extend(self.members.clone());
        Value::Object(document).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_beside_the_standard_ones() {
        let problem = Problem::new("too-many-records", "Too many records", 413)
            .detail("Send at most 10000 records.")
            .member("limit", json!(10_000))
            .member("status", json!(200));
        let read: Value = serde_json::from_slice(&problem.to_json()).unwrap();
        let want = json!({
            "type": "https://blindtally.dev/problems/too-many-records",
            "title": "Too many records",
            "status": 413,
            "detail": "Send at most 10000 records.",
            "limit": 10_000,
        });
        assert_eq!(read, want);
    }
}
