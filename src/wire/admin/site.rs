//! The body of a request that makes or changes a site, and a site as it is answered.

use serde_json::{Map, Value, json};

use super::{Form, NAME_BYTES_MAX, PLAN_MAU_MAX, RECORDS_DAYS_MAX};
use crate::model::ids::GroupId;
use crate::model::limits;
use crate::model::pseudonym::Algorithm;
use crate::model::reason::Reason;
use crate::model::site::{Site, SiteSettings};
use crate::model::time::Month;
use crate::wire::fault::Flaw;

/// The body of `PUT /v1/sites/{site_id}`. A member that is absent keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SitePatch {
    /// The customer's name for the site.
    pub name: Option<String>,
    /// IANA name of the billing zone; nobody has looked it up yet.
    pub time_zone: Option<String>,
    /// User ids that stand for nobody.
    pub sentinel_user_ids: Option<Vec<String>>,
    /// Retention of records; `Some(None)` goes back to the default.
    pub records_days: Option<Option<u32>>,
    /// The users that the plan includes; `Some(None)` takes the plan away.
    pub plan_mau: Option<Option<u64>>,
    /// How long a month waits for late records; `Some(None)` goes back to the default.
    pub closing_hours: Option<Option<u32>>,
    /// Whether failed requests make a user active.
    pub include_failures: Option<bool>,
    /// Whether renewals make a user active.
    pub count_renewals: Option<bool>,
    /// Whether a device stands for a user where there is none.
    pub device_as_user: Option<bool>,
    /// Whether anonymous users are counted by their device.
    pub anonymous_by_device: Option<bool>,
    /// Whether white space around user ids is cut off.
    pub user_id_trim: Option<bool>,
    /// Whether user ids are brought to normalization form C.
    pub user_id_nfc: Option<bool>,
    /// Whether user ids are brought to lower case.
    pub user_id_lower: Option<bool>,
    /// What makes the pseudonyms of a site that is new.
    pub pseudonym_algorithm: Option<Algorithm>,
    /// What makes those of its billing group, where that is new.
    pub billing_group_algorithm: Option<Algorithm>,
    /// The sites that its users are counted together with; `Some(None)` takes it out of its group.
    pub billing_group: Option<Option<GroupId>>,
}

impl SitePatch {
    /// Reads the body.
    ///
    /// # Errors
    /// The first member that does not fit.
    pub fn parse(body: &mut [u8]) -> Result<Self, Flaw> {
        let mut patch = Self::default();
        Form::read(body, |form, name| match name {
            b"name" => form.member("name", |form| {
                patch.name = form.optional(|form| form.text(0, NAME_BYTES_MAX))?;
                Ok(())
            }),
            b"time_zone" => form.member("time_zone", |form| {
                patch.time_zone = form.optional(|form| form.text(1, NAME_BYTES_MAX))?;
                Ok(())
            }),
            b"sentinel_user_ids" => form.member("sentinel_user_ids", |form| {
                let text = |form: &mut Form<'_>| form.text(0, limits::USER_ID_BYTES_MAX);
                patch.sentinel_user_ids = form.optional(|form| form.list(text))?;
                Ok(())
            }),
            b"retention" => form.member("retention", |form| {
                patch.records_days = form.optional(Self::retention)?.flatten();
                Ok(())
            }),
            b"plan_mau" => form.member("plan_mau", |form| {
                patch.plan_mau = Some(form.optional(|form| form.count(1..=PLAN_MAU_MAX))?);
                Ok(())
            }),
            b"closing_hours" => form.member("closing_hours", |form| {
                let hours = limits::CLOSING_HOURS_MIN..=limits::CLOSING_HOURS_MAX;
                patch.closing_hours = Some(form.optional(|form| form.number(hours))?);
                Ok(())
            }),
            b"include_failures" => form.flag("include_failures", &mut patch.include_failures),
            b"count_renewals" => form.flag("count_renewals", &mut patch.count_renewals),
            b"device_as_user" => form.flag("device_as_user", &mut patch.device_as_user),
            b"anonymous_by_device" => {
                form.flag("anonymous_by_device", &mut patch.anonymous_by_device)
            }
            b"user_id_trim" => form.flag("user_id_trim", &mut patch.user_id_trim),
            b"user_id_nfc" => form.flag("user_id_nfc", &mut patch.user_id_nfc),
            b"user_id_lower" => form.flag("user_id_lower", &mut patch.user_id_lower),
            b"pseudonym_algorithm" => form.member("pseudonym_algorithm", |form| {
                patch.pseudonym_algorithm = form.optional(Self::algorithm)?;
                Ok(())
            }),
            b"billing_group_algorithm" => form.member("billing_group_algorithm", |form| {
                patch.billing_group_algorithm = form.optional(Self::algorithm)?;
                Ok(())
            }),
            b"billing_group" => form.member("billing_group", |form| {
                patch.billing_group = Some(form.optional(Self::group)?);
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        Ok(patch)
    }

    fn retention(form: &mut Form<'_>) -> Result<Option<Option<u32>>, Flaw> {
        let mut days = None;
        form.object(&mut |form, name| match name {
            b"records_days" => form.member("records_days", |form| {
                days = Some(form.optional(|form| form.days(RECORDS_DAYS_MAX))?);
                Ok(())
            }),
            _ => Err(form.unknown()),
        })?;
        Ok(days)
    }

    fn algorithm(form: &mut Form<'_>) -> Result<Algorithm, Flaw> {
        let text = form.text(0, limits::TEXT_BYTES_MAX)?;
        Algorithm::from_name(text.as_bytes()).ok_or_else(|| form.flaw(Reason::BadValue))
    }

    fn group(form: &mut Form<'_>) -> Result<GroupId, Flaw> {
        let text = form.text(1, limits::SITE_ID_BYTES_MAX)?;
        GroupId::parse(text.as_bytes()).ok_or_else(|| form.flaw(Reason::BadValue))
    }

    /// The settings after the change.
    pub fn apply(&self, settings: &SiteSettings) -> SiteSettings {
        let mut changed = settings.clone();
        if let Some(name) = &self.name {
            changed.name.clone_from(name);
        }
        if let Some(time_zone) = &self.time_zone {
            changed.time_zone.clone_from(time_zone);
        }
        if let Some(sentinels) = &self.sentinel_user_ids {
            changed.sentinel_user_ids.clone_from(sentinels);
        }
        if let Some(days) = self.records_days {
            changed.records_days = days;
        }
        if let Some(plan) = self.plan_mau {
            changed.plan_mau = plan;
        }
        if let Some(hours) = self.closing_hours {
            changed.closing_hours = hours.unwrap_or(limits::CLOSING_HOURS);
        }
        if let Some(group) = &self.billing_group {
            changed.billing_group.clone_from(group);
        }
        let (counting, users) = (&mut changed.counting, &mut changed.user_form);
        for (said, held) in [
            (self.include_failures, &mut counting.include_failures),
            (self.count_renewals, &mut counting.renewals),
            (self.device_as_user, &mut counting.device_as_user),
            (self.anonymous_by_device, &mut counting.anonymous_by_device),
            (self.user_id_trim, &mut users.trim),
            (self.user_id_nfc, &mut users.nfc),
            (self.user_id_lower, &mut users.lower),
        ] {
            *held = said.unwrap_or(*held);
        }
        changed
    }
}

/// A site as it is answered. What takes effect later is listed with its month.
pub fn site_to_value(site: &Site) -> Value {
    let settings = &site.settings;
    let mut value = json!({
        "site_id": site.id.as_str(),
        "name": settings.name,
        "time_zone": settings.time_zone,
        "billing_group": settings.billing_group.as_ref().map(GroupId::as_str),
        "retention": {"records_days": settings.records_days},
        "sentinel_user_ids": settings.sentinel_user_ids,
        "plan_mau": settings.plan_mau,
        "closing_hours": settings.closing_hours,
        "include_failures": settings.counting.include_failures,
        "count_renewals": settings.counting.renewals,
        "device_as_user": settings.counting.device_as_user,
        "anonymous_by_device": settings.counting.anonymous_by_device,
        "user_id_trim": settings.user_form.trim,
        "user_id_nfc": settings.user_form.nfc,
        "user_id_lower": settings.user_form.lower,
        "pseudonym_algorithm": site.algorithm.name(),
        "created_at": site.created_at.to_string(),
    });
    let Value::Object(members) = &mut value else { return value };
    if let Some(at) = site.terminated_at {
        members.insert("terminated_at".to_owned(), json!(at.to_string()));
    }
    let mut effective = Map::new();
    let mut before = settings;
    for (month, pending) in &site.pending {
        effective.extend(changes(before, *month, pending));
        before = pending;
    }
    if !site.pending.is_empty() {
        members.insert("effective".to_owned(), effective.into());
    }
    value
}

/// What a month changes, each with its name.
fn changes(now: &SiteSettings, month: Month, pending: &SiteSettings) -> Vec<(String, Value)> {
    let month = json!(month.to_string());
    let changed = [
        ("name", now.name != pending.name),
        ("time_zone", now.time_zone != pending.time_zone),
        ("billing_group", now.billing_group != pending.billing_group),
        ("sentinel_user_ids", now.sentinel_user_ids != pending.sentinel_user_ids),
        ("plan_mau", now.plan_mau != pending.plan_mau),
        ("retention", now.records_days != pending.records_days),
        ("closing_hours", now.closing_hours != pending.closing_hours),
        ("include_failures", now.counting.include_failures != pending.counting.include_failures),
        ("count_renewals", now.counting.renewals != pending.counting.renewals),
        ("device_as_user", now.counting.device_as_user != pending.counting.device_as_user),
        (
            "anonymous_by_device",
            now.counting.anonymous_by_device != pending.counting.anonymous_by_device,
        ),
        ("user_id_trim", now.user_form.trim != pending.user_form.trim),
        ("user_id_nfc", now.user_form.nfc != pending.user_form.nfc),
        ("user_id_lower", now.user_form.lower != pending.user_form.lower),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(name, _)| (name.to_owned(), month.clone())).collect()
}
