//! What arrived, as it is answered: `GET /v1/reconciliation` (API.md "Ingest"), as JSON and as CSV.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::usage::csv_cell;
use crate::model::arrival::{Credential, Hour, OTHERS, Place, Received, Sender};
use crate::model::reason::Reason;

/// Stands where a reason stands, for records that were rejected so long ago that nobody knows why.
const REASONS_ENDED: &str = "reasons_ended";

/// The figures of one sender in one hour.
pub type Row = (Hour, Sender, Received);

/// A page of rows: `items`, and a `cursor` where there is more.
pub fn list_to_json(rows: &[Row], cursor: Option<&str>) -> Vec<u8> {
    let mut page = Map::new();
    page.insert("items".to_owned(), rows.iter().map(to_value).collect());
    if let Some(cursor) = cursor {
        page.insert("cursor".to_owned(), json!(cursor));
    }
    Value::Object(page).to_string().into_bytes()
}

/// A place, as a cursor holds it.
pub fn place_to_bytes(place: &Place) -> Vec<u8> {
    let hour = place.hour.0;
    let list = match &place.behind {
        None => json!([hour]),
        Some(Sender { credential, producer }) => {
            json!([hour, credential.producer, credential.sites, producer])
        }
    };
    list.to_string().into_bytes()
}

/// Reads a place; `None` where it is none.
pub fn place_from_bytes(bytes: &[u8]) -> Option<Place> {
    if let Ok([hour]) = serde_json::from_slice::<[u32; 1]>(bytes) {
        return Some(Place { hour: Hour(hour), behind: None });
    }
    let (hour, name, sites, producer): (u32, Box<str>, Box<str>, Box<str>) =
        serde_json::from_slice(bytes).ok()?;
    let credential = Arc::new(Credential { producer: name, sites });
    Some(Place { hour: Hour(hour), behind: Some(Sender { credential, producer }) })
}

/// Reasons that did not occur are left out of `rejected`.
fn to_value((hour, sender, received): &Row) -> Value {
    let by_reason = received.by_reason().map(|(reason, records)| (reason.name(), records));
    let rejected: Map<String, Value> = by_reason
        .chain([(REASONS_ENDED, received.reasons_ended)])
        .filter(|(_, records)| *records > 0)
        .map(|(name, records)| (name.to_owned(), records.into()))
        .collect();
    let sites = &*sender.credential.sites;
    json!({
        "hour": hour.start().to_string(),
        "credential": &*sender.credential.producer,
        // Known by their digest where they are many.
        "sites": (!sites.starts_with('#')).then(|| sites.split(',').collect::<Vec<_>>()),
        "producer": Some(&*sender.producer).filter(|name| *name != OTHERS),
        "received": received.records(),
        "accepted": received.accepted,
        "duplicates": received.duplicates,
        "rejected": rejected,
        "corrected": received.corrected,
        "not_retained": received.not_retained,
        "unreadable_requests": received.unreadable,
    })
}

/// The rows as CSV (RFC 4180): a header row, rows ended by CRLF, and a column for each reason.
pub fn list_to_csv(rows: &[Row]) -> Vec<u8> {
    const HEAD: &str = "hour credential sites producer received accepted duplicates corrected \
        not_retained unreadable_requests";
    let mut names: Vec<String> = HEAD.split_ascii_whitespace().map(str::to_owned).collect();
    names.extend(Reason::ALL.iter().map(|reason| format!("rejected_{reason}")));
    names.push(format!("rejected_{REASONS_ENDED}"));
    let mut text = String::new();
    line(&mut text, &names);
    for (hour, sender, received) in rows {
        let mut cells = vec![
            hour.start().to_string(),
            sender.credential.producer.to_string(),
            sender.credential.sites.replace(',', " "),
            sender.producer.to_string(),
        ];
        let figures = [
            received.records(),
            received.accepted,
            received.duplicates,
            received.corrected,
            received.not_retained,
            received.unreadable,
        ];
        let refused = received.rejected.iter().chain([&received.reasons_ended]);
        cells.extend(figures.iter().chain(refused).map(u64::to_string));
        line(&mut text, &cells);
    }
    text.into_bytes()
}

fn line(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        let mut received = Received { accepted: 3, duplicates: 2, ..Received::default() };
        received.corrected = 1;
        received.reject(Reason::BadTime, 4);
        let of = |sites: &str, producer: &str| {
            let credential = Arc::new(Credential { producer: "=a".into(), sites: sites.into() });
            Sender { credential, producer: producer.into() }
        };
        let none = Received { unreadable: 5, ..Received::default() };
        [(Hour(1), of("A,B.c", "b,1"), received), (Hour(2), of("#ab", OTHERS), none)]
    }

    #[test]
    fn rows_say_what_came() {
        let answer: Value = serde_json::from_slice(&list_to_json(&rows(), Some("x"))).unwrap();
        let wanted = json!({"items": [
            {"hour": "1970-01-01T01:00:00Z", "credential": "=a", "sites": ["A", "B.c"],
             "producer": "b,1", "received": 9, "accepted": 3, "duplicates": 2,
             "rejected": {"bad_time": 4}, "corrected": 1, "not_retained": 0,
             "unreadable_requests": 0},
            {"hour": "1970-01-01T02:00:00Z", "credential": "=a", "sites": null, "producer": null,
             "received": 0, "accepted": 0, "duplicates": 0, "rejected": {}, "corrected": 0,
             "not_retained": 0, "unreadable_requests": 5},
        ], "cursor": "x"});
        assert_eq!(answer, wanted);
        let last: Value = serde_json::from_slice(&list_to_json(&[], None)).unwrap();
        assert_eq!(last, json!({"items": []}));
    }

    #[test]
    fn ended_reasons_are_one_figure_and_the_sum_is_that_of_before() {
        let [mut row, _] = rows();
        let column = |row: &Row| {
            let text = String::from_utf8(list_to_csv(std::slice::from_ref(row))).unwrap();
            let last = text.trim_end().rsplit(',').next().unwrap().to_owned();
            (text.contains("not_retained") && text.contains(",rejected_reasons_ended\r\n"), last)
        };
        assert_eq!(column(&row), (true, "0".to_owned()));
        row.2.end_reasons();
        let answer: Value = serde_json::from_slice(&list_to_json(&[row.clone()], None)).unwrap();
        let item = &answer["items"][0];
        assert_eq!(item["rejected"], json!({"reasons_ended": 4}));
        assert_eq!((&item["received"], &item["accepted"]), (&json!(9), &json!(3)));
        assert_eq!(column(&row), (true, "4".to_owned()));
    }

    #[test]
    fn cells_are_quoted_and_no_formula() {
        let text = String::from_utf8(list_to_csv(&rows())).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines.len(), 4);
        let head: Vec<&str> = lines[0].split(',').collect();
        assert_eq!(head.len(), 10 + Reason::ALL.len() + 1);
        let start = "1970-01-01T01:00:00Z,'=a,A B.c,\"b,1\",9,3,2,1,0,0,0,";
        assert!(lines[1].starts_with(start), "{}", lines[1]);
        let at = head.iter().position(|name| *name == "rejected_bad_time").unwrap();
        // The comma in a name makes one part more.
        assert_eq!(lines[1].split(',').nth(at + 1), Some("4"));
        assert_eq!(lines[2].split(',').nth(9), Some("5"));
    }
}
