//! Records and requests with marked ids wherever a caller could put one.

use blindtally::wire::schema::{Room, Rule, Schemas, Shape};
use serde_json::{Map, Value, json};

use super::ids::{DEVICE_KINDS, Mint};

/// The site of all records.
pub const SITE: &str = "CANARY-SITE";
/// The record types of the contract.
pub const TYPES: [(&str, Room); 5] = [
    ("drm.license.issued", Room::LicenseIssued),
    ("drm.content.packaged", Room::ContentPackaged),
    ("watermark.session.created", Room::SessionCreated),
    ("watermark.content.packaged", Room::WatermarkPackaged),
    ("watermark.detected", Room::WatermarkDetected),
];
/// Members that identify: a pseudonym of them may be kept, never the text.
pub const IDENTIFYING: &[&str] = &[
    "user_id",
    "session_id",
    "order_id",
    "request_id",
    "operator_id",
    "wm_session_id",
    "forensic_mark",
    "payload",
    "wmid",
    "recipient_id",
    "distributor_id",
    "dwm_id",
    "watermark_token",
    "matched_session",
];
/// Members that are dropped, because they may hold anything.
pub const DROPPED: &[&str] = &[
    "error_message",
    "client_ip",
    "user_agent",
    "job_name",
    "input_path",
    "output_path",
    "source_url",
    "title",
    "wmsegduration",
    "wmidfmt",
    "segduration",
    "303",
];
/// Members that hold a payload, or what may be as long as one.
const PAYLOADS: [&str; 3] = ["payload", "watermark_token", "wmid"];
/// Key material and protocol bodies.
const SECRETS: [&str; 16] = [
    "license",
    "challenge",
    "spc",
    "ckc",
    "token",
    "policy",
    "external_key",
    "cek",
    "key",
    "keys",
    "iv",
    "signing_key",
    "session_key",
    "content_key",
    "pssh",
    "headers",
];

/// A record, and whether the server should take it.
#[derive(Clone)]
pub struct Planted {
    /// Its text.
    pub text: String,
    /// Whether it is good.
    pub good: bool,
}

/// Makes records.
pub struct Planter {
    /// The canaries so far.
    pub mint: Mint,
    events: u32,
    now: String,
}

impl Planter {
    /// A planter of records of this moment.
    pub fn new() -> Self {
        Self { mint: Mint::default(), events: 0, now: jiff::Timestamp::now().to_string() }
    }

    /// What every record has.
    fn envelope(&mut self, kind: &str) -> Map<String, Value> {
        self.events += 1;
        let envelope = json!({
            "event_id": format!("event-{}", self.events),
            "type": kind,
            "site_id": SITE,
            "occurred_at": self.now,
            "outcome": "success",
            "cid": "movie-1",
        });
        envelope.as_object().unwrap().clone()
    }

    /// A good record of a type with every identifying and every dropped member that the type has.
    pub fn record(&mut self, kind: &str, room: Room) -> Map<String, Value> {
        let mut record = self.envelope(kind);
        self.fill(&mut record, room);
        if room == Room::LicenseIssued {
            let mut license = Map::new();
            self.fill(&mut license, Room::License);
            record.insert("license".to_owned(), license.into());
            record.insert("drm".to_owned(), json!({"security_level": "L1"}));
            // A session may be named once, inside or outside.
            if self.events.is_multiple_of(2) {
                record.remove("session_id");
            } else {
                record["license"].as_object_mut().unwrap().remove("session_id");
            }
        }
        if room == Room::WatermarkPackaged {
            record.insert("source".to_owned(), json!({"height": 1080}));
        }
        if matches!(room, Room::LicenseIssued | Room::SessionCreated) {
            let ids = self.devices(&DEVICE_KINDS[..8], false);
            record.insert("device".to_owned(), json!({"ids": ids, "model": "m"}));
        }
        if record.contains_key("payload") && self.events.is_multiple_of(2) {
            record.insert("payload_encoding".to_owned(), "hex".into());
        }
        record
    }

    /// Puts a canary into every member that identifies or is dropped; both lists must say the same
    /// as the schema.
    fn fill(&mut self, record: &mut Map<String, Value>, room: Room) {
        let table = Schemas::get().table(room);
        for name in table.names() {
            let rule = table.find(name.as_bytes()).unwrap().rule;
            let marked = match rule {
                Rule::Hide(..) | Rule::UserId | Rule::MatchedSession => IDENTIFYING,
                Rule::Drop => DROPPED,
                _ => &[],
            };
            let listed = IDENTIFYING.contains(&name) || DROPPED.contains(&name);
            assert_eq!(listed, marked.contains(&name), "{name} of {room:?}");
            if listed {
                record.insert(name.to_owned(), self.mint.member(name).into());
            }
        }
    }

    fn devices(&mut self, kinds: &[&str], misfits: bool) -> Vec<Value> {
        let mut value = |kind: &str| match misfits {
            true => self.mint.misfit(kind),
            false => self.mint.device(kind),
        };
        kinds.iter().map(|kind| json!({"kind": kind, "value": value(kind)})).collect()
    }

    /// Good records: each type, and for devices enough of them to hold every kind, fit and unfit.
    pub fn good(&mut self) -> Vec<Planted> {
        let mut records = Vec::new();
        for (kind, room) in TYPES {
            records.push(self.record(kind, room));
        }
        for misfits in [false, true] {
            for kinds in DEVICE_KINDS.chunks(8) {
                let mut record = self.envelope(TYPES[0].0);
                record.insert("user_id".to_owned(), self.mint.member("user_id").into());
                let ids = self.devices(kinds, misfits);
                record.insert("device".to_owned(), json!({ "ids": ids }));
                records.push(record);
            }
        }
        let escaped: String =
            self.mint.member("user_id").encode_utf16().map(|u| format!("\\u{u:04X}")).collect();
        let mut texts: Vec<String> =
            records.into_iter().map(|r| Value::from(r).to_string()).collect();
        let plain = Value::from(self.envelope(TYPES[0].0)).to_string();
        texts.push(with_first(&plain, &format!("\"user_id\":\"{escaped}\"")));
        texts.into_iter().map(|text| Planted { text, good: true }).collect()
    }

    /// A good record of this user.
    pub fn of_user(&mut self, user: &str) -> Planted {
        let mut record = self.envelope(TYPES[0].0);
        record.insert("user_id".to_owned(), user.into());
        Planted { text: Value::from(record).to_string(), good: true }
    }

    /// A number that is a canary.
    fn number(&mut self) -> Value {
        self.mint.member("dwm_id").parse::<u64>().unwrap().into()
    }

    /// Bad records: every member of every object with a value of a wrong type or too long, members
    /// named by a canary, members given twice, secrets, unknown words.
    pub fn bad(&mut self) -> Vec<Planted> {
        let mut all = Vec::new();
        for (kind, room) in TYPES {
            let base = self.record(kind, room);
            self.bad_members(&base, room, &[], &mut all);
            let mut nested = Vec::new();
            match room {
                Room::LicenseIssued => nested.extend([
                    (Room::Device, &["device"][..]),
                    (Room::DeviceId, &["device", "ids", "0"]),
                    (Room::Drm, &["drm"]),
                    (Room::License, &["license"]),
                ]),
                Room::SessionCreated => nested.push((Room::Device, &["device"])),
                Room::WatermarkPackaged => nested.push((Room::Source, &["source"])),
                _ => {}
            }
            for (room, path) in nested {
                self.bad_members(&base, room, path, &mut all);
            }
            self.twice(&base, &mut all);
            self.odd_texts(&base, &mut all);
        }
        all
    }

    fn bad_members(
        &mut self,
        base: &Map<String, Value>,
        room: Room,
        path: &[&str],
        all: &mut Vec<Planted>,
    ) {
        let names: Vec<&str> = Schemas::get().table(room).names().collect();
        for name in names {
            let (member, inner, word) =
                (self.mint.word(name), self.mint.word(name), self.mint.word(name));
            let long = format!("{word}{}", "x".repeat(300));
            let rule = Schemas::get().table(room).find(name.as_bytes()).unwrap().rule;
            // A dropped member may hold anything.
            let dropped = matches!(rule, Rule::Drop);
            // What describes the device is cut, or ignored; and a payload may be that long.
            let cut = matches!(
                rule,
                Rule::System(_) | Rule::Model | Rule::DeviceEncoding | Rule::Keep(_, Shape::Label)
            );
            let long_is_good = dropped || cut || PAYLOADS.contains(&name);
            let number_is_bad =
                !matches!(rule, Rule::Keep(..) | Rule::Hide(..) | Rule::Recommended);
            let mut values = vec![(json!({ member: inner }), dropped), (long.into(), long_is_good)];
            if number_is_bad {
                values.push((self.number(), dropped));
            }
            values.push((json!([[self.mint.word(name)]]), dropped));
            for (value, good) in values {
                all.push(self.changed(base, path, name, value, good));
            }
        }
        let unknown = self.mint.word("name of a member");
        let value = self.mint.word("value of an unknown member");
        all.push(self.changed(base, path, &unknown, value.into(), false));
        for secret in SECRETS {
            let value = self.mint.word(secret);
            all.push(self.changed(base, path, secret, value.into(), false));
        }
    }

    /// The record with another event id and another value of a member.
    fn changed(
        &mut self,
        base: &Map<String, Value>,
        path: &[&str],
        name: &str,
        value: Value,
        good: bool,
    ) -> Planted {
        self.events += 1;
        let mut record = Value::from(base.clone());
        record["event_id"] = format!("event-{}", self.events).into();
        let mut place = &mut record;
        for step in path {
            place = match place {
                Value::Array(list) => &mut list[0],
                other => &mut other[*step],
            };
        }
        place[name] = value;
        Planted { text: record.to_string(), good }
    }

    /// Every marked member twice.
    fn twice(&mut self, base: &Map<String, Value>, all: &mut Vec<Planted>) {
        let text = Value::from(base.clone()).to_string();
        let marked = base.keys().filter(|name| self.is_marked(name)).cloned();
        for name in marked.collect::<Vec<_>>() {
            let canary = json!(self.mint.member(&name));
            all.push(Planted {
                text: with_first(&text, &format!("\"{name}\":{canary}")),
                good: false,
            });
        }
    }

    fn is_marked(&self, name: &str) -> bool {
        IDENTIFYING.contains(&name) || DROPPED.contains(&name)
    }

    /// Words, times and sites that do not exist, and texts that are no JSON.
    fn odd_texts(&mut self, base: &Map<String, Value>, all: &mut Vec<Planted>) {
        let names = ["type", "site_id", "occurred_at", "outcome", "environment", "error_class"];
        for name in names {
            let word = self.mint.word(name);
            all.push(self.changed(base, &[], name, word.clone().into(), false));
            all.push(self.changed(base, &[], name, format!("{word} !").into(), false));
        }
        let device =
            json!({"ids": [{"kind": self.mint.word("kind"), "value": self.mint.word("id")}]});
        if base.contains_key("device") {
            all.push(self.changed(base, &[], "device", device, false));
            let ids: Vec<Value> = (0..9)
                .map(|_| json!({"kind": "opaque", "value": self.mint.device("opaque")}))
                .collect();
            all.push(self.changed(base, &[], "device", json!({ "ids": ids }), false));
        }
        // The event id of a refused record comes back only where it can be nothing but an id.
        let id = format!("{} id", self.mint.word("event id"));
        let mut record = base.clone();
        record.insert("event_id".to_owned(), id.into());
        record.insert("schema".to_owned(), 2.into());
        all.push(Planted { text: Value::from(record).to_string(), good: false });
        let deep =
            format!("\"cid\":{}\"{}\"{}", "[".repeat(40), self.mint.word("deep"), "]".repeat(40));
        all.push(Planted { text: with_first("{}", &deep), good: false });
        let text = json!(self.mint.word("a text")).to_string();
        all.push(Planted { text, good: false });
        let huge = format!("{}{}", self.mint.word("huge"), "y".repeat(65_536));
        all.push(self.changed(base, &[], "error_message", huge.into(), false));
    }

    /// Lines that break the body around them in any format but NDJSON.
    pub fn broken(&mut self) -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for (kind, room) in TYPES {
            let text = Value::from(self.record(kind, room)).to_string().into_bytes();
            let (third, half) = (text.len() / 3, text.len() / 2);
            all.extend([
                text[..third].to_vec(),
                text[..half].to_vec(),
                text[..text.len() - 1].to_vec(),
            ]);
            all.push([&text, &b"}"[..]].concat());
            all.push([&text[..half], b"\xff\xfe", &text[half..]].concat());
            all.push([&text[..half], b"\\x", &text[half..]].concat());
            all.push([&text[..half], b"\0", &text[half..]].concat());
        }
        all.push(self.mint.word("no JSON").into_bytes());
        all
    }
}

impl Planted {
    /// The same record as a CloudEvent; `None` where its text is no object with the attributes.
    pub fn event(&self) -> Option<Self> {
        let Value::Object(mut data) = serde_json::from_str(&self.text).ok()? else { return None };
        // Reading keeps the last of two members, which makes the record good again.
        if Value::from(data.clone()).to_string().len() != self.text.len() {
            return None;
        }
        let event = json!({
            "specversion": "1.0",
            "source": "canary",
            "id": data.remove("event_id")?,
            "type": data.remove("type")?,
            "time": data.remove("occurred_at")?,
            "subject": data.remove("site_id")?,
            "data": data,
        });
        Some(Self { text: event.to_string(), good: self.good })
    }
}

/// An object with one more member at its front.
fn with_first(object: &str, member: &str) -> String {
    let rest = object.strip_prefix('{').unwrap();
    format!("{{{member}{}{rest}", if rest == "}" { "" } else { "," })
}
