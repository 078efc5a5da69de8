//! One body becomes one batch without any raw id: gather every id, hash them all side by side, and
//! put the tags where they belong.

use std::sync::Arc;

use super::places::{DayPlace, GroupPlace, MonthPlace};
use crate::crypto::{Base, HmacQueue, TagKey};
use crate::engine::erase::Persons;
use crate::identity::{
    self, FormRoom, Job, OtherKind, PseudonymQueue, RawId, Slot, User, UserId, UserRules,
};
use crate::keys::{GroupMonthKeys, KeyRing, SiteMonthKeys, WatermarkKeys};
use crate::model::batch::{Batch, Claim, DeviceTag, Effect, Item, Said};
use crate::model::field::{ErrorClass, Field};
use crate::model::ids::{ShortTag, Tag};
use crate::model::pseudonym::Algorithm;
use crate::model::site::Counting;
use crate::model::vocab::{DrmType, LicenseType, Outcome, RecordType, RequestType, UserKind};
use crate::store::details;
use crate::store::shapes::DetailsWriter;
use crate::wire::{Record, Value, namespace};

/// Rows on their way to a batch. Nothing of a raw id is in here but the hash queue's blocks, which
/// are wiped when they are hashed.
pub struct Rows {
    batch: Batch,
    details: DetailsWriter,
    indexes: Vec<u32>,
    ids: PseudonymQueue,
    events: HmacQueue,
    keys: Vec<Arc<SiteMonthKeys>>,
    patches: Vec<Patch>,
    claims: Vec<ClaimTags>,
    suspects: Vec<Suspect>,
    members: Vec<Member>,
    /// Where the form of a user id is written; wiped with the next one, and at the end. Boxed, so
    /// that nothing is wiped where it is only taken out and put back.
    room: Option<Box<FormRoom>>,
}

/// A row that makes a user of a billing group active.
struct Member {
    row: usize,
    slot: Slot,
    keys: Arc<GroupMonthKeys>,
}

/// A row of a site that has suppressed persons, which may be one of theirs.
struct Suspect {
    row: usize,
    slot: Slot,
    persons: Arc<Persons>,
}

/// A tag in the details that is known only after the hashing.
struct Patch {
    at: usize,
    slot: Slot,
    key: PatchKey,
}

enum PatchKey {
    /// The record key of these month's keys.
    Record(u32),
    /// The watermark key of these month's keys.
    Watermark(u32),
    /// The watermark key of another month.
    Earlier(Arc<WatermarkKeys>),
}

/// The tally tags of a claim, known only after the hashing.
#[derive(Clone, Copy)]
struct ClaimTags {
    keys: u32,
    user: Option<Slot>,
    device: Option<Slot>,
    session: Option<Slot>,
}

impl Rows {
    /// Room for so many rows.
    pub fn with_capacity(rows: usize) -> Self {
        let mut batch = Batch::default();
        batch.claims.reserve(rows);
        Self {
            batch,
            details: DetailsWriter::with_capacity(rows),
            indexes: Vec::with_capacity(rows),
            ids: PseudonymQueue::with_capacity(rows * 3),
            events: HmacQueue::with_capacity(rows),
            keys: Vec::new(),
            patches: Vec::with_capacity(rows * 3),
            claims: Vec::with_capacity(rows),
            suspects: Vec::new(),
            members: Vec::new(),
            room: None,
        }
    }

    /// Adds a record that was admitted; `None` where its batch lies in too many months or days, and
    /// then the batch as a whole must be refused.
    pub fn add(
        &mut self,
        index: u32,
        record: &Record<'_>,
        producer: &[u8],
        (month, day): (&MonthPlace, &DayPlace),
        ring: &KeyRing,
    ) -> Option<()> {
        let place = (self.batch.month_index(month.name)?, self.batch.day_index(day.day)?);
        let effect = effect_of(record, month.counting);
        let anonymous = is_anonymous(record, month.counting);
        let keys = self.keys_of(&month.keys);
        self.events.push(&day.key, &[record.event_id]);
        let mut tags = ClaimTags { keys, user: None, device: None, session: None };
        let counts = effect.is_countable() && !anonymous;
        let (user, is_given) = self.push_user(record, (month, place.0), keys, counts);
        tags.user = user;
        self.push_envelope(record, producer);
        let base = month.keys.base.under(month.algorithm);
        tags.device = self.push_devices(record, base, keys);
        for (field, raw) in &record.raw {
            let Some((kind, watermark)) = kind_of(*field) else { continue };
            let slot = self.push_other(base, kind, *raw, record);
            if kind == OtherKind::WmSession {
                tags.session = Some(slot);
            }
            let key = if watermark { PatchKey::Watermark(keys) } else { PatchKey::Record(keys) };
            self.push_tag(field.code(), slot, key);
        }
        if record.kind == RecordType::WatermarkDetected {
            self.push_earlier_marks(record, month, ring);
        }
        let nobody = tags.user.is_none();
        // Whoever is nobody anyway is not so because of the site's option.
        let effect = if anonymous && !nobody { effect.of_anonymous() } else { effect };
        let by_device = effect.is_countable()
            && (anonymous || nobody && month.counting.device_as_user)
            && tags.device.is_some();
        if !effect.counts_device() && !by_device {
            tags.device = None;
        }
        if !(effect.is_countable() && !anonymous || effect == Effect::Session) {
            tags.user = None;
        }
        if effect != Effect::Session {
            tags.session = None;
        }
        self.details.end_row();
        let claim = Claim {
            month: place.0,
            day: place.1,
            kind: record.kind,
            drm: record.drm_type.unwrap_or(DrmType::Other),
            effect,
            occurred_at: record.occurred_at,
            seen: ShortTag::default(),
            user: None,
            group: None,
            sentinel: nobody && is_given,
            by_device,
            device: None,
            session: None,
            suppressed: false,
        };
        self.batch.claims.push(claim);
        self.claims.push(tags);
        self.indexes.push(index);
        Some(())
    }

    /// Adds the end user, and where the row makes the user active also as a member of the month's
    /// billing group; no slot where it is nobody. And whether there is any user id.
    fn push_user(
        &mut self,
        record: &Record<'_>,
        (month, place): (&MonthPlace, u16),
        keys: u32,
        counts: bool,
    ) -> (Option<Slot>, bool) {
        // Taken out, because the id may lie in it.
        let mut room = self.room.take().unwrap_or_default();
        let slot = match month.users.read(record.user_id, &mut room) {
            User::Missing => (None, false),
            User::Sentinel => (None, true),
            User::Somebody(user) => {
                let slot = self.ids.push_user(month.keys.base.under(month.algorithm), &user);
                self.push_tag(details::USER, slot, PatchKey::Record(keys));
                if let Some(persons) = &month.suppressed {
                    self.push_suspect(&user, month.algorithm, persons);
                    if let Some(raw) = record.user_id.filter(|_| persons.only_exact) {
                        self.push_suspect(&UserRules::exact(raw), month.algorithm, persons);
                    }
                }
                self.push_member(&user, month, place, counts);
                (Some(slot), true)
            }
        };
        self.room = Some(room);
        slot
    }

    /// Adds a user who may be one of the persons whose records are not kept.
    fn push_suspect(&mut self, user: &UserId<'_>, algorithm: Algorithm, persons: &Arc<Persons>) {
        let slot = self.ids.push_user(persons.keys.base.under(algorithm), user);
        let (row, persons) = (self.batch.claims.len(), Arc::clone(persons));
        self.suspects.push(Suspect { row, slot, persons });
    }

    /// Adds the tag of a user under the keys of the month's billing group, where there is one and
    /// the row makes the user active.
    fn push_member(&mut self, user: &UserId<'_>, month: &MonthPlace, place: u16, counts: bool) {
        let Some(GroupPlace { no, keys, algorithm }) = &month.group else { return };
        self.batch.set_group(place, *no);
        if counts {
            let slot = self.ids.push_user(keys.base.under(*algorithm), user);
            let (row, keys) = (self.batch.claims.len(), Arc::clone(keys));
            self.members.push(Member { row, slot, keys });
        }
    }

    fn push_other(
        &mut self,
        base: Base<'_>,
        kind: OtherKind,
        raw: RawId<'_>,
        record: &Record<'_>,
    ) -> Slot {
        match kind {
            OtherKind::Payload => {
                let payload = identity::payload(raw, record.payload_encoding);
                self.ids.push_payload(base, &payload)
            }
            kind => self.ids.push_other(base, kind, raw),
        }
    }

    fn keys_of(&mut self, keys: &Arc<SiteMonthKeys>) -> u32 {
        let known = self.keys.iter().rposition(|known| Arc::ptr_eq(known, keys));
        let at = known.unwrap_or_else(|| {
            self.keys.push(Arc::clone(keys));
            self.keys.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Leaves room for a tag that is known after the hashing.
    fn push_tag(&mut self, field: u8, slot: Slot, key: PatchKey) {
        let at = self.details.tag(field, Tag([0; 16]));
        self.patches.push(Patch { at, slot, key });
    }

    fn push_envelope(&mut self, record: &Record<'_>, producer: &[u8]) {
        let out = &mut self.details;
        match details::uuid(record.event_id) {
            Some(bytes) => {
                out.push(Field::EventId.code(), Item::Uuid(bytes));
            }
            None => out.text(Field::EventId.code(), record.event_id),
        }
        let mut number = |field: Field, code: Option<u8>| {
            if let Some(code) = code {
                out.number(field.code(), i64::from(code));
            }
        };
        number(Field::Type, Some(record.kind.code()));
        number(Field::Environment, Some(record.environment.code()));
        number(Field::Outcome, record.outcome.map(Outcome::code));
        let error = error_class(record.kind, record.error_class, record.error_code);
        number(Field::ErrorClass, error.map(|class| class.code()));
        number(Field::DrmType, record.drm_type.map(DrmType::code));
        number(Field::RequestType, record.request_type.map(RequestType::code));
        number(Field::LicenseType, record.license_type.map(LicenseType::code));
        number(Field::UserIdKind, record.user_id_kind.map(|kind| kind.code()));
        out.text(Field::Producer.code(), producer);
        let texts = [(Field::Cid, record.cid), (Field::ErrorCode, record.error_code)];
        for (field, text) in texts {
            if let Some(text) = text {
                out.text(field.code(), text);
            }
        }
        for (field, value) in &record.stored {
            match value {
                Value::Text(text) => out.text(field.code(), text),
                Value::Int(number) => out.number(field.code(), *number),
            }
        }
    }

    /// Adds the device ids; answers the recommended good one.
    fn push_devices(&mut self, record: &Record<'_>, base: Base<'_>, keys: u32) -> Option<Slot> {
        // Room for as many as there are: eight at most, one or two nearly always.
        match record.devices.len() {
            0 => None,
            1 => self.push_some_devices::<1>(record, base, keys),
            2 => self.push_some_devices::<2>(record, base, keys),
            3..=4 => self.push_some_devices::<4>(record, base, keys),
            _ => self.push_some_devices::<8>(record, base, keys),
        }
    }

    fn push_some_devices<const N: usize>(
        &mut self,
        record: &Record<'_>,
        base: Base<'_>,
        keys: u32,
    ) -> Option<Slot> {
        let mut ids = record.devices.iter().map(|device| {
            identity::device(device.kind, device.value, device.encoding, record.desktop)
        });
        let ids: [Option<identity::DeviceId<'_>>; N] = std::array::from_fn(|_| ids.next());
        let given = record.device_recommended.map(usize::from);
        let best = identity::recommended(ids.iter().flatten(), given);
        let mut counted = None;
        for (place, id) in ids.iter().flatten().enumerate() {
            let slot = self.ids.push_device(base, id);
            let recommended = best == Some(place);
            if recommended {
                counted = Some(slot);
            }
            let (kind, quality, scope) = (id.kind(), id.quality(), id.scope());
            let tag = DeviceTag { kind, quality, scope, recommended, tag: Tag([0; 16]) };
            let at = self.details.push(Field::DeviceIds.code(), Item::Device(tag));
            self.patches.push(Patch { at, slot, key: PatchKey::Record(keys) });
        }
        counted
    }

    /// A detection also carries payload and mark under the watermark key of every other living
    /// month of the site, so that it can be joined to older sessions.
    fn push_earlier_marks(&mut self, record: &Record<'_>, month: &MonthPlace, ring: &KeyRing) {
        for earlier in ring.watermark_months(&month.site) {
            if earlier == month.name.month {
                continue;
            }
            let Some(keys) = ring.watermark(&month.site, earlier) else { continue };
            for (field, raw) in &record.raw {
                let Some((kind, true)) = kind_of(*field) else { continue };
                let base = keys.base.under(month.algorithm);
                let slot = self.push_other(base, kind, *raw, record);
                self.push_tag(field.code(), slot, PatchKey::Earlier(Arc::clone(&keys)));
            }
        }
    }

    /// Hashes everything and puts the tags in their places; answers the batch, and the position in
    /// the body of each of its rows.
    pub fn finish(mut self) -> (Batch, Vec<u32>) {
        self.ids.run();
        let (jobs, keys) = self.jobs();
        let mut tags = self.ids.tags(&jobs, &keys).into_iter();
        let mut short = |slot: Option<Slot>| slot.and_then(|_| tags.next()).map(|tag| tag.short());
        let events = self.events.run();
        for ((claim, of), event) in self.batch.claims.iter_mut().zip(&self.claims).zip(events) {
            claim.seen.0.copy_from_slice(&event[..12]);
            claim.user = short(of.user);
            claim.device = short(of.device);
            claim.session = short(of.session);
        }
        for (patch, tag) in self.patches.iter().zip(tags.by_ref()) {
            self.details.set_tag(patch.at, tag);
        }
        self.batch.details = self.details.finish();
        for (suspect, tag) in self.suspects.iter().zip(tags.by_ref()) {
            // Two for a row, where it may be one of them under either form.
            self.batch.claims[suspect.row].suppressed |= suspect.persons.tags.contains(&tag);
        }
        for (member, tag) in self.members.iter().zip(tags) {
            self.batch.claims[member.row].group = Some(tag.short());
        }
        if self.batch.claims.iter().any(|claim| claim.suppressed) {
            self.batch.strip(|claim| claim.suppressed);
        }
        self.ids.clear();
        self.events.clear();
        (self.batch, self.indexes)
    }

    /// What is to be tagged under which keys: the claims' tags, then the patches, the suspects and
    /// the members, in their order.
    fn jobs(&self) -> (Vec<Job>, Vec<&TagKey>) {
        let mut keys: Vec<&TagKey> = Vec::with_capacity(self.keys.len() * 3);
        for month in &self.keys {
            keys.extend([&month.tally, &month.record, &month.watermark]);
        }
        let mut jobs = Vec::with_capacity(self.claims.len() * 2 + self.patches.len());
        for claim in &self.claims {
            let slots = [claim.user, claim.device, claim.session].into_iter().flatten();
            jobs.extend(slots.map(|slot| Job { slot, key: claim.keys * 3 }));
        }
        for patch in &self.patches {
            let key = match &patch.key {
                PatchKey::Record(keys) => keys * 3 + 1,
                PatchKey::Watermark(keys) => keys * 3 + 2,
                PatchKey::Earlier(month) => {
                    keys.push(&month.watermark);
                    keys.len() as u32 - 1
                }
            };
            jobs.push(Job { slot: patch.slot, key });
        }
        let mut before: Option<&Arc<Persons>> = None;
        for suspect in &self.suspects {
            if !before.is_some_and(|before| Arc::ptr_eq(before, &suspect.persons)) {
                keys.push(&suspect.persons.keys.tag);
                before = Some(&suspect.persons);
            }
            jobs.push(Job { slot: suspect.slot, key: keys.len() as u32 - 1 });
        }
        let mut before: Option<&Arc<GroupMonthKeys>> = None;
        for member in &self.members {
            if !before.is_some_and(|before| Arc::ptr_eq(before, &member.keys)) {
                keys.push(&member.keys.tally);
                before = Some(&member.keys);
            }
            jobs.push(Job { slot: member.slot, key: keys.len() as u32 - 1 });
        }
        (jobs, keys)
    }
}

/// Whether the user id of a record stands for nobody, because it says so and the site wants it.
fn is_anonymous(record: &Record<'_>, counting: Counting) -> bool {
    counting.anonymous_by_device && record.user_id_kind == Some(UserKind::Anonymous)
}

/// Where the error of a record lies: what its producer says, or else what the code of a licence
/// request says. The codes of other records are other ones.
fn error_class(
    kind: RecordType,
    said: Option<ErrorClass>,
    code: Option<&[u8]>,
) -> Option<ErrorClass> {
    let code = code.filter(|_| kind == RecordType::LicenseIssued);
    said.or_else(|| ErrorClass::of_error_code(code?))
}

/// What a record counts as.
fn effect_of(record: &Record<'_>, counting: Counting) -> Effect {
    let said = Said {
        kind: record.kind,
        outcome: record.outcome,
        environment: record.environment,
        request: record.request_type,
        license: record.license_type,
    };
    Effect::of(&said, counting)
}

/// The namespace of an identifying field, and whether it takes the watermark key.
fn kind_of(field: Field) -> Option<(OtherKind, bool)> {
    let kind = namespace(field)?;
    let watermark = matches!(
        kind,
        OtherKind::WmSession | OtherKind::Wmid | OtherKind::ForensicMark | OtherKind::Payload
    );
    Some((kind, watermark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_an_error_is_what_its_producer_says_or_what_its_code_says() {
        let (license, packaged) = (RecordType::LicenseIssued, RecordType::ContentPackaged);
        let code = Some(&b"7011"[..]);
        assert_eq!(error_class(license, None, code), Some(ErrorClass::Token));
        assert_eq!(error_class(license, Some(ErrorClass::Quota), code), Some(ErrorClass::Quota));
        assert_eq!(error_class(license, Some(ErrorClass::Quota), None), Some(ErrorClass::Quota));
        assert_eq!(error_class(license, None, None), None);
        assert_eq!(error_class(license, None, Some(&b"1234"[..])), None);
        // 2001 is a packager's code, too.
        assert_eq!(error_class(packaged, None, Some(&b"2001"[..])), None);
    }
}
