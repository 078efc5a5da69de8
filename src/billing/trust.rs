//! How far the ids of a month can be trusted, read before its statement is issued. Of a group it is
//! read of each member: the figures are the members' sums, and those who look like many are counted
//! at each member, since nobody can tell whether a user of one is one of another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::subject::Subject;
use super::{BillingError, Inner};
use crate::engine::EngineError;
use crate::model::explained::Explained;
use crate::model::ids::SiteId;
use crate::model::time::{Month, Timestamp};
use crate::wire::explained::IdQuality;
use crate::wire::statement::Member;

/// How long the quality of ids is waited for, until a statement is issued without it; of a group
/// that of all members together.
const QUALITY_WITHIN: Duration = Duration::from_secs(3_600);
/// How long after its close a month that is busy is asked again, milliseconds.
const BUSY_MS: i64 = 86_400_000;

/// What was read of the sites of a statement; nothing of one where it could not be.
#[derive(Default)]
pub(super) struct Trust(pub(super) BTreeMap<SiteId, Option<Arc<Explained>>>);

/// What came of reading a site.
enum Answer {
    Read(Arc<Explained>),
    Busy,
    TooLong,
    Unreadable(String),
}

impl Trust {
    /// What a statement says of the ids, and its members with what is said of theirs. A group that
    /// nobody is a member of says nothing.
    pub fn said(
        self,
        members: Option<Vec<Member>>,
    ) -> (Option<Option<IdQuality>>, Option<Vec<Member>>) {
        let Some(mut members) = members else {
            let read = self.0.into_values().next().flatten();
            return (Some(read.map(|read| IdQuality::of(&read))), None);
        };
        let mut all = Some(Vec::with_capacity(members.len()));
        for member in &mut members {
            // Who joined meanwhile was not read.
            let read = self.0.get(&member.site_id).cloned().flatten();
            member.quality = Some(read.as_ref().map(|read| IdQuality::of(read)));
            all = all.zip(read).map(|(mut all, read)| {
                all.push(read);
                all
            });
        }
        let own = all.and_then(|all| IdQuality::of_members(&all));
        ((!members.is_empty()).then_some(own), Some(members))
    }
}

impl Inner {
    /// How far the ids can be trusted. Nobody's bill waits for ever for it: where it cannot be told
    /// the statement is issued without, and the ledger has an alarm.
    pub(super) async fn trust(&self, scope: &SiteId, month: Month) -> Result<Trust, BillingError> {
        let subject = self.closed(scope, month)?;
        let sites: Vec<SiteId> = match &subject {
            Subject::Site(usage) => vec![usage.site.id.clone()],
            Subject::Group(group) => group.members.iter().map(|of| of.site.id.clone()).collect(),
            Subject::Left(_) => Vec::new(),
        };
        self.read_all(sites, month, (subject.closed_at(), QUALITY_WITHIN)).await
    }

    /// Reads each of the sites, within a time for all of them together. One that is busy or takes
    /// more than its share keeps no other from being read, and is asked once more behind them.
    pub(super) async fn read_all(
        &self,
        sites: Vec<SiteId>,
        month: Month,
        (closed_at, within): (Timestamp, Duration),
    ) -> Result<Trust, BillingError> {
        let until = Instant::now() + within;
        let mut trust = Trust::default();
        let (mut left, mut is_last) = (sites, false);
        while !left.is_empty() {
            // Of one alone nobody waits behind.
            is_last |= left.len() == 1;
            let (mut again, count) = (Vec::new(), left.len());
            for (at, site) in left.into_iter().enumerate() {
                let rest = until.saturating_duration_since(Instant::now());
                let share = rest / u32::try_from(count - at).unwrap_or(u32::MAX);
                let why = match self.read(&site, month, share).await? {
                    Answer::Read(read) => {
                        trust.0.insert(site, Some(read));
                        continue;
                    }
                    Answer::Busy | Answer::TooLong if !is_last => {
                        again.push(site);
                        continue;
                    }
                    Answer::Busy if self.clock.now().0 < closed_at.0 + BUSY_MS => {
                        return Err(BillingError::Busy);
                    }
                    Answer::Busy => EngineError::Busy.to_string(),
                    Answer::TooLong => "it took too long".to_owned(),
                    Answer::Unreadable(why) => why,
                };
                tracing::error!(%site, %month, why, "the quality of a site's ids is not stated");
                trust.0.insert(site, None);
            }
            (left, is_last) = (again, true);
        }
        Ok(trust)
    }

    async fn read(
        &self,
        site: &SiteId,
        month: Month,
        within: Duration,
    ) -> Result<Answer, BillingError> {
        let asked = self.months.quality(site.clone(), month);
        match tokio::time::timeout(within, asked).await {
            Ok(Ok(read)) => Ok(Answer::Read(read)),
            Ok(Err(EngineError::Busy)) => Ok(Answer::Busy),
            Ok(Err(
                passing @ (EngineError::Stopped | EngineError::DiskFull | EngineError::NoSite),
            )) => Err(passing.into()),
            Ok(Err(error)) => Ok(Answer::Unreadable(error.to_string())),
            Err(_) => Ok(Answer::TooLong),
        }
    }
}
