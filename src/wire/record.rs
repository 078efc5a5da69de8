//! A record as it came in: it borrows every text from the body, and its ids are still raw.

use std::fmt;
use std::ops::Deref;

use super::fault::{Fault, Part, Pointer, printable};
use crate::identity::{OtherKind, PayloadEncoding, RawId};
use crate::model::field::{ErrorClass, Field};
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::vocab::{
    DeviceKind, DrmType, Environment, IdEncoding, LicenseType, Outcome, RecordType, RequestType,
    UserKind,
};

/// A value that is kept as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text; also a number with a fraction, in its own digits.
    Text(&'a [u8]),
    /// An integer, a truth (0 or 1), or a time in milliseconds since 1970.
    Int(i64),
}

/// A device id as it came.
#[derive(Clone, Copy, Debug)]
pub struct RawDevice<'a> {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its value.
    pub value: RawId<'a>,
    /// How the value is to be read, where that is ambiguous.
    pub encoding: Option<IdEncoding>,
}

/// The device ids of a record, eight at most.
#[derive(Clone, Copy, Debug)]
pub struct Devices<'a> {
    list: [RawDevice<'a>; limits::DEVICE_IDS_MAX],
    length: usize,
}

impl<'a> Devices<'a> {
    const fn new(empty: RawId<'a>) -> Self {
        let device = RawDevice { kind: DeviceKind::Opaque, value: empty, encoding: None };
        Self { list: [device; limits::DEVICE_IDS_MAX], length: 0 }
    }

    /// Adds a device id; `false` when the list is full.
    pub(super) fn push(&mut self, device: RawDevice<'a>) -> bool {
        let slot = self.list.get_mut(self.length);
        let fits = slot.is_some();
        if let Some(slot) = slot {
            *slot = device;
            self.length += 1;
        }
        fits
    }
}

impl<'a> Deref for Devices<'a> {
    type Target = [RawDevice<'a>];

    fn deref(&self) -> &Self::Target {
        self.list.get(..self.length).unwrap_or_default()
    }
}

/// How a record was wrapped; it decides how its members are pointed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A plain object.
    Plain,
    /// A structured CloudEvent, or an element of a batch of them.
    Event,
    /// A CloudEvent whose attributes came as headers.
    Binary,
}

/// Which members of a CloudEvent came in its data although an attribute could have carried them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InData {
    /// `data.site_id`
    pub site: bool,
    /// `data.occurred_at`
    pub time: bool,
}

/// A record that passed the schema. It borrows from the body; the next record overwrites it.
pub struct Record<'a> {
    /// Its id in the producer's words, 1 to 64 bytes.
    pub event_id: &'a [u8],
    /// Its type.
    pub kind: RecordType,
    /// The site as it was named, at most 64 bytes; nobody has looked it up yet.
    pub site_id: &'a [u8],
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The producer as it was named; the credential's name stands in for none.
    pub producer: Option<&'a [u8]>,
    /// Where it comes from.
    pub environment: Environment,
    /// How it ended; always there for an issued licence.
    pub outcome: Option<Outcome>,
    /// The error code.
    pub error_code: Option<&'a [u8]>,
    /// The error class.
    pub error_class: Option<ErrorClass>,
    /// The content id.
    pub cid: Option<&'a [u8]>,
    /// The DRM system; none counts as other.
    pub drm_type: Option<DrmType>,
    /// What the licence request asked for.
    pub request_type: Option<RequestType>,
    /// Whether the licence may be kept.
    pub license_type: Option<LicenseType>,
    /// The end user.
    pub user_id: Option<RawId<'a>>,
    /// What the user id stands for.
    pub user_id_kind: Option<UserKind>,
    /// The device ids.
    pub devices: Devices<'a>,
    /// The index of the device id to count, where the producer named one that is there.
    pub device_recommended: Option<u8>,
    /// Whether the device is a desktop or its browser.
    pub desktop: bool,
    /// How the record was wrapped.
    pub form: Form,
    /// Whether site and time of a CloudEvent came in its data and not as attributes.
    pub(super) in_data: InData,
    /// Values to keep, in the order they came; the elements of a list repeat their field.
    pub stored: Vec<(Field, Value<'a>)>,
    /// Identifying values, to be kept as pseudonyms only; [`namespace`] says of which kind.
    pub raw: Vec<(Field, RawId<'a>)>,
    /// How the payload is written.
    pub payload_encoding: Option<PayloadEncoding>,
}

/// The namespace of the pseudonym of an identifying field; `None` for users, devices and fields
/// that identify nobody.
pub const fn namespace(field: Field) -> Option<OtherKind> {
    Some(match field {
        Field::LicenseRequestId => OtherKind::LicenseRequest,
        Field::SessionId => OtherKind::Session,
        Field::OrderId => OtherKind::Order,
        Field::OperatorId => OtherKind::Operator,
        Field::RecipientId => OtherKind::Recipient,
        Field::DistributorId => OtherKind::Distributor,
        Field::DwmId => OtherKind::Dwm,
        Field::WmSessionId | Field::MatchedSessionId => OtherKind::WmSession,
        Field::Wmid => OtherKind::Wmid,
        Field::ForensicMark => OtherKind::ForensicMark,
        // A detection's token is the payload of the session, and must join with it.
        Field::Payload | Field::WatermarkToken => OtherKind::Payload,
        _ => return None,
    })
}

impl<'a> Record<'a> {
    pub(super) fn new() -> Self {
        Self {
            event_id: &[],
            kind: RecordType::LicenseIssued,
            site_id: &[],
            occurred_at: Timestamp(0),
            producer: None,
            environment: Environment::Production,
            outcome: None,
            error_code: None,
            error_class: None,
            cid: None,
            drm_type: None,
            request_type: None,
            license_type: None,
            user_id: None,
            user_id_kind: None,
            devices: Devices::new(RawId::new(&[])),
            device_recommended: None,
            desktop: false,
            form: Form::Plain,
            in_data: InData::default(),
            stored: Vec::new(),
            raw: Vec::new(),
            payload_encoding: None,
        }
    }

    /// Makes the record empty again, and keeps its room.
    pub(super) fn clear(&mut self, form: Form) {
        self.event_id = &[];
        self.kind = RecordType::LicenseIssued;
        self.site_id = &[];
        self.occurred_at = Timestamp(0);
        self.producer = None;
        self.environment = Environment::Production;
        self.outcome = None;
        self.error_code = None;
        self.error_class = None;
        self.cid = None;
        self.drm_type = None;
        self.request_type = None;
        self.license_type = None;
        self.user_id = None;
        self.user_id_kind = None;
        self.devices.length = 0;
        self.device_recommended = None;
        self.desktop = false;
        self.form = form;
        self.in_data = InData::default();
        self.stored.clear();
        self.raw.clear();
        self.payload_encoding = None;
    }

    /// The fault of a record that passed the schema and fails a later check: its site, its producer
    /// or its time. The pointer names the member as the caller wrote it.
    pub fn fault(&self, reason: Reason) -> Fault<'a> {
        let (in_data, member, attribute) = match reason {
            Reason::UnknownSite | Reason::SiteTerminated => {
                (self.in_data.site, "site_id", "subject")
            }
            Reason::ProducerNotAllowed => (false, "producer", "source"),
            Reason::BadTime | Reason::TooOld | Reason::InFuture => {
                (self.in_data.time, "occurred_at", "time")
            }
            _ => return self.fault_at(reason, Pointer::ROOT),
        };
        let pointer = match self.form {
            Form::Plain => Pointer::of(member),
            Form::Event if in_data => Pointer::of("data").with(Part::Name(member)),
            Form::Binary if in_data => Pointer::of(member),
            Form::Event | Form::Binary => Pointer::of(attribute),
        };
        self.fault_at(reason, pointer)
    }

    pub(super) fn fault_at(&self, reason: Reason, pointer: Pointer) -> Fault<'a> {
        Fault { reason, pointer, event_id: printable(self.event_id) }
    }
}

impl fmt::Debug for Record<'_> {
    /// The type only: a record is full of what must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({})", self.kind)
    }
}
