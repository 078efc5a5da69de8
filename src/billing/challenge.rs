//! A customer's own list against a statement: how many of the listed users were counted, and how
//! many counted users are not listed. Counts only, and yet a list can tell of single persons: the
//! answer to one that is made for it says whether somebody was counted. Few counted users are not
//! told, which makes that dearer; what bounds it is the budget, and what shows it the ledger.
//!
//! A billing group is asked for by its key scope, and its list is compared with its own set. It
//! is a question about the members' users as well, so that the budget of a member's month is spent
//! by its own lists and its group's together.
//!
//! Each answer is in the ledger before the caller has it, and so is the first refusal over the
//! budget of a site's month on a day.

use super::months::Compared;
use super::{Billing, BillingError, Inner};
use crate::identity::{Listed, Roll};
use crate::ledger::{Actor, Credential, Entry, Event};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::time::Month;
use crate::wire::challenge::{self, Answer, BadList, Late, Spent};
use crate::wire::statement::Statement;

/// Before the names of the rows that say how many lists were answered.
const ROWS: &str = "challenge/";

/// What a customer may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenges {
    /// Fewest distinct users on a list.
    pub list_min: u64,
    /// Most lines of a list.
    pub lines_max: u64,
    /// Fewer counted users than this are not told.
    pub counted_min: u64,
    /// Lists that are answered of a site's month, ever, those of its group included.
    pub budget: u64,
}

impl Default for Challenges {
    fn default() -> Self {
        Self { list_min: 100, lines_max: 2_000_000, counted_min: 10, budget: 5 }
    }
}

impl Billing {
    /// Whether a list may be sent of a month at all; asked before its body is read.
    ///
    /// # Errors
    /// [`BillingError`].
    pub async fn challengeable(
        &self,
        caller: &Caller,
        site: SiteId,
        month: Month,
    ) -> Result<(), BillingError> {
        let by = actor(caller)?;
        self.whole(|inner| async move {
            inner.closed_users(&site, month)?;
            inner.months.keys(&site, month).ok_or(BillingError::NotAttributable)?;
            inner.within(by, &site, month).await.map(drop)
        })
        .await
    }

    /// Compares a list with the counted users of a closed month. The list is wiped.
    ///
    /// # Errors
    /// [`BillingError`].
    pub async fn challenge<B: AsMut<[u8]> + Send + 'static>(
        &self,
        caller: &Caller,
        site: SiteId,
        month: Month,
        body: B,
    ) -> Result<Vec<u8>, BillingError> {
        let by = actor(caller)?;
        self.whole(|inner| async move { inner.challenge(by, site, month, body).await }).await
    }
}

fn actor(caller: &Caller) -> Result<Actor, BillingError> {
    let by = Credential::parse(&caller.key_id).ok_or(BillingError::Failed)?;
    Ok(Actor::Credential(by))
}

impl Inner {
    /// The users that the statement of a closed month counts.
    fn closed_users(&self, site: &SiteId, month: Month) -> Result<u64, BillingError> {
        Ok(self.closed(site, month)?.tally().counters.mau)
    }

    /// What is kept of the lists of a month.
    fn spent(&self, site: &SiteId, month: Month) -> Result<Spent, BillingError> {
        let row = self.months.load_rows(&row_of(site, month))?.pop();
        Ok(row.map(|(_, bytes)| Spent::parse(&bytes)).transpose()?.unwrap_or_default())
    }

    /// How many lists were answered of a scope's month itself. Data that was put back knows less
    /// than the ledger, and gives nothing back.
    async fn answered(&self, scope: &SiteId, month: Month) -> Result<u64, BillingError> {
        let at = (scope.clone(), month);
        let told = self.of_ledger(move |known| known.challenged.get(&at).copied()).await?;
        Ok(self.spent(scope, month)?.challenges.max(told.unwrap_or_default()))
    }

    /// The same of its group; of a group that of the member with the most. Both are about the same
    /// persons.
    async fn answered_beside(&self, scope: &SiteId, month: Month) -> Result<u64, BillingError> {
        let mut most = 0;
        for other in self.closed(scope, month)?.about_the_same(month) {
            most = most.max(self.answered(&other, month).await?);
        }
        Ok(most)
    }

    /// How many lists were answered; refuses where that is the budget. Of these refusals the first
    /// of a day is written down: who asks without end fills no ledger.
    async fn within(
        &self,
        by: Actor,
        site: &SiteId,
        month: Month,
    ) -> Result<Answered, BillingError> {
        let own = self.answered(site, month).await?;
        let all = own.saturating_add(self.answered_beside(site, month).await?);
        if all < self.settings.challenge.budget {
            return Ok(Answered { own, all });
        }
        let _one = self.refusing.lock().await;
        let now = self.clock.now();
        let refused_on = Some(now.day().0);
        if self.spent(site, month)?.refused_on != refused_on {
            let event = Event::ChallengeRefused { site: site.clone(), month, answered: all };
            let entry = Entry::new(now, by, event);
            self.ask(move |ledger| ledger.append(entry)).await?;
            let row = Spent { challenges: own, refused_on };
            self.months.put_row(row_of(site, month), row.to_bytes()?).await?;
        }
        Err(BillingError::BudgetSpent)
    }

    /// The users of the statement, and how many lists were answered; refuses what is over the
    /// budget.
    async fn allowed(
        &self,
        by: Actor,
        site: &SiteId,
        month: Month,
    ) -> Result<(u64, Answered), BillingError> {
        let mau = self.closed_users(site, month)?;
        Ok((mau, self.within(by, site, month).await?))
    }

    async fn challenge<B: AsMut<[u8]> + Send + 'static>(
        &self,
        by: Actor,
        site: SiteId,
        month: Month,
        body: B,
    ) -> Result<Vec<u8>, BillingError> {
        // One at a time: a list takes memory, and the budget is looked at and spent as one.
        let _one = self.challenging.lock().await;
        let (mau, answered) = match self.allowed(by.clone(), &site, month).await {
            Ok(allowed) => allowed,
            Err(refused) => {
                // It is wiped, and may be long: not on a thread that answers others.
                let _ = tokio::task::spawn_blocking(move || drop(body)).await;
                return Err(refused);
            }
        };
        let list = self.list(&site, month, body).await?;
        if list.users() < self.settings.challenge.list_min {
            return Err(BillingError::ListTooSmall);
        }
        let (lines, repeated) = (list.lines, list.repeated());
        let (unattributed, listed) = (list.nobody, list.users());
        // What may fail before an answer costs nothing.
        let stated = Stated::by(self.stored(&site, month)?.last());
        self.months.fold().await?;
        // Spent before anything is compared: a cut afterwards gives nothing back.
        self.spend(&site, month, answered.own.saturating_add(1)).await?;
        let compared = match self.compared(&site, month, list, (mau, stated.late)).await {
            Ok(compared) => compared,
            Err(error) => {
                // Nothing was learned of the list.
                if let Err(kept) = self.spend(&site, month, answered.own).await {
                    tracing::error!(%site, %month, error = %kept, "a list is not given back");
                }
                return Err(error);
            }
        };
        let counted_min = self.settings.challenge.counted_min;
        let told = (compared.listed >= counted_min).then_some(compared.listed);
        let late = stated.beside(&compared, counted_min);
        let event = told_as((&site, month), listed, (told, mau), &stated, late);
        let entry = Entry::new(self.clock.now(), by, event);
        let entry = self.ask(move |ledger| ledger.append(entry)).await?.index;
        let suppressed = told.is_none() || late.is_some_and(|late| late.counted_late.is_none());
        let answer = Answer {
            billing_group: site.group(),
            site_id: (!site.is_group()).then_some(site),
            month,
            version: stated.version,
            mau,
            lines,
            repeated,
            unattributed,
            listed,
            counted: told,
            not_counted: told.map(|counted| listed - counted),
            counted_not_listed: told.map(|counted| mau - counted),
            late,
            suppressed,
            counted_min,
            challenges_left: answered.left_of(self.settings.challenge.budget),
            entry,
        };
        Ok(answer.to_json()?)
    }

    /// Writes down how many lists were answered.
    async fn spend(&self, site: &SiteId, month: Month, lists: u64) -> Result<(), BillingError> {
        let row = Spent { challenges: lists, ..self.spent(site, month)? };
        Ok(self.months.put_row(row_of(site, month), row.to_bytes()?).await?)
    }

    /// The list beside the stored users, which must be as many as the statement counts; those that
    /// came late are at least as many as it bills.
    async fn compared(
        &self,
        site: &SiteId,
        month: Month,
        list: Listed,
        (mau, late): (u64, u64),
    ) -> Result<Compared, BillingError> {
        let compared = self.months.compare(site.clone(), month, list).await?;
        let compared = compared.ok_or(BillingError::NotAttributable)?;
        if compared.members != mau || compared.late < late {
            tracing::error!(%site, %month, "a month's sets and counters differ; no challenge");
            return Err(BillingError::Failed);
        }
        Ok(compared)
    }

    /// The list as tags of the month; its body is gone when this is done.
    async fn list<B: AsMut<[u8]> + Send + 'static>(
        &self,
        site: &SiteId,
        month: Month,
        mut body: B,
    ) -> Result<Listed, BillingError> {
        let (algorithm, rules) = self.closed(site, month)?.reading(month);
        let keys = self.months.keys(site, month);
        let lines_max = self.settings.challenge.lines_max;
        let listing = move || {
            let keys = keys.ok_or(BillingError::NotAttributable)?;
            let mut roll = Roll::new(keys.base().under(algorithm), keys.tally());
            challenge::read(body.as_mut(), lines_max, &mut |raw| roll.add(raw, &rules))?;
            Ok(roll.finish())
        };
        let listed = tokio::task::spawn_blocking(listing).await;
        listed.map_err(|_| BillingError::Failed)?
    }
}

/// How many lists were answered before one.
#[derive(Clone, Copy)]
struct Answered {
    /// Of the site's or group's month itself.
    own: u64,
    /// With those about the same persons: of its group, or of its members.
    all: u64,
}

impl Answered {
    /// How many of a budget are left after another one.
    const fn left_of(self, budget: u64) -> u64 {
        budget.saturating_sub(self.all.saturating_add(1))
    }
}

/// What the last version bills.
struct Stated {
    version: u32,
    /// Users beyond those of the close.
    late: u64,
}

impl Stated {
    fn by(last: Option<&Statement>) -> Self {
        let Some(body) = last.map(|last| &last.body) else { return Self { version: 1, late: 0 } };
        let late = if body.version > 1 { body.corrections.users } else { 0 };
        Self { version: body.version, late }
    }

    /// What is told of late users, by a version that bills them. Few are not told, as with the
    /// others.
    fn beside(&self, compared: &Compared, counted_min: u64) -> Option<Late> {
        let counted = (compared.late_listed >= counted_min).then_some(compared.late_listed);
        (self.version > 1).then(|| Late {
            billed_late: self.late,
            late: compared.late,
            counted_late: counted,
            late_not_listed: counted.map(|counted| compared.late - counted),
        })
    }
}

/// The ledger's entry of an answer.
fn told_as(
    (site, month): (&SiteId, Month),
    listed: u64,
    (counted, mau): (Option<u64>, u64),
    stated: &Stated,
    late: Option<Late>,
) -> Event {
    let site = site.clone();
    let counted_not_listed = counted.map(|counted| mau - counted);
    let Some(late) = late else {
        return Event::StatementChallenged { site, month, listed, counted, counted_not_listed };
    };
    let (version, counted_late) = (stated.version, late.counted_late);
    Event::RestatementChallenged {
        site,
        month,
        version,
        listed,
        counted,
        counted_not_listed,
        counted_late,
    }
}

impl From<BadList> for BillingError {
    fn from(bad: BadList) -> Self {
        match bad {
            BadList::TooMany => Self::TooManyLines,
            BadList::Line { index, flaw } => Self::BadLine(index, flaw),
        }
    }
}

fn row_of(site: &SiteId, month: Month) -> String {
    format!("{ROWS}{site}/{month}")
}
