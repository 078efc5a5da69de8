//! What the webhook desk sees of engine and ledger.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use crate::audit::Audit;
use crate::engine::groups::GroupMonth;
use crate::engine::{Engine, EngineError, UsageMonth};
use crate::ledger::{Actor, Event};
use crate::model::explained::Suspects;
use crate::model::ids::SiteId;
use crate::model::site::Site;
use crate::model::time::Timestamp;
use crate::model::usage::{Evidence, State};
use crate::webhooks::{
    About, Certified, Change, DestroyedNews, GroupNews, MonthNews, Rows, Source,
};
use crate::wire::retention::certificate::Certificate;

/// Before the names of the retention desk's certificates, which end with their number.
const CERTIFICATES: &str = "certificate/";
/// Most certificates of one look: one may name every site.
const CERTIFICATES_MAX: usize = 4;

/// Engine and ledger together.
pub struct Hooks {
    /// The engine.
    pub engine: Engine,
    /// The ledger's desk.
    pub audit: Audit,
}

impl Source for Hooks {
    fn months(&self, closed_after: Timestamp) -> Result<Vec<MonthNews>, EngineError> {
        let mut months = Vec::new();
        for (site, month) in self.engine.unsettled(closed_after) {
            let found = match self.engine.usage(&site.id, month) {
                Ok(Some(found)) => found,
                Ok(None) | Err(EngineError::Ended) => continue,
                Err(error) => return Err(error),
            };
            // What is removed is no news, and its messages go.
            if found.evidence == Evidence::Destroyed {
                continue;
            }
            let explained = self.engine.explained(&site.id, month);
            months.push(news(&site, found, explained.map(|of| of.suspects)));
        }
        Ok(months)
    }

    fn groups(&self, closed_after: Timestamp) -> Result<Vec<GroupNews>, EngineError> {
        let mut groups = Vec::new();
        for (group, month) in self.engine.groups_closed_after(closed_after) {
            let found = match self.engine.group_usage(&group, month) {
                Ok(Some(found)) => found,
                Ok(None) | Err(EngineError::Ended) => continue,
                Err(error) => return Err(error),
            };
            let lives = found.evidence != Evidence::Destroyed;
            let any = found.members.iter().any(|member| member.tally.has_records());
            if lives && any && found.state == State::Closed {
                groups.push(group_news(&found));
            }
        }
        groups.retain(|news| news.closed_at > closed_after);
        Ok(groups)
    }

    fn removed(&self, of: BTreeSet<About>) -> Result<BTreeSet<About>, EngineError> {
        let mut removed = BTreeSet::new();
        for (id, month) in of {
            let Some(month) = month.filter(|_| self.engine.site(&id).is_some()) else {
                if self.engine.site(&id).is_none() {
                    removed.insert((id, month));
                }
                continue;
            };
            let evidence = match id.group() {
                Some(group) => {
                    self.engine.group_usage(&group, month).map(|of| of.map(|of| of.evidence))
                }
                None => self.engine.usage(&id, month).map(|of| of.map(|of| of.evidence)),
            };
            let gone = match evidence {
                Ok(found) => found.is_none_or(|evidence| evidence == Evidence::Destroyed),
                Err(EngineError::Ended) => true,
                Err(error) => return Err(error),
            };
            if gone {
                removed.insert((id, Some(month)));
            }
        }
        Ok(removed)
    }

    fn destroyed_after(&self, number: u64) -> Result<Certified, EngineError> {
        let after = format!("{CERTIFICATES}{number:020}");
        let (mut destroyed, mut through) = (Vec::new(), None);
        for (name, row) in self.engine.desk_rows_after(CERTIFICATES, &after, CERTIFICATES_MAX)? {
            let damaged = || EngineError::Damaged("a certificate".into());
            let body = Certificate::parse(&row).map_err(|_| damaged())?.body;
            let number = name.strip_prefix(CERTIFICATES).and_then(|number| number.parse().ok());
            let number = number.ok_or_else(damaged)?;
            through = Some(number);
            // A billing group is no site, and neither are all of them: nobody's news.
            let is_site = |site: &SiteId| !site.is_group() && !site.is_everywhere();
            let mut lots: Vec<_> = body.lots.iter().filter(|lot| is_site(&lot.site)).collect();
            lots.sort_by(|one, other| one.site.cmp(&other.site));
            destroyed.extend(lots.chunk_by(|one, other| one.site == other.site).map(|lots| {
                DestroyedNews {
                    number,
                    certificate: body.id.clone(),
                    issued_at: body.issued_at,
                    site: lots[0].site.clone(),
                    lots: lots.len() as u64,
                    records: lots.iter().map(|lot| lot.records).sum(),
                }
            }));
        }
        Ok(Certified { destroyed, through })
    }

    fn origin(&self) -> String {
        self.audit.ledger().verifier_key().to_string()
    }

    fn note(&self, actor: Actor, event: Event) -> Change<'_> {
        Box::pin(async move {
            let noted = self.audit.note(actor, event).await;
            // The process ends by itself then.
            noted.map(drop).map_err(|_| EngineError::Stopped)
        })
    }

    fn load_rows(&self, prefix: &str) -> Result<Rows, EngineError> {
        let rows = self.engine.desk_rows(prefix)?;
        Ok(rows.into_iter().map(|(name, bytes)| (name, bytes.into())).collect())
    }

    fn put_row(&self, name: String, bytes: Zeroizing<Vec<u8>>) -> Change<'_> {
        Box::pin(async move { self.engine.put_desk_row(&name, &bytes).await })
    }

    fn delete_row(&self, name: String) -> Change<'_> {
        Box::pin(async move { self.engine.delete_desk_row(&name).await })
    }
}

fn group_news(found: &GroupMonth) -> GroupNews {
    let spans = || found.members.iter().map(|member| member.span);
    GroupNews {
        scope: SiteId::of_group(&found.group),
        members: found.members.iter().map(|member| member.site.id.clone()).collect(),
        month: found.month,
        from: spans().map(|span| span.from).min().unwrap_or_default(),
        to: spans().map(|span| span.to).max().unwrap_or_default(),
        closed_at: found.tally.closed_at.unwrap_or(found.closes_at),
        rule_set: found.rule_set(),
        counters: found.sums().0,
    }
}

fn news(site: &Site, found: UsageMonth, suspects: Option<Suspects>) -> MonthNews {
    MonthNews {
        site: site.id.clone(),
        plan_mau: site.settings.plan_mau,
        closed_at: found.tally.closed_at,
        span: found.span,
        time_zone: found.time_zone,
        counters: found.tally.counters,
        suspects,
    }
}
