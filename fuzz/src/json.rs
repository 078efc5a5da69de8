//! What `serde_json` makes of a text, as the measure of our own reader.

use serde::de::IgnoredAny;
use serde_json::Value;

/// What is known of a text.
#[derive(Debug)]
pub enum Json {
    /// It is no JSON.
    Broken,
    /// It is JSON.
    Valid(Value),
    /// It is of JSON's form, but `serde_json` cannot hold it (a number beyond `f64`, or nested too
    /// deep), so nothing is known of what stands behind the place where it gave up.
    Unsure,
}

/// Reads a text.
pub fn read(text: &[u8]) -> Json {
    if std::str::from_utf8(text).is_err() || serde_json::from_slice::<IgnoredAny>(text).is_err() {
        return Json::Broken;
    }
    match serde_json::from_slice(text) {
        Ok(value) => Json::Valid(value),
        Err(error) => {
            let words = error.to_string();
            let limit = ["number out of range", "recursion limit"];
            if limit.iter().any(|known| words.starts_with(known)) {
                Json::Unsure
            } else {
                Json::Broken
            }
        }
    }
}

/// How deep objects and arrays are nested in a valid text, and how many members its objects have.
pub fn shape(text: &[u8]) -> (usize, usize) {
    let (mut level, mut deepest, mut members) = (0usize, 0, 0);
    outside_strings(text, |_, byte| match byte {
        b'{' | b'[' => {
            level += 1;
            deepest = deepest.max(level);
        }
        b'}' | b']' => level -= 1,
        b':' => members += 1,
        _ => {}
    });
    (deepest, members)
}

/// The texts of the elements of a valid array.
pub fn elements(text: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let (mut level, mut start) = (0usize, 0);
    outside_strings(text, |at, byte| {
        match byte {
            b'{' | b'[' => level += 1,
            b'}' | b']' => level -= 1,
            _ => {}
        }
        let opens = level == 1 && byte == b'[' && start == 0;
        let ends = level == 0 && byte == b']' || level == 1 && byte == b',';
        if ends {
            found.push(text[start..at].trim_ascii());
        }
        if opens || ends {
            start = at + 1;
        }
    });
    if found == [b""] { Vec::new() } else { found }
}

fn outside_strings(text: &[u8], mut each: impl FnMut(usize, u8)) {
    let (mut inside, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            _ if inside => {}
            byte => each(at, *byte),
        }
    }
}

/// How many members the objects of a value have.
pub fn members(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
        Value::Array(list) => list.iter().map(members).sum(),
        _ => 0,
    }
}

/// Whether every number is written in one way only: an integer of 64 bits.
pub fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_plain),
        Value::Array(list) => list.iter().all(is_plain),
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => true,
    }
}
