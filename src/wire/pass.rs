//! One pass over one record: each member is looked up in the schema and becomes a part of the
//! [`Record`]. After the first fault the pass goes on, so that the event id is found and the text
//! is known to be JSON to its end.

use super::fault::{Fault, Part, Pointer};
use super::json::{Broken, Reader};
use super::record::{Form, Record};
use super::schema::{self, ENVELOPE, Entry, NOTHING, ROOMS, Room, Rule, Schemas, Table};
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::vocab::RecordType;

mod device;
mod event;
mod values;

/// Members of one table are numbered below this, so that a mask of them fits 64 bits.
const NUMBERS: usize = 64;

/// The order in which members came in earlier records: for each member of each object, the two
/// that followed it last (what is optional stands between others). Producers write all their
/// records alike, so a guess is nearly always right, and a right guess costs one comparison.
pub(super) struct Guess {
    next: [[[&'static Entry; 2]; NUMBERS]; ROOMS],
    kind: RecordType,
    /// Whether a space stands after each colon.
    spaced: bool,
    /// Finds the name of the type.
    finder: memchr::memmem::Finder<'static>,
    /// The longest record, bytes: nothing is looked for behind it.
    record_bytes: usize,
    /// How many bytes were looked at ahead of reading. For tests of the work that a body makes.
    pub(super) looked: u64,
}

impl Guess {
    pub(super) fn new(record_bytes: usize) -> Self {
        Self {
            next: [[[Schemas::get().nothing(); 2]; NUMBERS]; ROOMS],
            kind: RecordType::LicenseIssued,
            spaced: false,
            finder: memchr::memmem::Finder::new("\"type\""),
            record_bytes,
            looked: 0,
        }
    }

    #[inline(always)]
    fn after(&mut self, room: Room, number: u8) -> &mut [&'static Entry; 2] {
        // In range: the rooms are as many as the rows, and the number is masked.
        &mut self.next[room as usize][usize::from(number) % NUMBERS]
    }
}

/// An object while its members are read.
#[derive(Clone, Copy)]
struct Scope {
    room: Room,
    table: &'static Table,
    /// The members that were met.
    seen: u64,
    /// The member that was met last.
    last: u8,
    /// Members below this number are those of the table, whatever type the record turns out to be.
    sure: u8,
}

/// Every member of the table is sure (and [`NOTHING`] is not).
const NUMBERS_END: u8 = NOTHING;
/// Only the members of the envelope are sure.
const ENVELOPE_END: u8 = ENVELOPE.len() as u8;

/// What is known of the record's type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing yet.
    Unread,
    /// Read, or found by looking ahead.
    Known(RecordType),
    /// There is none that could be used.
    None,
}

/// Required members that were met.
#[derive(Clone, Copy, Default)]
struct Met {
    event_id: bool,
    kind: bool,
    site: bool,
    time: bool,
    spec: bool,
    source: bool,
}

/// The state of a pass.
pub(super) struct Pass<'a, 'r> {
    reader: &'r mut Reader<'a>,
    record: &'r mut Record<'a>,
    guess: &'r mut Guess,
    schemas: &'static Schemas,
    kind: Kind,
    met: Met,
    subject: Option<&'a [u8]>,
    path: Pointer,
    level: u32,
    deep: bool,
    entry: &'static Entry,
    once: [u128; 2],
    draft: device::Draft<'a>,
    /// The content id, which may still have to be decoded.
    cid: Option<&'a mut [u8]>,
    /// The length of a payload that is too long for some encodings, and where it stands.
    long_payload: Option<(usize, Pointer)>,
    fault: Option<(Reason, Pointer)>,
    missing: Option<(Reason, Pointer)>,
}

impl<'a, 'r> Pass<'a, 'r> {
    pub(super) fn new(
        reader: &'r mut Reader<'a>,
        record: &'r mut Record<'a>,
        guess: &'r mut Guess,
        form: Form,
    ) -> Self {
        record.clear(form);
        let schemas = Schemas::get();
        Self {
            reader,
            record,
            guess,
            schemas,
            kind: Kind::Unread,
            met: Met::default(),
            subject: None,
            path: Pointer::ROOT,
            level: 0,
            deep: false,
            entry: schemas.nothing(),
            once: [0; 2],
            draft: device::Draft::default(),
            cid: None,
            long_payload: None,
            fault: None,
            missing: None,
        }
    }

    /// Reads one record or event, whatever value comes next.
    ///
    /// When the text is broken the reader cannot go on; the caller decides what that means for the
    /// rest of the body. It comes before any other fault: what is no JSON has no members.
    pub(super) fn run(&mut self) -> Result<Result<(), Fault<'a>>, Broken> {
        let is_object = self.reader.peek() == b'{';
        match self.record.form {
            _ if !is_object => self.skip()?,
            Form::Plain | Form::Binary => self.record_object()?,
            Form::Event => {
                self.level += 1;
                self.object(Room::Event)?;
            }
        }
        if self.deep || !is_object {
            self.fault = Some((Reason::BadJson, Pointer::ROOT));
        }
        Ok(self.finish())
    }

    /// Reads over a value.
    fn skip(&mut self) -> Result<(), Broken> {
        let levels = self.reader.skip()?;
        self.deep |= (levels + self.level) as usize > limits::JSON_DEPTH_MAX;
        Ok(())
    }

    /// The fault of a record whose text was broken.
    pub(super) fn broken(record: &Record<'a>) -> Fault<'a> {
        record.fault_at(Reason::BadJson, Pointer::ROOT)
    }

    fn finish(&mut self) -> Result<(), Fault<'a>> {
        if self.record.form != Form::Plain && !self.met.site {
            self.take_subject();
        }
        self.settle();
        if let Some((reason, pointer)) = self.fault.or_else(|| self.first_missing()) {
            return Err(self.record.fault_at(reason, pointer));
        }
        if let Kind::Known(kind) = self.kind {
            self.record.kind = kind;
            self.guess.kind = kind;
        }
        let ids = self.record.devices.len();
        self.record.device_recommended =
            self.record.device_recommended.filter(|index| usize::from(*index) < ids);
        Ok(())
    }

    /// Where a member of the record's own object stands.
    fn in_data(&self, name: &'static str) -> Pointer {
        match self.record.form {
            Form::Event => Pointer::of("data").with(Part::Name(name)),
            Form::Plain | Form::Binary => Pointer::of(name),
        }
    }

    fn first_missing(&self) -> Option<(Reason, Pointer)> {
        let (met, record) = (&self.met, &self.record);
        let outcome =
            record.outcome.is_some() || self.kind != Kind::Known(RecordType::LicenseIssued);
        let event = record.form != Form::Plain;
        let all = met.event_id
            && met.kind
            && met.site
            && met.time
            && outcome
            && (!event || met.spec && met.source);
        if all || self.missing.is_some() {
            return self.missing;
        }
        let in_data = |name| self.in_data(name);
        let bad = if event { Reason::BadCloudEvent } else { Reason::MissingField };
        let missing = Reason::MissingField;
        let either = |plain, attribute| Pointer::of(if event { attribute } else { plain });
        [
            (!event || met.spec, bad, Pointer::of("specversion")),
            (met.event_id, bad, either("event_id", "id")),
            (met.kind, bad, Pointer::of("type")),
            (!event || met.source, bad, Pointer::of("source")),
            (met.site, missing, in_data("site_id")),
            (met.time, missing, either("occurred_at", "time")),
            (outcome, missing, in_data("outcome")),
        ]
        .into_iter()
        .find(|(there, ..)| !there)
        .map(|(_, reason, pointer)| (reason, pointer))
    }

    /// Notes a fault at the member being read. The first one counts.
    #[cold]
    fn note(&mut self, reason: Reason) {
        let pointer = self.path.with(Part::Name(self.entry.name));
        self.fault.get_or_insert((reason, pointer));
    }

    /// Notes a fault at the object or element being read.
    #[cold]
    fn note_here(&mut self, reason: Reason) {
        self.fault.get_or_insert((reason, self.path));
    }

    /// Notes that a required member of a nested object is missing; such faults come last.
    #[cold]
    fn note_missing(&mut self, name: &'static str) {
        let pointer = self.path.with(Part::Name(name));
        self.missing.get_or_insert((Reason::MissingField, pointer));
    }

    /// Notes a fault at the member being read and reads over its value.
    #[cold]
    fn refuse(&mut self, reason: Reason) -> Result<(), Broken> {
        self.note(reason);
        self.skip()
    }

    /// Refuses a member that no table knows.
    #[cold]
    fn refuse_unknown(&mut self, name: &[u8], ignore: bool) -> Result<(), Broken> {
        match schema::secret(name) {
            Some(secret) => {
                let pointer = self.path.with(Part::Name(secret));
                self.fault.get_or_insert((Reason::SecretField, pointer));
            }
            None if ignore => {}
            None => self.note_here(Reason::UnknownField),
        }
        self.skip()
    }

    /// Goes down to the member being read.
    fn enter(&mut self) {
        self.path.push(Part::Name(self.entry.name));
        self.level += 1;
    }

    fn leave(&mut self) {
        self.level -= 1;
        self.path.pop();
    }

    /// Reads a nested object, whose members stand in one table.
    fn object(&mut self, room: Room) -> Result<(), Broken> {
        let table = self.schemas.table(room);
        self.members(Scope { room, table, seen: 0, last: NOTHING, sure: NUMBERS_END })
    }

    /// Reads a record.
    fn record_object(&mut self) -> Result<(), Broken> {
        let seen = if self.record.form == Form::Plain { 0 } else { reserved() };
        let (room, table) = (Room::LicenseIssued, self.schemas.table(Room::LicenseIssued));
        let scope = Scope { room, table, seen, last: NOTHING, sure: 0 };
        let scope = self.with_type(scope);
        self.level += 1;
        self.members(scope)?;
        self.level -= 1;
        Ok(())
    }

    /// Sets the table of a record by what is known of its type. Members of the envelope have the
    /// same numbers in the tables of all types; before the first other one the type must be known.
    fn with_type(&self, scope: Scope) -> Scope {
        let (kind, sure) = match self.kind {
            Kind::Known(kind) => (kind, NUMBERS_END),
            Kind::Unread | Kind::None => (self.guess.kind, ENVELOPE_END),
        };
        let room = Room::of(kind);
        Scope { room, table: self.schemas.table(room), sure, ..scope }
    }

    /// Reads the members of an object. Here is the way of nearly all of them: the guessed member,
    /// written as guessed. The reader is held in registers and handed over for what is rare.
    fn members(&mut self, mut scope: Scope) -> Result<(), Broken> {
        let mut reader = self.reader.lift();
        reader.take(b'{');
        let mut more = !reader.take(b'}');
        while more {
            let [first, second] = *self.guess.after(scope.room, scope.last);
            let spaced = usize::from(self.guess.spaced);
            let mut entry = first;
            let mut is_next = reader.is_next(&entry.begins[spaced]);
            if !is_next {
                entry = second;
                is_next = reader.is_next(&entry.begins[spaced]);
            }
            let bit = 1u64 << (entry.number % 64);
            if is_next && scope.seen & bit == 0 && entry.number < scope.sure {
                reader.pass(&entry.begins[spaced]);
                scope.seen |= bit;
                scope.last = entry.number;
                self.entry = entry;
                if entry.is_text {
                    self.take(entry, reader.string_body()?);
                } else {
                    *self.reader = reader;
                    self.take_other(entry.rule)?;
                    reader = self.reader.lift();
                }
            } else {
                *self.reader = reader;
                scope = self.member_slow(scope)?;
                reader = self.reader.lift();
            }
            if scope.sure == ENVELOPE_END {
                scope = self.with_type(scope);
            }
            more = reader.more(b'}')?;
        }
        *self.reader = reader;
        Ok(())
    }

    /// Takes a text if it is not over its length.
    #[inline(always)]
    fn take(&mut self, entry: &Entry, text: &'a mut [u8]) {
        if text.len() > entry.text_max {
            self.note(Reason::TooLong);
        } else {
            self.take_text(&entry.rule, text);
        }
    }

    /// Reads a member that was not the guessed one, or is written in another way.
    #[inline(never)]
    fn member_slow(&mut self, mut scope: Scope) -> Result<Scope, Broken> {
        let name: &'a [u8] = self.reader.string()?;
        self.reader.colon()?;
        let spaced = self.reader.spaced();
        let mut guesses = self.guess.after(scope.room, scope.last).iter();
        let guess = guesses.find(|guess| guess.name.as_bytes() == name).copied();
        let mut found = guess.or_else(|| scope.table.find(name));
        if scope.sure == ENVELOPE_END && found.is_none_or(|entry| entry.number >= ENVELOPE_END) {
            if self.kind == Kind::Unread {
                self.find_type();
            }
            if self.kind == Kind::None && self.schemas.any_type_knows(name) {
                // Without a type nothing can be said of a member that some type knows.
                self.skip()?;
                return Ok(scope);
            }
            let before = scope.room;
            scope = self.with_type(scope);
            if scope.room != before || scope.sure == ENVELOPE_END {
                found = scope.table.find(name).filter(|entry| entry.number < scope.sure);
            }
        }
        let Some(entry) = found.filter(|entry| entry.number != NOTHING) else {
            self.refuse_unknown(name, scope.room == Room::Event)?;
            return Ok(scope);
        };
        self.entry = entry;
        let guesses = self.guess.after(scope.room, scope.last);
        if guesses[0].number != entry.number {
            *guesses = [entry, guesses[0]];
        }
        self.guess.spaced = spaced;
        let bit = 1u64 << (entry.number % 64);
        if scope.seen & bit != 0 {
            self.refuse(Reason::DuplicateField)?;
        } else if entry.is_text && self.reader.peek() == b'"' {
            let text = self.reader.string()?;
            self.take(entry, text);
        } else {
            self.take_other(entry.rule)?;
        }
        scope.seen |= bit;
        scope.last = entry.number;
        Ok(scope)
    }

    /// Looks for the type in what is still to be read.
    fn find_type(&mut self) {
        let mut room = [0; 64];
        // No object of a record has a member of this name but the record itself; an event may have
        // extension attributes that hold anything.
        let quick = match self.record.form {
            Form::Event => None,
            Form::Plain | Form::Binary => self
                .reader
                .glance_ahead(&self.guess.finder, &mut room, &mut self.guess.looked)
                .and_then(RecordType::from_name),
        };
        if let Some(kind) = quick {
            self.kind = Kind::Known(kind);
            return;
        }
        let (bytes_max, looked) = (self.guess.record_bytes, &mut self.guess.looked);
        let found = self.reader.look_ahead("type", bytes_max, &mut room, looked);
        self.kind = found.and_then(RecordType::from_name).map_or(Kind::None, Kind::Known);
    }

    fn nested(&mut self, room: Room) -> Result<(), Broken> {
        self.enter();
        self.object(room)?;
        self.leave();
        Ok(())
    }
}

/// The mask of the members that the attributes of a CloudEvent stand for: in its data they would be
/// there twice.
fn reserved() -> u64 {
    ENVELOPE.iter().enumerate().fold(0, |mask, (number, member)| match member.rule {
        Rule::EventId | Rule::Type | Rule::Producer => mask | 1 << number,
        _ => mask,
    })
}
