//! A body becomes records: lines, an array, one object, or CloudEvents.

use std::mem;

use super::attributes::Attributes;
use super::fault::{Fault, Pointer};
use super::json::Reader;
use super::media::Media;
use super::pass::{Guess, Pass};
use super::record::{Form, Record};
use crate::model::limits;
use crate::model::reason::Reason;

/// The bounds of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most records in a body.
    pub records: usize,
    /// Longest record, bytes.
    pub record_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: limits::BATCH_RECORDS_MAX, record_bytes: limits::RECORD_BYTES_MAX }
    }
}

/// Why a body was refused as a whole. Records may have been handed out before; the caller drops
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The body is not in its format.
    #[error("the body is not readable as JSON")]
    Unreadable,
    /// The body holds more records than a batch may.
    #[error("the body holds too many records")]
    TooMany,
}

/// Takes the records of a body, one by one, each with its index or why it was refused.
pub type Each<'e, 'a> = &'e mut dyn FnMut(usize, Result<&Record<'a>, Fault<'a>>);

/// Cuts bodies into records and reads them. Keep one per connection or worker: it remembers how
/// producers order their members.
pub struct Decoder {
    limits: Limits,
    guess: Guess,
}

impl Decoder {
    /// A decoder with these bounds.
    pub fn new(limits: Limits) -> Self {
        Self { limits, guess: Guess::new(limits.record_bytes) }
    }

    /// How many bytes were looked at before they were read, since the decoder was made.
    #[cfg(test)]
    pub(super) fn looked_bytes(&self) -> u64 {
        self.guess.looked
    }

    /// Reads a body and hands out each record. Texts are unescaped in place, so the body is not
    /// the same afterwards. Gives the number of records.
    ///
    /// # Errors
    /// When the body cannot be cut into records.
    pub fn decode<'a>(
        &mut self,
        media: Media,
        body: &'a mut [u8],
        each: Each<'_, 'a>,
    ) -> Result<usize, Unfit> {
        match media {
            Media::NdJson => self.lines(body, each),
            Media::Json => self.document(body, each, Form::Plain, true, true),
            Media::CloudEvent => self.document(body, each, Form::Event, true, false),
            Media::CloudEventBatch => self.document(body, each, Form::Event, false, true),
        }
    }

    /// Reads a CloudEvent in binary mode: attributes from headers, and a body that is its data.
    ///
    /// # Errors
    /// When the body cannot be read as a whole.
    pub fn decode_binary<'a>(
        &mut self,
        attributes: &'a Attributes,
        body: &'a mut [u8],
        each: Each<'_, 'a>,
    ) -> Result<usize, Unfit> {
        let too_long = body.len() > self.limits.record_bytes;
        let empty = body.trim_ascii().is_empty();
        let mut record = Record::new();
        let mut reader = Reader::new(body).ok_or(Unfit::Unreadable)?;
        let mut pass = Pass::new(&mut reader, &mut record, &mut self.guess, Form::Binary);
        let verdict = pass.run_binary(attributes, empty).map_err(|_| Unfit::Unreadable)?;
        reader.end().map_err(|_| Unfit::Unreadable)?;
        give(each, 0, &record, verdict, too_long);
        Ok(1)
    }

    fn lines<'a>(&mut self, body: &'a mut [u8], each: Each<'_, 'a>) -> Result<usize, Unfit> {
        let mut record = Record::new();
        let mut rest = body;
        let mut index = 0;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, tail) = mem::take(&mut rest).split_at_mut(end);
            rest = tail;
            let line = match line {
                [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text,
                text => text,
            };
            if line.first().is_none_or(|b| *b <= b' ') && line.trim_ascii().is_empty() {
                continue;
            }
            if index >= self.limits.records {
                return Err(Unfit::TooMany);
            }
            let too_long = line.len() > self.limits.record_bytes;
            let verdict = self.line(line, &mut record);
            give(each, index, &record, verdict, too_long);
            index += 1;
        }
        Ok(index)
    }

    fn line<'a>(&mut self, line: &'a mut [u8], record: &mut Record<'a>) -> Result<(), Fault<'a>> {
        let Some(mut reader) = Reader::new(line) else {
            record.clear(Form::Plain);
            return Err(Pass::broken(record));
        };
        let verdict = Pass::new(&mut reader, record, &mut self.guess, Form::Plain).run();
        match verdict {
            Ok(verdict) if reader.end().is_ok() => verdict,
            _ => Err(Pass::broken(record)),
        }
    }

    /// Reads a JSON text that is one record, or an array of them.
    fn document<'a>(
        &mut self,
        body: &'a mut [u8],
        each: Each<'_, 'a>,
        form: Form,
        one: bool,
        many: bool,
    ) -> Result<usize, Unfit> {
        let mut reader = Reader::new(body).ok_or(Unfit::Unreadable)?;
        let mut record = Record::new();
        let mut index = 0;
        match reader.peek() {
            b'{' if one => {
                self.element(&mut reader, &mut record, each, form, 0)?;
                index = 1;
            }
            b'[' if many => {
                reader.take(b'[');
                let mut more = !reader.take(b']');
                while more {
                    if index >= self.limits.records {
                        return Err(Unfit::TooMany);
                    }
                    self.element(&mut reader, &mut record, each, form, index)?;
                    index += 1;
                    more = reader.more(b']').map_err(|_| Unfit::Unreadable)?;
                }
            }
            _ => return Err(Unfit::Unreadable),
        }
        reader.end().map_err(|_| Unfit::Unreadable)?;
        Ok(index)
    }

    fn element<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        record: &mut Record<'a>,
        each: Each<'_, 'a>,
        form: Form,
        index: usize,
    ) -> Result<(), Unfit> {
        reader.peek();
        let start = reader.position();
        let mut pass = Pass::new(reader, record, &mut self.guess, form);
        let verdict = pass.run().map_err(|_| Unfit::Unreadable)?;
        let too_long = reader.position() - start > self.limits.record_bytes;
        give(each, index, record, verdict, too_long);
        Ok(())
    }
}

/// Hands out a record or its fault. A record over its size is refused for that before all else.
fn give<'a>(
    each: Each<'_, 'a>,
    index: usize,
    record: &Record<'a>,
    verdict: Result<(), Fault<'a>>,
    too_long: bool,
) {
    let verdict = match verdict {
        _ if too_long => Err(record.fault_at(Reason::TooLong, Pointer::ROOT)),
        Ok(()) => Ok(record),
        Err(fault) => Err(fault),
    };
    each(index, verdict);
}
