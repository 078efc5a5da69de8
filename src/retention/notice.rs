//! The notice that a change of the policy gets. The dates of a policy file are what its author
//! says; when this server saw it first is what it knows itself. So a policy takes effect on the
//! later of its effective day and the first day on which its notice, counted from that sight, is
//! over: a file with dates of long ago destroys nothing earlier than one with honest dates.

use super::policy::Policy;
use super::{DeskError, Inner, POLICY};
use crate::ledger::{Actor, Digest, Entry, Event, Word};
use crate::model::time::{DAY_MS, Day, Timestamp};
use crate::wire::retention::PolicyDoc;
use crate::wire::retention::rows::NoticeRow;

/// Before the name of a policy's notice: its digest.
pub(super) const ROWS: &str = "notice/";

fn row_of(policy: &Policy) -> String {
    format!("{ROWS}{}", Digest(policy.digest))
}

/// The first day on which the whole notice is over.
fn noticed(seen_at: Timestamp, notice_days: u32) -> Day {
    let over = seen_at.0.saturating_add(i64::from(notice_days) * DAY_MS);
    let day = Timestamp(over).day();
    if day.start().0 < over { Day(day.0.saturating_add(1)) } else { day }
}

impl Inner {
    /// The day from which a policy holds: what its file says, or later. `None` for a file that no
    /// run has seen yet.
    pub(super) fn effective(&self, policy: &Policy) -> Option<Day> {
        let seen_at = self.state().notices.get(&row_of(policy)).map(|notice| notice.seen_at);
        match seen_at {
            Some(seen_at) => Some(policy.effective.max(noticed(seen_at, policy.notice_days))),
            // Built in, or in force before notices were kept.
            None if *policy == self.policy => Some(policy.effective),
            None => None,
        }
    }

    /// The policy in force.
    pub(super) fn policy_at(&self, now: Timestamp) -> &Policy {
        let holds = |next: &Policy| self.effective(next).is_some_and(|day| day.start() <= now);
        match &self.next {
            Some(next) if holds(next) => next,
            _ => &self.policy,
        }
    }

    /// Notes a policy file that is seen for the first time, and forgets one that was withdrawn: its
    /// notice begins anew when it comes back.
    pub(super) async fn keep_notice(&self, now: Timestamp) -> Result<(), DeskError> {
        let own = [Some(&self.policy), self.next.as_ref()];
        let own: Vec<String> = own.into_iter().flatten().map(row_of).collect();
        let withdrawn: Vec<String> = {
            let state = self.state();
            state.notices.keys().filter(|name| !own.contains(name)).cloned().collect()
        };
        for name in withdrawn {
            self.vault.delete_row(name.clone()).await?;
            self.state().notices.remove(&name);
        }
        let Some(next) = &self.next else { return Ok(()) };
        let name = row_of(next);
        if self.state().notices.contains_key(&name) {
            return Ok(());
        }
        let row = NoticeRow { seen_at: now };
        self.vault.put_row(name.clone(), row.to_bytes()?).await?;
        self.state().notices.insert(name, row);
        let from = self.effective(next).map(|day| day.to_string()).unwrap_or_default();
        tracing::info!(%from, "a retention policy was seen for the first time, and holds later");
        Ok(())
    }

    /// Tells the ledger of a policy that has taken effect, and keeps it.
    pub(super) async fn announce_policy(&self, now: Timestamp) -> Result<(), DeskError> {
        let policy = self.policy_at(now);
        let digest = Digest(policy.digest);
        let known = self.state().clock.clone();
        let Some(mut row) = known.filter(|row| row.policy != digest) else { return Ok(()) };
        let PolicyDoc { published, effective, material, periods, .. } = policy.doc;
        let event = Event::PolicyAdopted {
            digest,
            profile: Word::of(policy.profile.name()),
            published,
            effective,
            material,
            c2_months: periods.c2_months,
            c3_objection_days: periods.c3_objection_days,
            c7_months: periods.c7_months,
            in_force_from: self.effective(policy).unwrap_or(policy.effective),
        };
        self.append(Entry::new(now, Actor::Server, event)).await?;
        self.vault.put_row(POLICY.to_owned(), policy.doc.to_bytes()).await?;
        row.policy = digest;
        self.keep_clock(row).await
    }
}
