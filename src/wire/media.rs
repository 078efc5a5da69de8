//! Which format a body is in.

/// The formats of a batch of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// One JSON text a line (`application/x-ndjson`, `application/jsonl`).
    NdJson,
    /// One object or an array of them (`application/json`).
    Json,
    /// One structured CloudEvent (`application/cloudevents+json`).
    CloudEvent,
    /// An array of CloudEvents (`application/cloudevents-batch+json`).
    CloudEventBatch,
}

impl Media {
    /// The usual name of the format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NdJson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::CloudEvent => "application/cloudevents+json",
            Self::CloudEventBatch => "application/cloudevents-batch+json",
        }
    }

    /// Reads a `Content-Type`; letters of either case, parameters ignored. `None` means 415.
    pub fn parse(content_type: &[u8]) -> Option<Self> {
        let essence = content_type.split(|b| *b == b';').next()?.trim_ascii();
        let known = [
            ("application/x-ndjson", Self::NdJson),
            ("application/jsonl", Self::NdJson),
            ("application/json", Self::Json),
            ("application/cloudevents+json", Self::CloudEvent),
            ("application/cloudevents-batch+json", Self::CloudEventBatch),
        ];
        let found = known.into_iter().find(|(n, _)| essence.eq_ignore_ascii_case(n.as_bytes()));
        found.map(|(_, media)| media)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_parameters_do_not_matter() {
        let parse = |text: &str| Media::parse(text.as_bytes());
        assert_eq!(parse("application/json"), Some(Media::Json));
        assert_eq!(parse("Application/JSON ; charset=utf-8"), Some(Media::Json));
        assert_eq!(parse("application/x-ndjson"), Some(Media::NdJson));
        assert_eq!(parse("application/jsonl"), Some(Media::NdJson));
        assert_eq!(parse("application/CloudEvents+json;x"), Some(Media::CloudEvent));
        assert_eq!(parse("application/cloudevents-batch+json"), Some(Media::CloudEventBatch));
        for text in ["", "text/plain", "application/cloudevents", "application/jsonx"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
