//! From ids to pseudonyms, many at a time.

use zeroize::Zeroize;

use super::{DeviceId, OtherKind, Payload, RawId, UserId, payload};
use crate::crypto::{Base, HmacQueue, TagKey};
use crate::model::ids::Tag;
use crate::model::pseudonym::CANONICALIZER_VERSION;

/// What every message begins with: the format of the message itself.
const LABEL: &[u8; 4] = b"bt/1";
/// Longest kind name.
const KIND_BYTES_MAX: usize = 32;
/// Label, kind and its length, version, length of the id.
pub(super) const HEAD_BYTES_MAX: usize = LABEL.len() + 1 + KIND_BYTES_MAX + 1 + 2;
/// The namespace of users.
const USER: &str = "user";

/// The place of an id in its [`PseudonymQueue`], until the next [`PseudonymQueue::clear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

#[cfg(test)]
impl Slot {
    pub(super) fn at(place: usize) -> Self {
        Self(place)
    }
}

/// An id to be turned into the pseudonym of a use.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The id.
    pub slot: Slot,
    /// The key of the use, as a place in the list of keys.
    pub key: u32,
}

/// Ids of one request on their way to pseudonyms: push all of them, [`run`](Self::run) once, and
/// ask for the [`tags`](Self::tags) of each use. Ids are wiped by the run, base pseudonyms on clear
/// and drop; the memory serves the next request.
#[derive(Default)]
pub struct PseudonymQueue {
    queue: HmacQueue,
    /// How many of the answers are computed.
    done: usize,
}

impl PseudonymQueue {
    /// Room for this many ids without another allocation.
    pub fn with_capacity(ids: usize) -> Self {
        Self { queue: HmacQueue::with_capacity(ids), done: 0 }
    }

    /// Adds a user id.
    pub fn push_user(&mut self, key: Base<'_>, user: &UserId<'_>) -> Slot {
        self.push(key, USER, user.version(), [&[], user.bytes()])
    }

    /// Adds a device id under its kind.
    pub fn push_device(&mut self, key: Base<'_>, device: &DeviceId<'_>) -> Slot {
        self.push(key, device.kind().name(), CANONICALIZER_VERSION, [&[], device.bytes()])
    }

    /// Adds any other id; a payload as its exact text.
    pub fn push_other(&mut self, key: Base<'_>, kind: OtherKind, raw: RawId<'_>) -> Slot {
        match kind {
            OtherKind::Payload => self.push_payload(key, &payload(raw, None)),
            kind => self.push(key, kind.name(), CANONICALIZER_VERSION, [&[], raw.bytes()]),
        }
    }

    /// Adds a watermark payload.
    pub fn push_payload(&mut self, key: Base<'_>, payload: &Payload<'_>) -> Slot {
        let bits = payload.bits().to_be_bytes();
        let id = [&bits[..], payload.bytes()];
        self.push(key, OtherKind::Payload.name(), CANONICALIZER_VERSION, id)
    }

    /// The id of the message is in two parts.
    fn push(&mut self, key: Base<'_>, kind: &str, version: u8, [before, id]: [&[u8]; 2]) -> Slot {
        let mut room = [0; HEAD_BYTES_MAX];
        let head = write_head(&mut room, kind, version, before.len() + id.len());
        Slot(self.queue.push_base(key, &[head, before, id]))
    }

    /// Computes the base pseudonyms of everything that was pushed.
    pub fn run(&mut self) {
        self.done = self.queue.run().len();
    }

    /// The pseudonyms of many ids, each for the use of one of the keys, in the order of the jobs.
    ///
    /// # Panics
    /// When a slot was not run, or is none of this queue since the last clear, or a job names no
    /// key. A wrong tag would be worse: it would bill one person as another.
    pub fn tags(&self, jobs: &[Job], keys: &[&TagKey]) -> Vec<Tag> {
        let bases = &self.queue.answers()[..self.done];
        // Side by side by key: where the bases of each key begin.
        let mut begins = vec![0usize; keys.len() + 1];
        jobs.iter().for_each(|job| begins[job.key as usize + 1] += 1);
        for key in 1..begins.len() {
            begins[key] += begins[key - 1];
        }
        let mut next = begins.clone();
        let mut places = Vec::with_capacity(jobs.len());
        let mut blocks = vec![[0; 16]; jobs.len()];
        for job in jobs {
            let place = &mut next[job.key as usize];
            blocks[*place] = bases[job.slot.0];
            places.push(*place);
            *place += 1;
        }
        for (key, range) in keys.iter().zip(begins.windows(2)) {
            key.tags(&mut blocks[range[0]..range[1]]);
        }
        let tags = places.into_iter().map(|place| Tag(blocks[place])).collect();
        blocks.as_flattened_mut().zeroize();
        tags
    }

    /// Wipes and forgets everything, so that the queue serves the next request.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.done = 0;
    }
}

/// Everything of a message but the id.
pub(super) fn write_head<'a>(
    room: &'a mut [u8; HEAD_BYTES_MAX],
    kind: &str,
    version: u8,
    id_bytes: usize,
) -> &'a [u8] {
    let kind = &kind.as_bytes()[..kind.len().min(KIND_BYTES_MAX)];
    let length = u16::try_from(id_bytes).unwrap_or(u16::MAX).to_be_bytes();
    let kind_at = LABEL.len() + 1;
    let version_at = kind_at + kind.len();
    room[..LABEL.len()].copy_from_slice(LABEL);
    room[LABEL.len()] = kind.len() as u8;
    room[kind_at..version_at].copy_from_slice(kind);
    room[version_at] = version;
    room[version_at + 1..version_at + 3].copy_from_slice(&length);
    &room[..version_at + 3]
}
