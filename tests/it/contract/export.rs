//! Exports: bodies that the published interfaces of billing systems take, with ids that belong to a
//! statement's version; and the usage of a range, whole.

use super::clocked::Clocked;
use super::*;
use serde_json::Map;

const EXPORT: &str = "/v1/sites/A/statements/2026-11/export";
const VECTORS: &str = include_str!("../../vectors/exports.json");

/// Whether a value is as a schema says; why not. Knows what `exports.json` uses, and no more.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    let known = [
        "type",
        "required",
        "additionalProperties",
        "properties",
        "minLength",
        "maxLength",
        "const",
        "digits",
        "reference",
        "instant",
    ];
    let rules = schema.as_object().unwrap();
    assert!(rules.keys().all(|rule| known.contains(&rule.as_str())), "{schema}");
    let types = match &rules["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    if !types.iter().any(is) {
        return Err(format!("{value} is not {}", rules["type"]));
    }
    if let Value::String(text) = value {
        let least = rules.get("minLength").map_or(0, |least| least.as_u64().unwrap());
        let most = rules.get("maxLength").map_or(u64::MAX, |most| most.as_u64().unwrap());
        let digits = rules.contains_key("digits") && text.parse::<u64>().is_err();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%/:".contains(&byte);
        let reference = rules.contains_key("reference") && !text.bytes().all(plain);
        let instant = rules.contains_key("instant") && text.parse::<jiff::Timestamp>().is_err();
        let other = rules.get("const").is_some_and(|only| only != value);
        if digits || reference || instant || other || !(least..=most).contains(&(text.len() as u64))
        {
            return Err(format!("{value} does not fit {schema}"));
        }
    }
    let Value::Object(members) = value else { return Ok(()) };
    for name in rules.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap()) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, member) in members {
        match (rules["properties"].get(name), &rules["additionalProperties"]) {
            (Some(schema), _) => fits(schema, member)?,
            (None, Value::Bool(true)) => {}
            (None, Value::Bool(false)) => return Err(format!("{name} is too much")),
            (None, schema) => fits(schema, member)?,
        }
    }
    Ok(())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap() as u8;
        bytes.push(if byte == b'%' { digit() * 16 + digit() } else { byte });
    }
    String::from_utf8(bytes).unwrap()
}

/// A form as nested objects: `a[b]=c` is `{"a":{"b":"c"}}`.
fn form(text: &str) -> Value {
    let mut read = Map::new();
    for pair in text.split('&') {
        let (name, value) = pair.split_once('=').unwrap();
        let (name, value) = (decode(name), Value::String(decode(value)));
        match name.split_once('[') {
            Some((outer, inner)) => {
                let outer = read.entry(outer.to_owned()).or_insert_with(|| json!({}));
                outer[inner.strip_suffix(']').unwrap()] = value;
            }
            None => assert!(read.insert(name, value).is_none()),
        }
    }
    Value::Object(read)
}

/// A body as a value, checked against what is published.
#[track_caller]
fn checked(format: &str, answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(answer.header("content-type"), vectors[format]["media"].as_str());
    let body = if format == "stripe" { form(&answer.text()) } else { answer.json() };
    for part in ["published", "schema"] {
        assert_eq!(fits(&vectors[format][part], &body), Ok(()), "{part}");
    }
    body
}

/// November with two users, closed, and then one user late and a second version.
fn restated() -> Clocked {
    let server = Clocked::at("2026-11-10T12:00:00Z");
    let at = |event: &str, user: &str| {
        format!("{}\n", with(&license(event, user), "occurred_at", "2026-11-10T11:00:00Z"))
    };
    assert_eq!(server.lines(&(at("1", "u") + &at("2", "v") + &at("3", "u"))).count("accepted"), 3);
    server.until("2026-12-04T00:00:00Z");
    let billing = server.token("billing", 365);
    let first = server.send(&billing, "GET", "/v1/sites/A/statements/2026-11", &[], "");
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(server.lines(&at("4", "w")).count("corrected"), 1);
    let path = "/v1/sites/A/statements/2026-11/restate";
    assert_eq!(server.operate("POST", path, r#"{"reason":"late"}"#).status, 201);
    server
}

#[test]
fn each_body_is_what_its_system_takes() {
    let mut server = restated();
    let billing = server.token("billing", 365);
    let get = |server: &Clocked, query: &str| {
        server.send(&billing, "GET", &format!("{EXPORT}?{query}"), &[], "")
    };
    let stripe = "format=stripe&customer=cus_N1";
    let first = checked("stripe", &get(&server, &format!("{stripe}&version=1")));
    let second = checked("stripe", &get(&server, stripe));
    let payload = |value: &str| json!({"stripe_customer_id": "cus_N1", "value": value});
    assert_eq!((&first["payload"], &second["payload"]), (&payload("2"), &payload("3")));
    assert_eq!(first["identifier"], json!("bt-A-2026-11-v1-mau"));
    assert_eq!(second["identifier"], json!("bt-A-2026-11-v2-mau"));
    // In the last minute of November, the later version later.
    let end = "2026-12-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
    let seconds = |body: &Value| body["timestamp"].as_str().unwrap().parse::<i64>().unwrap();
    assert_eq!((seconds(&first), seconds(&second)), (end - 60, end - 59));
    let more = checked("stripe", &get(&server, &format!("{stripe}&amount=difference")));
    assert_eq!(
        (&more["payload"], &more["identifier"]),
        (&payload("1"), &json!("bt-A-2026-11-v2-maud"))
    );
    let lago = checked("lago", &get(&server, "format=lago&metric=licenses_issued"));
    let event = &lago["event"];
    assert_eq!(
        (&event["code"], &event["external_subscription_id"]),
        (&json!("drm_licenses"), &json!("A"))
    );
    assert_eq!((&event["properties"]["value"], &event["timestamp"]), (&json!(4), &json!(end - 59)));
    let query = "format=openmeter&event=users&customer=acme-eu&at=issued&version=2";
    let event = checked("openmeter", &get(&server, query));
    assert_eq!((&event["type"], &event["subject"]), (&json!("users"), &json!("acme-eu")));
    let last = server.send(&billing, "GET", "/v1/sites/A/statements/2026-11", &[], "").json();
    assert_eq!(event["time"], last["body"]["issued_at"]);
    let digest = blindtally::crypto::sha256(&[last["body"].to_string().as_bytes()]);
    let said = event["data"]["statement_sha256"].as_str().unwrap();
    assert_eq!(said.len(), 64);
    let index = last["issued"]["index"].as_u64().unwrap();
    assert!(last["issued"]["entry"].as_str().unwrap().contains(said), "{index} {digest:?}");
    // The same bytes later, and over a start.
    let queries = [stripe, "format=lago", query];
    let before = queries.map(|query| get(&server, query).body);
    server = server.again();
    assert_eq!(queries.map(|query| get(&server, query).body), before);
    server.end();
}

#[test]
fn what_cannot_be_exported() {
    let server = restated();
    let billing = server.token("billing", 365);
    let get = |query: &str| server.send(&billing, "GET", &format!("{EXPORT}{query}"), &[], "");
    problem(&get("?format=stripe"), 422, "customer-missing");
    for bad in [
        "",
        "?format=csv",
        "?format=lago&x=1",
        "?format=lago&version=01",
        "?format=lago&event=",
        "?format=lago&metric=devices",
        "?format=lago&amount=all",
        "?format=lago&at=now",
        "?format=lago&customer=a%20b",
        "?format=lago&customer=%C3%A9",
        &format!("?format=lago&event={}", "x".repeat(101)),
    ] {
        problem(&get(bad), 400, "bad-query");
    }
    problem(&get("?format=lago&version=3"), 404, "not-found");
    let other = |path: &str| server.send(&billing, "GET", path, &[], "");
    problem(&other("/v1/sites/A/statements/2026-12/export?format=lago"), 409, "month-open");
    problem(&other("/v1/sites/B/statements/2026-11/export?format=lago"), 404, "not-found");
    server.end();
}

/// The check of the schemas is no check if everything fits.
#[test]
fn bodies_that_their_systems_would_refuse_do_not_fit() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let good = [
        (
            "stripe",
            form(
                "event_name=a&identifier=b&payload%5Bstripe_customer_id%5D=c&payload%5Bvalue%5D=1",
            ),
        ),
        (
            "lago",
            json!({"event": {"transaction_id": "a", "code": "b", "external_subscription_id": "c",
            "timestamp": 1, "properties": {"value": 1}}}),
        ),
        (
            "openmeter",
            json!({"id": "a", "source": "b", "specversion": "1.0", "type": "c", "subject": "d",
            "time": "2026-11-30T23:59:00Z", "data": {"value": 1}}),
        ),
    ];
    for (format, good) in &good {
        assert_eq!(fits(&vectors[*format]["schema"], good), Ok(()));
    }
    let change = |at: usize, pointer: &str, value: Value| {
        let (format, mut body) = good[at].clone();
        *body.pointer_mut(pointer).unwrap() = value;
        assert!(fits(&vectors[format]["schema"], &body).is_err(), "{body}");
    };
    change(0, "/payload/value", json!("1.5"));
    change(0, "/identifier", json!("x".repeat(101)));
    change(0, "/payload", json!({"value": "1"}));
    change(1, "/event/timestamp", json!("now"));
    change(1, "/event", json!({"code": "b"}));
    change(1, "/event/properties/value", json!(null));
    change(2, "/specversion", json!("0.3"));
    change(2, "/time", json!("yesterday"));
    change(2, "/source", json!("a b"));
}

/// All pages of a range, as CSV and as JSON, are what the months say one by one.
#[test]
fn the_usage_of_a_range_comes_whole() {
    let server = restated();
    for site in ["B", "C"] {
        assert_eq!(server.operate("PUT", &format!("/v1/sites/{site}"), "{}").status, 201);
    }
    let billing = server.token("billing", 365);
    let pages = |accept: &str| {
        let mut next = Some("/v1/usage?from=2026-09&to=2026-12&limit=5".to_owned());
        let mut pages = Vec::new();
        while let Some(path) = next {
            let page = server.send(&billing, "GET", &path, &[("accept", accept)], "");
            assert_eq!(page.status, 200, "{page:?}");
            next = page.header("link").map(|link| {
                let (path, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
                assert_eq!(rest, "; rel=\"next\"");
                path.to_owned()
            });
            pages.push(page);
        }
        pages
    };
    let json: Vec<Value> = pages("application/json")
        .iter()
        .flat_map(|page| page.json()["items"].as_array().unwrap().clone())
        .collect();
    let names: Vec<String> = json
        .iter()
        .map(|row| {
            format!("{} {}", row["site_id"].as_str().unwrap(), row["month"].as_str().unwrap())
        })
        .collect();
    let months = ["2026-09", "2026-10", "2026-11", "2026-12"];
    let expected: Vec<String> = ["A", "B", "C"]
        .iter()
        .flat_map(|site| months.map(|month| format!("{site} {month}")))
        .collect();
    assert_eq!(names, expected);
    let november =
        json.iter().find(|row| row["site_id"] == "A" && row["month"] == "2026-11").unwrap();
    let alone = server.usage("2026-11");
    for name in ["mau", "licenses_issued", "corrections", "state", "excluded"] {
        assert_eq!(november[name], alone[name], "{name}");
    }
    let csv: Vec<String> = pages("text/csv")
        .iter()
        .flat_map(|page| page.text().lines().skip(1).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let cells: Vec<String> =
        csv.iter().map(|row| row.split(',').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(cells, expected);
    server.end();
}

/// The program asks as any caller does, and page after page.
#[test]
fn the_verb_prints_what_the_server_says() {
    let server = restated();
    let billing = server.token("billing", 365);
    let customer = ["--customer", "cus_N1", "--version", "1", "--amount", "total"];
    for (format, more, query) in [
        ("stripe", &customer[..], "&customer=cus_N1&version=1&amount=total"),
        ("lago", &["--metric", "licenses_issued"], "&metric=licenses_issued"),
        ("openmeter", &["--at", "issued", "--event", "users"], "&at=issued&event=users"),
    ] {
        let path = format!("{EXPORT}?format={format}{query}");
        let asked = server.send(&billing, "GET", &path, &[], "");
        let (good, said) =
            server.program(&billing, &[&["export", format, "A", "2026-11"], more].concat());
        assert!(good && asked.status == 200, "{format}: {said} {asked:?}");
        assert_eq!(said.trim_end(), asked.text().trim_end(), "{format}");
        assert!(!server.program(&billing, &["export", format, "A", "2026-12"]).0, "it is open");
    }
    // More rows than a page has.
    for number in 0..90 {
        assert_eq!(server.operate("PUT", &format!("/v1/sites/S-{number}"), "{}").status, 201);
    }
    let range = ["export", "usage", "--from", "2026-01", "--to", "2026-12"];
    let (good, csv) = server.program(&billing, &[&range[..], &["--csv"]].concat());
    let rows: Vec<&str> = csv.lines().collect();
    assert!(good && rows[0].starts_with("site_id,month,"), "{}", rows[0]);
    let cells = |row: &&str| row.split(',').take(2).map(str::to_owned).collect::<Vec<_>>();
    let names: std::collections::BTreeSet<_> = rows[1..].iter().map(cells).collect();
    assert_eq!((rows.len(), names.len()), (1 + 91 * 12, 91 * 12), "each once, under one head");
    let (good, json) = server.program(&billing, &range);
    let pages = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
    let counted: usize = pages.map(|page| page.unwrap()["items"].as_array().unwrap().len()).sum();
    assert!(good && counted == 91 * 12, "{counted}");
    let (good, said) = server.program("bt_none", &range);
    assert!(!good && !said.contains("items"), "{said}");
    server.end();
}
