//! From a raw id to the pseudonyms that a person has in the records of a site: one for each month
//! whose keys live. The raw id is read by `identity` alone and goes no further.

use crate::crypto::{BaseKey, TagKey};
use crate::identity::{self, Job, PseudonymQueue, Sentinels, Slot};
use crate::keys::{KeyRing, KeysError, RecordKeys};
use crate::model::ids::Tag;
use crate::model::person::Person;
use crate::model::site::Site;
use crate::model::time::Month;
use crate::model::vocab::{DeviceKind, IdEncoding};
use crate::wire::subjects::Subject;

/// A person, as the records of a site know them.
#[derive(Default)]
pub struct Known {
    /// The pseudonyms.
    pub person: Person,
    /// The months that have keys.
    pub months: Vec<Month>,
    /// The site's months whose keys are gone.
    pub not_attributable: Vec<Month>,
    /// The tag under the site's suppression key, where it was asked for.
    pub suppress: Option<Tag>,
}

/// Looks a person up in the keys of a site; `None` where the id stands for nobody in every month.
///
/// # Errors
/// When the keys cannot be used.
pub fn known(
    ring: &KeyRing,
    site: &Site,
    subject: Subject<'_>,
    suppress: bool,
) -> Result<Option<Known>, KeysError> {
    let keys = ring.record_keys(&site.id)?;
    let mut known = Known::default();
    let mut queue = PseudonymQueue::with_capacity(2 * keys.len() + 1);
    let mut slots: Vec<(Slot, usize)> = Vec::with_capacity(keys.len());
    for (at, (month, RecordKeys { base, .. })) in keys.iter().enumerate() {
        let sentinels = Sentinels::new(&site.settings_in(*month).sentinel_user_ids);
        known.months.push(*month);
        slots.extend(push(&mut queue, base, subject, &sentinels).map(|slot| (slot, at)));
        slots.extend(push_turned(&mut queue, base, subject).map(|slot| (slot, at)));
    }
    let now = Sentinels::new(&site.settings.sentinel_user_ids);
    let own = if suppress { Some(ring.suppression(&site.id)?) } else { None };
    let own = own.and_then(|own| Some((push(&mut queue, &own.base, subject, &now)?, own)));
    let nobody = match subject {
        Subject::User(raw) => slots.is_empty() && identity::user(Some(raw), &now).is_none(),
        Subject::Device(..) => false,
    };
    queue.run();
    let mut uses: Vec<&TagKey> = keys.iter().map(|(_, keys)| &keys.record).collect();
    let mut jobs: Vec<Job> =
        slots.iter().map(|(slot, at)| Job { slot: *slot, key: *at as u32 }).collect();
    if let Some((slot, own)) = &own {
        jobs.push(Job { slot: *slot, key: uses.len() as u32 });
        uses.push(&own.tag);
    }
    let mut tags = queue.tags(&jobs, &uses);
    known.suppress = own.as_ref().and_then(|_| tags.pop());
    tags.sort_unstable();
    tags.dedup();
    match subject {
        Subject::User(_) => known.person.users = tags,
        Subject::Device(..) => known.person.devices = tags,
    }
    let lost = site.months.iter().map(|span| span.month);
    known.not_attributable = lost.filter(|month| !known.months.contains(month)).collect();
    Ok((!nobody).then_some(known))
}

fn push(
    queue: &mut PseudonymQueue,
    base: &BaseKey,
    subject: Subject<'_>,
    sentinels: &Sentinels,
) -> Option<Slot> {
    match subject {
        Subject::User(raw) => {
            let user = identity::user(Some(raw), sentinels)?;
            Some(queue.push_user(base, &user))
        }
        // How the record named its maker says nothing of the id's bytes.
        Subject::Device(kind, raw) => {
            Some(queue.push_device(base, &identity::device(kind, raw, None, false)))
        }
    }
}

/// The other order of the bytes, where a record may have said so: nobody who asks knows which.
fn push_turned(queue: &mut PseudonymQueue, base: &BaseKey, subject: Subject<'_>) -> Option<Slot> {
    match subject {
        Subject::Device(kind @ DeviceKind::PlayreadyClientId, raw) => {
            let id = identity::device(kind, raw, Some(IdEncoding::UuidBe), false);
            Some(queue.push_device(base, &id))
        }
        _ => None,
    }
}
