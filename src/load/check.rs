//! Compares what the server says with what the oracle knows.

use serde_json::Value;

use super::oracle::Expected;

/// The differences between a usage answer and the figures expected, one sentence each. Up to
/// `doubtful` more duplicates are right: nobody knows which batches a broken connection delivered.
pub(super) fn differences(expected: &Expected, answer: &Value, doubtful: u64) -> Vec<String> {
    let mut differences = Vec::new();
    for (pointer, figure) in &expected.figures {
        let found = answer.pointer(pointer);
        let slack = if pointer == "/duplicates" { doubtful } else { 0 };
        match found.map(|value| (value, value.as_u64())) {
            // A DRM system that was not seen need not be listed.
            None if *figure == 0 && pointer.starts_with("/by_drm_type/") => {}
            None => differences.push(format!("{pointer} is missing, expected {figure}")),
            Some((_, Some(number))) if (*figure..=figure + slack).contains(&number) => {}
            Some((value, _)) => {
                differences.push(format!("{pointer} is {value}, expected {figure}"));
            }
        }
    }
    let corrections = answer.pointer("/corrections/records").and_then(Value::as_u64);
    if corrections.unwrap_or(0) > 0 {
        let state = answer["state"].as_str().unwrap_or("unknown");
        differences.push(format!("the month is {state} and has corrections; no comparison"));
    }
    differences
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::time::Month;

    fn expected() -> Expected {
        let figures = [
            ("/mau", 3),
            ("/duplicates", 10),
            ("/by_drm_type/widevine/mau", 3),
            ("/by_drm_type/oma/mau", 0),
            ("/other_environments/trial", 0),
        ];
        Expected {
            site: 0,
            month: Month::parse(b"2026-11").unwrap(),
            figures: figures.map(|(name, figure)| (name.to_owned(), figure)).into(),
        }
    }

    #[test]
    fn every_difference_is_named() {
        let good = json!({"mau": 3, "duplicates": 10, "by_drm_type": {"widevine": {"mau": 3}},
            "other_environments": {"trial": 0, "test": 0}, "corrections": {"records": 0}});
        assert_eq!(differences(&expected(), &good, 0), Vec::<String>::new());
        let bad = json!({"mau": 4, "duplicates": 12, "by_drm_type": {"oma": {"mau": 1}},
            "corrections": {"records": 1, "users": 0}, "state": "closed"});
        assert_eq!(differences(&expected(), &bad, 0).len(), 6);
        assert_eq!(differences(&expected(), &bad, 2).len(), 5, "two duplicates are in doubt");
    }
}
