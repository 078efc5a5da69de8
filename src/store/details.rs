//! The details of one row that was read back from a block: fields and their values, one after the
//! other.
//!
//! `field code (1) ‖ form (1) ‖ value`; the form says how the value is written.

use super::codec::{Corrupt, Put, Reader};
use crate::model::batch::{DeviceTag, Item};
use crate::model::ids::Tag;
use crate::model::vocab::{DeviceKind, Quality, Scope};

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Number = 0,
    Text = 1,
    Uuid = 2,
    Tag = 3,
    Device = 4,
    /// A text by its number in a list of words; in the journal only (`store::shapes`).
    Word = 5,
}

impl Form {
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Number,
            1 => Self::Text,
            2 => Self::Uuid,
            3 => Self::Tag,
            4 => Self::Device,
            5 => Self::Word,
            _ => return None,
        })
    }
}

/// Adds a field to a row's details.
pub fn push(out: &mut Vec<u8>, field: u8, item: Item<'_>) {
    out.push(field);
    match item {
        Item::Number(number) => {
            out.push(Form::Number as u8);
            out.zigzag(number);
        }
        Item::Text(text) => {
            out.push(Form::Text as u8);
            out.prefixed(text);
        }
        Item::Uuid(bytes) => {
            out.push(Form::Uuid as u8);
            out.extend_from_slice(&bytes);
        }
        Item::Tag(tag) => {
            out.push(Form::Tag as u8);
            out.extend_from_slice(&tag.0);
        }
        Item::Device(device) => {
            out.push(Form::Device as u8);
            out.extend_from_slice(&device_head(&device));
            out.extend_from_slice(&device.tag.0);
        }
    }
}

/// What stands before a device's tag, bytes.
pub(super) const DEVICE_HEAD_BYTES: usize = 3;

/// The bytes before a device's tag.
pub(super) fn device_head(device: &DeviceTag) -> [u8; DEVICE_HEAD_BYTES] {
    let recommended = if device.recommended { 0x80 } else { 0 };
    [device.kind.code(), device.quality.code() | recommended, device.scope.code()]
}

/// Reads back what [`device_head`] wrote.
pub(super) fn device(head: [u8; DEVICE_HEAD_BYTES], tag: Tag) -> Option<DeviceTag> {
    Some(DeviceTag {
        kind: DeviceKind::from_code(head[0])?,
        quality: Quality::from_code(head[1] & 0x7f)?,
        scope: Scope::from_code(head[2])?,
        recommended: head[1] & 0x80 != 0,
        tag,
    })
}

/// The fields of a row's details, in their order.
pub fn items(details: &[u8]) -> impl Iterator<Item = Result<(u8, Item<'_>), Corrupt>> {
    let mut reader = Reader::new("details", details);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let item = read(&mut reader);
        if item.is_err() {
            reader = Reader::new("details", &[]);
        }
        Some(item)
    })
}

fn read<'a>(reader: &mut Reader<'a>) -> Result<(u8, Item<'a>), Corrupt> {
    let (field, form) = read_kind(reader)?;
    let item = match form {
        Form::Number => Item::Number(reader.zigzag()?),
        Form::Text => Item::Text(reader.prefixed()?),
        Form::Uuid => Item::Uuid(reader.array()?),
        Form::Tag => Item::Tag(reader.tag()?),
        Form::Device => {
            let head = reader.array()?;
            Item::Device(device(head, reader.tag()?).ok_or(reader.corrupt())?)
        }
        Form::Word => return Err(reader.corrupt()),
    };
    Ok((field, item))
}

/// The field code and form of the next value.
pub(super) fn read_kind(reader: &mut Reader<'_>) -> Result<(u8, Form), Corrupt> {
    let [field, form] = reader.array()?;
    Ok((field, Form::from_code(form).ok_or(reader.corrupt())?))
}

/// The field code of the user's record tag, always the first field of a row that has one.
pub const USER: u8 = 0;
/// Bytes of a tag and of a UUID.
pub(super) const TAG_BYTES: usize = 16;

/// The 16 bytes of a UUID in its usual text (lower case, 8-4-4-4-12), so that writing them back
/// gives the same text; `None` for any other text.
pub fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut bytes = [0; 16];
    // The digits that are none have the upper bits set, and those are looked at once.
    let mut upper = 0;
    for (byte, at) in bytes.iter_mut().zip(UUID_DIGITS) {
        let (high, low) = (HEX[usize::from(text[at])], HEX[usize::from(text[at + 1])]);
        upper |= high | low;
        *byte = high << 4 | low & 15;
    }
    (upper < 16).then_some(bytes)
}

/// Where the digits of each byte stand.
const UUID_DIGITS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The values of the digits 0–9 and a–f; 255 for every other byte.
const HEX: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        let digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        table[digit as usize] = value;
        value += 1;
    }
    table
};

/// The text of a UUID.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = data_encoding::HEXLOWER.encode(&bytes);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn uuid_text_round_trips(bytes in any::<[u8; 16]>()) {
            let text = uuid_text(bytes);
            prop_assert_eq!(uuid(text.as_bytes()), Some(bytes));
            prop_assert_eq!(uuid(text.to_uppercase().as_bytes()).is_some(),
                !text.bytes().any(|b| b.is_ascii_alphabetic()));
        }
    }
}
