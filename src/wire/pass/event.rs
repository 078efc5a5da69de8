//! The attributes of a CloudEvent (CloudEvents 1.0, JSON event format and HTTP binding).

use super::{Kind, Pass};
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::vocab::RecordType;
use crate::wire::attributes::{Attributes, is_json};
use crate::wire::fault::{Fault, Part, Pointer};
use crate::wire::json::Broken;
use crate::wire::schema::{Room, Rule};

impl<'a> Pass<'a, '_> {
    /// Takes an attribute that is text.
    #[inline(never)]
    pub(super) fn attribute_text(&mut self, rule: Rule, text: &'a [u8]) {
        match rule {
            Rule::SpecVersion if text == b"1.0" => self.met.spec = true,
            Rule::EventAttributeId | Rule::Source | Rule::EventAttributeType if text.is_empty() => {
                self.note(Reason::BadCloudEvent);
            }
            Rule::EventAttributeId => {
                self.record.event_id = text;
                self.met.event_id = true;
            }
            Rule::Source => {
                self.record.producer = Some(text);
                self.met.source = true;
            }
            Rule::EventAttributeType => match RecordType::from_name(text) {
                Some(kind) => {
                    self.kind = Kind::Known(kind);
                    self.met.kind = true;
                }
                None => {
                    self.kind = Kind::None;
                    self.note(Reason::UnknownType);
                }
            },
            Rule::Subject => self.subject = Some(text),
            Rule::EventTime => self.event_time(text),
            Rule::DataContentType if is_json(text) => {}
            Rule::Ignored => {}
            _ => self.note(Reason::BadCloudEvent),
        }
    }

    /// Reads the `data` of an event: the rest of the record.
    pub(super) fn data(&mut self) -> Result<(), Broken> {
        if self.kind == Kind::Unread {
            self.find_type();
        }
        // The object counts its own level.
        self.path.push(Part::Name(self.entry.name));
        self.record_object()?;
        self.path.pop();
        Ok(())
    }

    /// `subject` stands in for `data.site_id`.
    pub(super) fn take_subject(&mut self) {
        let Some(subject) = self.subject else { return };
        self.met.site = true;
        if subject.len() > limits::SITE_ID_BYTES_MAX {
            self.fault.get_or_insert((Reason::TooLong, Pointer::of("subject")));
        } else {
            self.record.site_id = subject;
        }
    }

    /// Reads a CloudEvent whose attributes came as headers and whose body is its data.
    pub(in crate::wire) fn run_binary(
        &mut self,
        attributes: &'a Attributes,
        empty: bool,
    ) -> Result<Result<(), Fault<'a>>, Broken> {
        if attributes.unfit {
            self.fault = Some((Reason::BadCloudEvent, Pointer::ROOT));
        }
        let table = self.schemas.table(Room::Event);
        for (name, text) in attributes.texts() {
            let (Some(entry), Some(text)) = (table.find(name.as_bytes()), text) else { continue };
            self.entry = entry;
            if text.len() > entry.text_max {
                self.note(Reason::TooLong);
            } else {
                self.attribute_text(entry.rule, text);
            }
        }
        if self.kind == Kind::Unread {
            self.kind = Kind::None;
        }
        if empty { Ok(self.finish()) } else { self.run() }
    }
}
