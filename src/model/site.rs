//! A site's settings and the table of its months.

use super::ids::{GroupId, SiteId, SiteNo};
use super::limits;
use super::pseudonym::{Algorithm, CANONICALIZER_VERSION, Pseudonyms, UserForm};
use super::rules::RuleSet;
use super::time::{Month, Timestamp};

/// How a site's months are counted under rule set `mau/1`; frozen inside a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// A failed licence request makes its user active, too (contracts by transaction).
    pub include_failures: bool,
    /// A renewal makes its user active.
    pub renewals: bool,
    /// Where a record names nobody, its recommended good device stands for a user, counted apart.
    pub device_as_user: bool,
    /// A user id that its record calls anonymous is nobody's; its device stands for a user.
    pub anonymous_by_device: bool,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            include_failures: false,
            renewals: true,
            device_as_user: false,
            anonymous_by_device: false,
        }
    }
}

/// What an operator says of a site. What is frozen inside a month takes effect with the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSettings {
    /// The customer's name for the site.
    pub name: String,
    /// IANA name of the zone whose calendar months are billed.
    pub time_zone: String,
    /// User ids that stand for nobody at this site, beside the built-in sentinels.
    pub sentinel_user_ids: Vec<String>,
    /// Retention of records in days, where shorter than the default.
    pub records_days: Option<u32>,
    /// The monthly active users that the customer's plan includes; what alerts measure by. It is
    /// frozen in no month, because nothing is counted by it.
    pub plan_mau: Option<u64>,
    /// How long a month waits for late records after its end, hours.
    pub closing_hours: u32,
    /// How its months are counted.
    pub counting: Counting,
    /// The form of its user ids.
    pub user_form: UserForm,
    /// The sites that its users are counted together with, beside its own count.
    pub billing_group: Option<GroupId>,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            time_zone: "UTC".to_owned(),
            sentinel_user_ids: Vec::new(),
            records_days: None,
            plan_mau: None,
            closing_hours: limits::CLOSING_HOURS,
            counting: Counting::default(),
            user_form: UserForm::default(),
            billing_group: None,
        }
    }
}

/// What a request makes of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteChange {
    /// Its settings.
    pub settings: SiteSettings,
    /// What makes its pseudonyms, where the request says so; the default where it is new and the
    /// request does not.
    pub algorithm: Option<Algorithm>,
    /// The same of the billing group that it joins.
    pub group_algorithm: Option<Algorithm>,
}

impl From<SiteSettings> for SiteChange {
    fn from(settings: SiteSettings) -> Self {
        Self { settings, algorithm: None, group_algorithm: None }
    }
}

/// Why a site cannot be changed as was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteConflict {
    /// The site, or the billing group, exists and has another algorithm.
    Algorithm,
    /// Another member of a billing group reads user ids in another form.
    UserForm,
}

/// A month of a site as a half-open range of instants; a stored row never moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthSpan {
    /// The month's name in the site's zone.
    pub month: Month,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant of the next month.
    pub to: Timestamp,
    /// The number of event and set partitions, fixed for the month.
    pub partitions: u16,
    /// How its ids become pseudonyms.
    pub pseudonyms: Pseudonyms,
    /// The rules that it is counted by.
    pub rule_set: RuleSet,
}

impl MonthSpan {
    /// Whether the instant lies in the month.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// A site as it is stored. The key scope of a billing group is stored so, too: it has an id with a
/// sign, a number, and nothing else of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name in the contract.
    pub id: SiteId,
    /// Its number in row keys.
    pub no: SiteNo,
    /// What makes its pseudonyms; said when it is made, and never changed.
    pub algorithm: Algorithm,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its collection ended.
    pub terminated_at: Option<Timestamp>,
    /// The settings in force.
    pub settings: SiteSettings,
    /// Settings that take effect at the start of a month, in the order of these: a longer retention
    /// of records waits for its notice, and nothing else that was said with it.
    pub pending: Vec<(Month, SiteSettings)>,
    /// Settings that held before, each with the first month that it no longer holds for; in order.
    /// What a month was counted with stays what it is counted with.
    pub past: Vec<(Month, SiteSettings)>,
    /// The months that exist, contiguous and in order.
    pub months: Vec<MonthSpan>,
    /// The last month that is closed; all before it are closed, too. It never goes back.
    pub closed_through: Option<Month>,
}

impl Site {
    /// The settings that a month is counted with.
    pub fn settings_in(&self, month: Month) -> &SiteSettings {
        if let Some((_, settings)) = self.past.iter().find(|(until, _)| month < *until) {
            return settings;
        }
        let announced = self.pending.iter().rev().find(|(from, _)| *from <= month);
        announced.map_or(&self.settings, |(_, settings)| settings)
    }

    /// What was said last, whether it holds already or not: later changes build on it.
    pub fn last_said(&self) -> &SiteSettings {
        self.pending.last().map_or(&self.settings, |(_, settings)| settings)
    }

    /// How the ids of a month become pseudonyms: as its row says, or as it would.
    pub fn pseudonyms_in(&self, month: Month) -> Pseudonyms {
        let stored = self.months.iter().rev().find(|span| span.month == month);
        stored.map_or_else(
            || Pseudonyms {
                algorithm: self.algorithm,
                canonicalizer: CANONICALIZER_VERSION,
                users: self.settings_in(month).user_form,
            },
            |span| span.pseudonyms,
        )
    }

    /// Whether its users of a month are counted with a billing group.
    pub fn is_member(&self, group: &GroupId, month: Month) -> bool {
        self.settings_in(month).billing_group.as_ref() == Some(group)
    }

    /// Whether the figures of a month are final.
    pub fn is_closed(&self, month: Month) -> bool {
        self.closed_through.is_some_and(|last| month <= last)
    }
}
