//! From a raw id to the pseudonyms that a person has in the records of a site: one for each month
//! whose keys live, in the form that the month's row says. The raw id is read by `identity` alone
//! and goes no further.
//!
//! Who is suppressed is found in months to come, too, whatever form they have: nobody can tell now
//! which, and no form follows from another without the id. So a suppressed person has a tag for
//! each form there is, and a record is looked up by the tag of its own month's form.

use crate::crypto::{Base, TagKey};
use crate::identity::{self, FormRoom, Job, PseudonymQueue, Slot, UserRules};
use crate::keys::{KeyRing, KeysError, RecordKeys};
use crate::model::ids::Tag;
use crate::model::person::Person;
use crate::model::pseudonym::UserForm;
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
    /// The tags under the site's suppression key, one for each form of user ids, where it was asked
    /// for.
    pub suppress: Vec<Tag>,
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
    let mut queue = PseudonymQueue::with_capacity(2 * keys.len() + usize::from(UserForm::COUNT));
    let mut slots: Vec<(Slot, usize)> = Vec::with_capacity(keys.len());
    for (at, (month, RecordKeys { base, .. })) in keys.iter().enumerate() {
        let form = site.pseudonyms_in(*month).users;
        let rules = UserRules::new(form, &site.settings_in(*month).sentinel_user_ids);
        let base = base.under(site.algorithm);
        known.months.push(*month);
        slots.extend(push(&mut queue, base, subject, &rules).map(|slot| (slot, at)));
        slots.extend(push_turned(&mut queue, base, subject).map(|slot| (slot, at)));
    }
    let is_nobody = is_nobody_now(site, subject);
    let nobody = slots.is_empty() && is_nobody;
    // Also of somebody who is nobody today: settings may say otherwise tomorrow.
    let own = if suppress { Some(ring.suppression(&site.id)?) } else { None };
    let mut in_forms: Vec<Slot> = Vec::new();
    for (own, form) in own.iter().flat_map(|own| UserForm::all().map(move |form| (own, form))) {
        let base = own.base.under(site.algorithm);
        in_forms.extend(push(&mut queue, base, subject, &UserRules::new(form, &[])));
    }
    queue.run();
    let mut uses: Vec<&TagKey> = keys.iter().map(|(_, keys)| &keys.record).collect();
    let mut jobs: Vec<Job> =
        slots.iter().map(|(slot, at)| Job { slot: *slot, key: *at as u32 }).collect();
    if let Some(own) = &own {
        let key = uses.len() as u32;
        jobs.extend(in_forms.iter().map(|slot| Job { slot: *slot, key }));
        uses.push(&own.tag);
    }
    let mut tags = queue.tags(&jobs, &uses);
    known.suppress = tags.split_off(slots.len());
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

/// Whether an id is none of a person's under the settings of today.
fn is_nobody_now(site: &Site, subject: Subject<'_>) -> bool {
    let Subject::User(raw) = subject else { return false };
    let rules = UserRules::new(site.settings.user_form, &site.settings.sentinel_user_ids);
    rules.read(Some(raw), &mut FormRoom::default()).somebody().is_none()
}

fn push(
    queue: &mut PseudonymQueue,
    base: Base<'_>,
    subject: Subject<'_>,
    rules: &UserRules,
) -> Option<Slot> {
    match subject {
        Subject::User(raw) => {
            let mut room = FormRoom::default();
            let user = rules.read(Some(raw), &mut room).somebody()?;
            Some(queue.push_user(base, &user))
        }
        // How the record named its maker says nothing of the id's bytes.
        Subject::Device(kind, raw) => {
            Some(queue.push_device(base, &identity::device(kind, raw, None, false)))
        }
    }
}

/// The other order of the bytes, where a record may have said so: nobody who asks knows which.
fn push_turned(queue: &mut PseudonymQueue, base: Base<'_>, subject: Subject<'_>) -> Option<Slot> {
    match subject {
        Subject::Device(kind @ DeviceKind::PlayreadyClientId, raw) => {
            let id = identity::device(kind, raw, Some(IdEncoding::UuidBe), false);
            Some(queue.push_device(base, &id))
        }
        _ => None,
    }
}
