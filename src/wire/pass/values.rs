//! How the value of each member is taken: as text, or as something else.

use super::{Kind, Pass};
use crate::identity::{PayloadEncoding, RawId};
use crate::model::field::{ErrorClass, Field};
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::vocab::{DeviceKind, Environment, IdEncoding, LicenseType, RecordType, UserKind};
use crate::wire::fault::Part;
use crate::wire::json::Broken;
use crate::wire::record::Value;
use crate::wire::schema::{LIST_MAX, Room, Rule, Shape, Words};
use crate::wire::words;

impl<'a> Pass<'a, '_> {
    /// Takes a text that is not over its length. What is frequent is done right here.
    #[inline(always)]
    pub(super) fn take_text(&mut self, rule: &Rule, text: &'a mut [u8]) {
        match *rule {
            Rule::Keep(field, Shape::Text(_)) if self.first(field) => {
                self.record.stored.push((field, Value::Text(text)));
            }
            Rule::EventId if !text.is_empty() => {
                self.record.event_id = text;
                self.met.event_id = true;
            }
            Rule::Type if *text == *self.guess.kind.name().as_bytes() => {
                // Asked of the guess first: it is nearly always the same type again.
                self.kind = Kind::Known(self.guess.kind);
                self.met.kind = true;
            }
            Rule::Site => {
                self.record.site_id = text;
                self.record.in_data.site = true;
                self.met.site = true;
            }
            Rule::OccurredAt if !self.met.time => match Timestamp::parse(text) {
                Some(time) => self.take_time(time),
                None => self.note(Reason::BadTime),
            },
            Rule::Producer if !text.is_empty() => self.record.producer = Some(text),
            Rule::UserId => self.record.user_id = Some(RawId::new(text)),
            Rule::Cid => self.cid = Some(text),
            Rule::DeviceValue => self.draft.value = Some(RawId::new(text)),
            _ => self.take_word(rule, text),
        }
    }

    fn take_time(&mut self, time: Timestamp) {
        self.record.occurred_at = time;
        self.record.in_data.time = true;
        self.met.time = true;
    }

    /// Takes the text of a vocabulary, or of a rare member.
    #[inline(never)]
    fn take_word(&mut self, rule: &Rule, text: &'a mut [u8]) {
        let record = &mut *self.record;
        let known = match *rule {
            Rule::Outcome => set(&mut record.outcome, words::outcome(text)),
            Rule::Environment => Environment::from_name(text).map(|e| record.environment = e),
            Rule::DrmType => set(&mut record.drm_type, words::drm_type(text)),
            Rule::RequestType => set(&mut record.request_type, words::request_type(text)),
            // `persistent` may have come before, and it wins.
            Rule::LicenseType => LicenseType::from_name(text).map(|license| {
                record.license_type.get_or_insert(license);
            }),
            Rule::UserKind => set(&mut record.user_id_kind, UserKind::from_name(text)),
            Rule::ErrorClass => set(&mut record.error_class, ErrorClass::from_name(text)),
            Rule::PayloadEncoding => {
                set(&mut record.payload_encoding, PayloadEncoding::from_name(text))
            }
            // One that is unknown only describes the device: the id is read as if there were none.
            Rule::DeviceEncoding => {
                self.draft.encoding = IdEncoding::from_name(text);
                return;
            }
            Rule::DeviceKind => {
                self.draft.kind = DeviceKind::from_name(text);
                if self.draft.kind.is_none() {
                    self.note(Reason::UnknownDeviceKind);
                }
                return;
            }
            rule => return self.take_rare(rule, text),
        };
        if known.is_none() {
            self.note(Reason::BadValue);
        }
    }

    #[inline(never)]
    fn take_rare(&mut self, rule: Rule, text: &'a mut [u8]) {
        match rule {
            Rule::Keep(field, shape) => self.keep_text(field, shape, text),
            Rule::Hide(_, Shape::Spelled(bytes)) if !words::spells(text, bytes) => {
                self.note(Reason::TooLong);
            }
            Rule::Hide(field, _) => self.hide_text(field, text),
            Rule::System(field) => {
                let text = words::label(text);
                self.record.desktop |= words::is_desktop(text);
                self.record.stored.push((field, Value::Text(text)));
            }
            Rule::Model => {
                let text = words::label(text);
                // A desktop CDM names itself there.
                self.record.desktop |= text.starts_with(b"ChromeCDM");
                self.record.stored.push((Field::DeviceModel, Value::Text(text)));
            }
            Rule::Type => match RecordType::from_name(text) {
                Some(kind) => {
                    self.kind = Kind::Known(kind);
                    self.met.kind = true;
                }
                None => {
                    self.kind = Kind::None;
                    self.note(Reason::UnknownType);
                }
            },
            Rule::ErrorCode => self.record.error_code = Some(text),
            Rule::MatchedSession => self.hide_text(Field::MatchedSessionId, text),
            Rule::EventId | Rule::Producer => self.note(Reason::BadValue),
            Rule::OccurredAt => self.note(Reason::DuplicateField),
            Rule::Drop => {}
            rule => self.attribute_text(rule, text),
        }
    }

    fn keep_text(&mut self, field: Field, shape: Shape, text: &'a mut [u8]) {
        if !self.first(field) {
            return self.note(Reason::DuplicateField);
        }
        if matches!(shape, Shape::End) && words::is_no_end(text) {
            return;
        }
        match text_value(shape, text) {
            Ok(value) => self.record.stored.push((field, value)),
            Err(reason) => self.note(reason),
        }
    }

    fn hide_text(&mut self, field: Field, text: &'a [u8]) {
        if self.first(field) {
            let payload = matches!(field, Field::Payload | Field::WatermarkToken);
            if payload && text.len() > words::PAYLOAD_TEXT_BYTES_ANY {
                let pointer = self.path.with(Part::Name(self.entry.name));
                let longer = self.long_payload.is_none_or(|(bytes, _)| bytes < text.len());
                if longer {
                    self.long_payload = Some((text.len(), pointer));
                }
            }
            self.record.raw.push((field, RawId::new(text)));
        } else {
            self.note(Reason::DuplicateField);
        }
    }

    /// Whether the field comes for the first time: two spellings of one field count as one member.
    #[inline(always)]
    fn first(&mut self, field: Field) -> bool {
        let bit = 1u128 << (field.code() % 128);
        let word = if field.identifies() { &mut self.once[1] } else { &mut self.once[0] };
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    /// Takes a value that is no text, or that the member does not take as text.
    #[inline(never)]
    pub(super) fn take_other(&mut self, rule: Rule) -> Result<(), Broken> {
        let next = self.reader.peek();
        match rule {
            _ if next == b'n' => self.reader.literal("null"),
            Rule::Object(room) if next == b'{' => self.nested(room),
            Rule::Object(Room::License) => self.refuse(Reason::SecretField),
            Rule::DeviceIds if next == b'[' => self.device_ids(),
            Rule::List(field, shape) if next == b'[' => self.list(field, shape),
            Rule::OccurredAt | Rule::EventTime if self.met.time => {
                self.refuse(Reason::DuplicateField)
            }
            Rule::Data if next == b'{' => self.data(),
            Rule::Ignored | Rule::Drop => self.skip(),
            rule if rule.is_attribute() => self.refuse(Reason::BadCloudEvent),
            rule => match next {
                b'-' | b'0'..=b'9' => self.take_number(rule),
                b't' => self.reader.literal("true").map(|()| self.take_truth(rule, true)),
                b'f' => self.reader.literal("false").map(|()| self.take_truth(rule, false)),
                _ => self.refuse(Reason::WrongType),
            },
        }
    }

    fn take_truth(&mut self, rule: Rule, truth: bool) {
        match rule {
            Rule::Persistent if truth => self.record.license_type = Some(LicenseType::Offline),
            Rule::Persistent => {}
            Rule::Keep(field, Shape::Bool | Shape::Flag) => self.keep_int(field, truth.into()),
            Rule::MatchedSession => self.keep_int(Field::MatchedSession, truth.into()),
            _ => self.note(Reason::WrongType),
        }
    }

    fn keep_int(&mut self, field: Field, number: i64) {
        if self.first(field) {
            self.record.stored.push((field, Value::Int(number)));
        } else {
            self.note(Reason::DuplicateField);
        }
    }

    fn take_number(&mut self, rule: Rule) -> Result<(), Broken> {
        let digits = self.reader.number()?;
        let taken = match rule {
            Rule::OccurredAt | Rule::EventTime => time(digits).map(|time| {
                self.take_time(time);
                self.record.in_data.time = matches!(rule, Rule::OccurredAt);
            }),
            Rule::Schema => match integer(digits) {
                Ok(1) => Ok(()),
                Ok(_) => Err(Reason::BadValue),
                Err(reason) => Err(reason),
            },
            // An index that points nowhere only describes the device: it costs the record nothing.
            Rule::Recommended => match integer(digits) {
                Ok(index) => {
                    self.record.device_recommended = u8::try_from(index).ok();
                    Ok(())
                }
                Err(Reason::BadValue) => Ok(()),
                Err(reason) => Err(reason),
            },
            Rule::Keep(field, Shape::End) if is_no_time(digits) => {
                if self.first(field) {
                    Ok(())
                } else {
                    Err(Reason::DuplicateField)
                }
            }
            Rule::Keep(field, shape) => number_value(shape, digits).and_then(|value| {
                let first = self.first(field);
                first.then(|| self.record.stored.push((field, value))).ok_or(Reason::DuplicateField)
            }),
            Rule::Hide(field, Shape::TextOrInt(max)) => bare(digits, max).map(|digits| {
                self.hide_text(field, digits);
            }),
            _ => Err(Reason::WrongType),
        };
        if let Err(reason) = taken {
            self.note(reason);
        }
        Ok(())
    }

    /// Keeps the elements of a list, all of them texts, one by one.
    fn list(&mut self, field: Field, shape: Shape) -> Result<(), Broken> {
        self.enter();
        self.reader.take(b'[');
        let mut more = !self.reader.take(b']');
        let mut index = 0u16;
        while more {
            if usize::from(index) >= LIST_MAX {
                self.note_here(Reason::TooLong);
                self.skip()?;
            } else {
                self.path.push(Part::Index(index));
                self.element(field, shape)?;
                self.path.pop();
            }
            index = index.saturating_add(1);
            more = self.reader.more(b']')?;
        }
        self.leave();
        Ok(())
    }

    fn element(&mut self, field: Field, shape: Shape) -> Result<(), Broken> {
        if self.reader.peek() != b'"' {
            self.note_here(Reason::WrongType);
            return self.skip();
        }
        let text = self.reader.string()?;
        if shape.text_max().is_none_or(|max| text.len() > max) {
            self.note_here(Reason::TooLong);
            return Ok(());
        }
        match text_value(shape, text) {
            Ok(value) => self.record.stored.push((field, value)),
            Err(reason) => self.note_here(reason),
        }
        Ok(())
    }

    /// What depends on more than one member: the content id by its encoding, and the length of a
    /// payload by its encoding.
    pub(super) fn settle(&mut self) {
        if let Some(cid) = self.cid.take() {
            self.settle_cid(cid);
        }
        if let Some((bytes, pointer)) = self.long_payload
            && bytes > words::payload_text_max(self.record.payload_encoding)
        {
            self.fault.get_or_insert((Reason::TooLong, pointer));
        }
    }

    fn settle_cid(&mut self, cid: &'a mut [u8]) {
        let base64 = (Field::CidEncoding, Value::Text(b"base64"));
        // Asked for by the member that says so: nearly no record has it.
        let encoded = self.once[0] & 1 << Field::CidEncoding.code() != 0
            && self.record.stored.contains(&base64);
        let mut length = cid.len();
        let mut fault = None;
        if encoded {
            match words::base64(cid) {
                None => fault = Some(Reason::BadValue),
                // Bytes that are no text are kept as they came, and so is their encoding.
                Some(bytes) if std::str::from_utf8(&bytes).is_err() => {}
                Some(bytes) => {
                    length = bytes.len();
                    cid.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
                    self.record.stored.retain(|kept| *kept != base64);
                }
            }
        }
        if length > limits::CID_BYTES_MAX {
            fault.get_or_insert(Reason::TooLong);
        }
        if let Some(reason) = fault {
            let pointer = self.in_data("cid");
            self.fault.get_or_insert((reason, pointer));
        }
        self.record.cid = cid.get(..length);
    }

    /// The CloudEvents attribute `time`, which must not stand beside `data.occurred_at`.
    pub(super) fn event_time(&mut self, text: &[u8]) {
        match Timestamp::parse(text) {
            _ if self.met.time => self.note(Reason::DuplicateField),
            Some(time) => {
                self.take_time(time);
                self.record.in_data.time = false;
            }
            None => self.note(Reason::BadTime),
        }
    }
}

/// How a watermark is carried; edge tokens give a number.
const MODES: Words =
    &[("direct", "direct"), ("indirect", "indirect"), ("0", "direct"), ("1", "indirect")];

/// Whether a number stands for no time: zero, minus one, the largest integer, a length.
fn is_no_time(digits: &[u8]) -> bool {
    !is_fraction(digits) && time(digits).is_err()
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> Option<()> {
    *slot = value;
    slot.is_some().then_some(())
}

/// The kept form of a text.
fn text_value<'a>(shape: Shape, text: &'a mut [u8]) -> Result<Value<'a>, Reason> {
    let word = match shape {
        Shape::Text(_) | Shape::TextOrInt(_) => return Ok(Value::Text(text)),
        Shape::Lower(_) => {
            text.make_ascii_lowercase();
            return Ok(Value::Text(text));
        }
        Shape::Label => return Ok(Value::Text(words::label(text))),
        Shape::Time | Shape::End => {
            let time = Timestamp::parse(text).ok_or(Reason::BadTime)?;
            return Ok(Value::Int(time.0));
        }
        Shape::Host => {
            let host = words::host(text).ok_or(Reason::BadValue)?;
            let fits = host.len() <= limits::TEXT_BYTES_MAX;
            return if fits { Ok(Value::Text(host)) } else { Err(Reason::TooLong) };
        }
        Shape::Uuid => {
            let uuid = words::is_uuid(text).then_some(Value::Text(text));
            return uuid.ok_or(Reason::BadValue);
        }
        Shape::Mode => words::find(MODES, text),
        Shape::Word(list) => words::find(list, text),
        Shape::AnyCase(list) => {
            text.make_ascii_lowercase();
            words::find(list, text)
        }
        Shape::Drm => words::drm_type(text).map(|drm| drm.name()),
        Shape::JobStatus => words::job_status(text),
        Shape::Int | Shape::Bool | Shape::Flag | Shape::Number | Shape::Spelled(_) => {
            return Err(Reason::WrongType);
        }
    };
    word.map(|word| Value::Text(word.as_bytes())).ok_or(Reason::BadValue)
}

/// The kept form of a number.
fn number_value(shape: Shape, digits: &[u8]) -> Result<Value<'_>, Reason> {
    match shape {
        Shape::Int | Shape::Flag => integer(digits).map(Value::Int),
        Shape::TextOrInt(max) => bare(digits, max).map(Value::Text),
        Shape::Number if digits.len() > limits::TEXT_BYTES_MAX => Err(Reason::TooLong),
        Shape::Number => Ok(Value::Text(digits)),
        Shape::Time | Shape::End => time(digits).map(|time| Value::Int(time.0)),
        Shape::Label => Ok(Value::Text(digits.get(..limits::TEXT_BYTES_MAX).unwrap_or(digits))),
        Shape::Mode => {
            let word = words::find(MODES, digits).ok_or(Reason::BadValue)?;
            Ok(Value::Text(word.as_bytes()))
        }
        _ => Err(Reason::WrongType),
    }
}

/// The digits of an integer that stands where a text could.
fn bare(digits: &[u8], max: usize) -> Result<&[u8], Reason> {
    match digits {
        _ if is_fraction(digits) => Err(Reason::WrongType),
        _ if digits.len() > max => Err(Reason::TooLong),
        _ => Ok(digits),
    }
}

fn is_fraction(digits: &[u8]) -> bool {
    digits.iter().any(|b| matches!(b, b'.' | b'e' | b'E'))
}

/// An integer of 64 bits, if the number is one.
fn integer(digits: &[u8]) -> Result<i64, Reason> {
    if is_fraction(digits) {
        return Err(Reason::WrongType);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Reason::BadValue)?;
    text.parse().map_err(|_| Reason::BadValue)
}

fn time(digits: &[u8]) -> Result<Timestamp, Reason> {
    integer(digits).ok().and_then(Timestamp::from_epoch).ok_or(Reason::BadTime)
}
