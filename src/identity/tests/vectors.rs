//! The published vectors: each row from its input to its tag.

use super::*;
use serde_json::Value;

fn tag_of(row: &Row<'_>) -> Tag {
    let mut queue = PseudonymQueue::default();
    let key = BaseKey::new(&secret(row.text("base_key")));
    // Neighbors before it, of both algorithms, so that the first slot is not right by chance.
    let mut room = FormRoom::default();
    let neighbor = somebody("neighbor", UserForm::default(), &mut room).unwrap();
    for algorithm in [Algorithm::HmacSha256, Algorithm::Blake3] {
        queue.push_user(key.under(algorithm), &neighbor);
    }
    row.push(&mut queue, key.under(row.algorithm()));
    queue.run();
    tag_in(&queue, crate::identity::Slot::at(2), &TagKey::new(&secret(row.text("use_key"))))
}

/// One row of the published file.
struct Row<'a>(&'a Value);

impl<'a> Row<'a> {
    fn text(&self, name: &str) -> &'a str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn raw(&self) -> RawId<'a> {
        RawId::new(self.text("input").as_bytes())
    }

    fn device(&self) -> DeviceId<'a> {
        let kind = DeviceKind::from_name(self.text("kind").as_bytes()).unwrap();
        let encoding = IdEncoding::from_name(self.text("encoding").as_bytes());
        device(kind, self.raw(), encoding, self.0["desktop"] == true)
    }

    fn payload(&self) -> Payload<'a> {
        payload(self.raw(), PayloadEncoding::from_name(self.text("encoding").as_bytes()))
    }

    fn algorithm(&self) -> Algorithm {
        match self.text("algorithm") {
            "" => Algorithm::HmacSha256,
            name => Algorithm::from_name(name.as_bytes()).unwrap(),
        }
    }

    /// The options of user ids, as a list of words.
    fn form(&self) -> UserForm {
        let said: Vec<&str> = self.0["options"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|of| of.as_str().unwrap())
            .collect();
        let has = |word| said.contains(&word);
        let form = UserForm { trim: has("trim"), nfc: has("nfc"), lower: has("lower") };
        assert_eq!(form.code().count_ones() as usize, said.len(), "{}", self.0);
        form
    }

    fn version(&self) -> u8 {
        match self.text("what") {
            "user" => self.form().version_byte(),
            _ => CANONICALIZER_VERSION,
        }
    }

    fn push(&self, queue: &mut PseudonymQueue, key: Base<'_>) {
        let mut room = FormRoom::default();
        match (self.text("what"), self.text("kind")) {
            ("user", _) => {
                let user = somebody(self.text("input"), self.form(), &mut room).unwrap();
                queue.push_user(key, &user)
            }
            ("device", _) => queue.push_device(key, &self.device()),
            (_, "payload") => queue.push_payload(key, &self.payload()),
            (_, kind) => {
                queue.push_other(key, OtherKind::from_name(kind.as_bytes()).unwrap(), self.raw())
            }
        };
    }

    /// Checks what is between input and message; answers the kind and the id of the message.
    fn check_form(&self) -> (&'a str, Vec<u8>) {
        match (self.text("what"), self.text("kind")) {
            ("device", _) => {
                let id = self.device();
                assert_eq!(id.quality().name(), self.text("quality"), "{}", self.0);
                assert_eq!(id.scope().name(), self.text("scope"), "{}", self.0);
                assert_eq!(HEXLOWER.encode(id.bytes()), self.text("canonical"), "{}", self.0);
                (id.kind().name(), id.bytes().to_vec())
            }
            (_, "payload") => {
                let payload = self.payload();
                assert_eq!(u64::from(payload.bits()), self.0["bits"].as_u64().unwrap());
                assert_eq!(HEXLOWER.encode(payload.bytes()), self.text("canonical"));
                ("payload", [&payload.bits().to_be_bytes(), payload.bytes()].concat())
            }
            ("user", kind) => {
                let mut room = FormRoom::default();
                let user = somebody(self.text("input"), self.form(), &mut room).unwrap();
                assert_eq!(HEXLOWER.encode(user.bytes()), self.text("canonical"), "{}", self.0);
                (kind, user.bytes().to_vec())
            }
            (_, kind) => {
                assert_eq!(unhex(self.text("canonical")), self.text("input").as_bytes());
                (kind, self.text("input").as_bytes().to_vec())
            }
        }
    }
}

#[test]
fn published_vectors() {
    let file: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/pseudonyms.json")).unwrap();
    let rows = file["rows"].as_array().unwrap();
    assert!(rows.len() >= 40);
    let mut form = FormRoom::default();
    for row in rows.iter().map(Row) {
        if row.text("quality") == "sentinel" {
            let found = somebody(row.text("input"), row.form(), &mut form);
            assert!(found.is_none(), "{}", row.0);
            continue;
        }
        let (kind, id) = row.check_form();
        let mut room = [0; HEAD_BYTES_MAX];
        let message = [write_head(&mut room, kind, row.version(), id.len()), &id].concat();
        assert_eq!(HEXLOWER.encode(&message), row.text("message"), "{}", row.0);
        let base_key = BaseKey::new(&secret(row.text("base_key")));
        let base: [u8; 16] = match base_key.under(row.algorithm()) {
            Base::Hmac(key) => key.mac(&message)[..16].try_into().unwrap(),
            Base::Blake3(key) => key.short(&[&message]),
        };
        assert_eq!(HEXLOWER.encode(&base), row.text("base"), "{}", row.0);
        let tag = tag_of(&row);
        assert_eq!(HEXLOWER.encode(&tag.0), row.text("tag"), "{}", row.0);
    }
    for kind in DeviceKind::ALL
        .iter()
        .map(|kind| kind.name())
        .chain(OtherKind::ALL.iter().map(|kind| kind.name()))
    {
        assert!(rows.iter().any(|row| row["kind"] == kind), "no vector of {kind}");
    }
}
