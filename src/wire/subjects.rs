//! What the desk of people reads and answers. A request holds a raw id: it stays where it is in the
//! body, unread, until `identity` takes it, and the body is wiped by whoever has it. An answer
//! holds numbers, months and words.

use serde_json::{Value, json};

use super::admin::Form;
use super::fault::{Flaw, Pointer};
use crate::identity::RawId;
use crate::model::ids::SiteId;
use crate::model::limits::{DEVICE_ID_BYTES_MAX, USER_ID_BYTES_MAX};
use crate::model::reason::Reason;
use crate::model::time::Month;
use crate::model::vocab::DeviceKind;

/// Longest word of a closed list, bytes.
const WORD_BYTES_MAX: usize = 48;
/// The largest number of a ledger entry that a request may name.
const ENTRY_MAX: u64 = 1 << 53;

/// Why somebody is erased; the first is what is meant where nothing is said.
const GROUNDS: [&str; 4] = ["person_request", "consent_withdrawn", "unlawful", "site_request"];

/// Who a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A user.
    User(RawId<'a>),
    /// A device.
    Device(DeviceKind, RawId<'a>),
}

/// The body of `POST /v1/sites/{site_id}/subjects/erase`.
#[derive(Clone, Copy, Debug)]
pub struct EraseRequest<'a> {
    /// Who.
    pub subject: Subject<'a>,
    /// Whether later records of the user are not kept either.
    pub suppress: bool,
    /// Why; one of a closed list.
    pub ground: &'static str,
    /// An erasure that was lost with the data, and that this one repeats.
    pub repeats: Option<u64>,
}

impl<'a> EraseRequest<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &'a mut [u8]) -> Result<Self, Flaw> {
        let (mut user, mut device, mut suppress) = (None, None, None);
        let (mut ground, mut repeats) = (None, None);
        Form::read(body, |form, name| match name {
            b"user_id" => form.member("user_id", |form| {
                user = Some(form.raw(USER_ID_BYTES_MAX)?);
                Ok(())
            }),
            b"device" => form.member("device", |form| {
                device = Some(read_device(form)?);
                Ok(())
            }),
            b"suppress" => form.flag("suppress", &mut suppress),
            b"ground" => form.member("ground", |form| {
                ground = form.optional(read_ground)?;
                Ok(())
            }),
            b"repeats" => form.member("repeats", |form| {
                repeats = form.optional(|form| form.count(0..=ENTRY_MAX))?;
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        let flaw = |reason, name| Flaw { reason, pointer: Pointer::of(name) };
        let subject = match (user, device) {
            (Some(user), None) => Subject::User(user),
            (None, Some((kind, value))) => Subject::Device(kind, value),
            (None, None) => return Err(flaw(Reason::MissingField, "user_id")),
            (Some(_), Some(_)) => return Err(flaw(Reason::BadValue, "device")),
        };
        let suppress = suppress.unwrap_or(false);
        // Records are counted by user: a device that is suppressed would take its users with it.
        if suppress && matches!(subject, Subject::Device(..)) {
            return Err(flaw(Reason::BadValue, "suppress"));
        }
        Ok(Self { subject, suppress, ground: ground.unwrap_or(GROUNDS[0]), repeats })
    }
}

fn read_ground(form: &mut Form<'_>) -> Result<&'static str, Flaw> {
    let text = form.text(0, WORD_BYTES_MAX)?;
    let known = GROUNDS.iter().find(|known| **known == text).copied();
    known.ok_or_else(|| form.flaw(Reason::BadValue))
}

fn read_device<'a>(form: &mut Form<'a>) -> Result<(DeviceKind, RawId<'a>), Flaw> {
    let (mut kind, mut value) = (None, None);
    form.object(&mut |form, name| match name {
        b"kind" => form.member("kind", |form| {
            let text = form.text(0, WORD_BYTES_MAX)?;
            let known = DeviceKind::from_name(text.as_bytes());
            kind = Some(known.ok_or_else(|| form.flaw(Reason::BadValue))?);
            Ok(())
        }),
        b"value" => form.member("value", |form| {
            value = Some(form.raw(DEVICE_ID_BYTES_MAX)?);
            Ok(())
        }),
        _ => Err(form.unknown()),
    })?;
    kind.zip(value).ok_or_else(|| form.flaw(Reason::MissingField))
}

/// What became of an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureView {
    /// The ledger's number of its intent, and its own.
    pub number: u64,
    /// The site.
    pub site: SiteId,
    /// `done`, or what is waited for: `waiting_for_hold`, `waiting_for_copies`,
    /// `waiting_for_backfill`, `pending`.
    pub state: &'static str,
    /// The months whose records were searched.
    pub months: Vec<Month>,
    /// The months of the site whose keys are gone, so that nobody's records in them can be told.
    pub not_attributable: Vec<Month>,
    /// Records that are erased.
    pub records: u64,
    /// Blocks that were sealed anew.
    pub blocks: u64,
    /// Keys that were destroyed.
    pub keys: u64,
    /// Class and epoch of what is on hold.
    pub held: Vec<(&'static str, String)>,
    /// Whether later records of the person are not kept either.
    pub suppressed: bool,
}

fn names(months: &[Month]) -> Vec<String> {
    months.iter().map(Month::to_string).collect()
}

impl ErasureView {
    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let held = |(class, epoch): &(&str, String)| json!({ "class": class, "epoch": epoch });
        let held: Vec<Value> = self.held.iter().map(held).collect();
        let value = json!({
            "ledger_entry": self.number,
            "site_id": self.site.as_str(),
            "state": self.state,
            "months": names(&self.months),
            "not_attributable": names(&self.not_attributable),
            "records_erased": self.records,
            "blocks_sealed_anew": self.blocks,
            "keys_destroyed": self.keys,
            "held": held,
            "suppressed": self.suppressed,
        });
        value.to_string().into_bytes()
    }
}

/// An erasure that has not ended, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingView {
    /// Its number.
    pub number: u64,
    /// `pending`, or `lost`: it must be repeated.
    pub state: &'static str,
    /// The months whose records are searched.
    pub months: Vec<Month>,
}

fn standing(of: &StandingView) -> Value {
    json!({ "ledger_entry": of.number, "state": of.state, "months": names(&of.months) })
}

/// The list as JSON.
pub fn standing_to_json(all: &[StandingView]) -> Vec<u8> {
    let items: Vec<Value> = all.iter().map(standing).collect();
    json!({ "items": items }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Reason, String) {
        let flaw = EraseRequest::parse(&mut text.as_bytes().to_vec()).unwrap_err();
        (flaw.reason, flaw.pointer.to_string())
    }

    #[test]
    fn a_request_names_one_user_or_one_device() {
        let mut body =
            br#"{"user_id":"a","suppress":true,"ground":"unlawful","repeats":7}"#.to_vec();
        let read = EraseRequest::parse(&mut body).unwrap();
        assert!(matches!(read.subject, Subject::User(raw) if raw.len() == 1));
        assert_eq!((read.suppress, read.ground, read.repeats), (true, "unlawful", Some(7)));
        let mut body = br#"{"device":{"value":"ab","kind":"android_id"}}"#.to_vec();
        let read = EraseRequest::parse(&mut body).unwrap();
        let Subject::Device(DeviceKind::AndroidId, raw) = read.subject else { panic!() };
        assert_eq!((raw.len(), read.suppress, read.ground), (2, false, "person_request"));
        let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(USER_ID_BYTES_MAX + 1));
        for (text, reason, pointer) in [
            ("{}", Reason::MissingField, "/user_id"),
            (
                r#"{"user_id":"a","device":{"kind":"imei","value":"1"}}"#,
                Reason::BadValue,
                "/device",
            ),
            (r#"{"user_id":"a","user_id":"b"}"#, Reason::DuplicateField, "/user_id"),
            (r#"{"user_id":7}"#, Reason::WrongType, "/user_id"),
            (&long, Reason::TooLong, "/user_id"),
            (r#"{"device":{"kind":"nothing","value":"1"}}"#, Reason::BadValue, "/device/kind"),
            (r#"{"device":{"kind":"imei"}}"#, Reason::MissingField, "/device"),
            (r#"{"user_id":"a","ground":"whim"}"#, Reason::BadValue, "/ground"),
            (r#"{"user_id":"a","more":1}"#, Reason::UnknownField, ""),
            (
                r#"{"device":{"kind":"imei","value":"1"},"suppress":true}"#,
                Reason::BadValue,
                "/suppress",
            ),
        ] {
            assert_eq!(refused(text), (reason, pointer.to_owned()), "{text}");
        }
    }
}
