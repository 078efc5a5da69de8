//! Finds what there is to tell. A look asks for months and certificates as they are now and
//! compares with the rows that exist; it remembers nothing else, so that whatever was missed,
//! because the process ended or a queue was full, is found by the next one.
//!
//! An endpoint is told what happens after it was made. What a month has reached happens as long as
//! the month is not closed, so a new endpoint learns of it, too.

use std::collections::BTreeSet;

use super::queue::{CURSOR, EVENTS_MAX, State, event_row};
use super::sign::message_id;
use super::source::{About, Certified, DestroyedNews, GroupNews, MonthNews, Source};
use super::{HookError, Inner, Settings};
use crate::model::ids::SiteId;
use crate::model::time::{DAY_MS, Month, Timestamp};
use crate::wire::webhooks::message::Data;
use crate::wire::webhooks::rows::{DeliveryRow, EventRow};
use crate::wire::webhooks::{Standing, Topic, message};

/// The shares of a plan that are told, percent.
const THRESHOLDS: [u64; 3] = [50, 80, 100];
/// How long after it happened something is still noticed, milliseconds (30 days).
const NEWS_MS: i64 = 30 * DAY_MS;
/// How long after its end a month is mostly closed, milliseconds (10 days at most, and 3 for a new
/// site); later where the server was off.
const CLOSING_MS: i64 = 13 * DAY_MS;
/// Most rows that one look writes, so that they do not crowd out records.
const WRITES_MAX: usize = 64;

/// Something that happened.
struct News<'a> {
    topic: Topic,
    /// What tells it from everything else that ever happens.
    name: String,
    /// The site, or the key scope of the billing group.
    site: &'a SiteId,
    /// What an endpoint must have to be told.
    of: &'a [SiteId],
    at: Timestamp,
    /// From when on no look can find it any more; `None` where it is found until it is passed over.
    until: Option<Timestamp>,
    data: Box<dyn Fn() -> Data + 'a>,
}

/// What one look found.
#[derive(Default)]
struct Look {
    months: Vec<MonthNews>,
    groups: Vec<GroupNews>,
}

impl Look {
    fn news<'a>(
        &'a self,
        now: Timestamp,
        settings: &'a Settings,
    ) -> impl Iterator<Item = News<'a>> {
        let months = self.months.iter().flat_map(move |month| of_month(month, now, settings));
        months.chain(self.groups.iter().map(move |group| of_group(group, now)))
    }
}

impl Inner {
    /// One look for news. Answers whether there is more than it could take.
    pub(super) async fn scan(&self) -> Result<bool, HookError> {
        let now = self.clock.now();
        let is_heard = self.state().endpoints.values().any(super::queue::Endpoint::is_active);
        let closed_after = Timestamp(now.0.saturating_sub(NEWS_MS));
        let look = match is_heard {
            true => {
                let all = move |source: &dyn Source| {
                    let months = source.months(closed_after)?;
                    Ok(Look { months, groups: source.groups(closed_after)? })
                };
                self.ask(all).await?
            }
            false => Look::default(),
        };
        if !self.sweep(now, &look).await? {
            return Ok(true);
        }
        if !is_heard {
            return Ok(false);
        }
        let origin = self.source.origin();
        let mut room = WRITES_MAX;
        let found = {
            let state = self.state();
            let mut found = Vec::new();
            for news in look.news(now, &self.settings) {
                found.extend(self.wanted(&state, &origin, &news, now));
                if found.len() >= room {
                    break;
                }
            }
            found
        };
        room = room.saturating_sub(found.len());
        for (name, row) in found {
            self.raise(name, row).await?;
        }
        if room == 0 {
            return Ok(true);
        }
        self.certificates(&origin, now).await
    }

    /// Tells of the next certificates. Answers whether there may be more.
    async fn certificates(&self, origin: &str, now: Timestamp) -> Result<bool, HookError> {
        let cursor = self.state().cursor;
        let found = self.ask(move |source| source.destroyed_after(cursor)).await?;
        let Certified { mut destroyed, through } = found;
        destroyed.sort_by_key(|news| news.number);
        let Some(last) = through else { return Ok(false) };
        let mut told = last;
        for news in &destroyed {
            let found = self.wanted(&self.state(), origin, &of_certificate(news), now);
            let Some((name, row)) = found else { continue };
            if !self.raise(name, row).await? {
                // The one before this was told whole; this one waits for room.
                let before = destroyed.iter().map(|one| one.number);
                told = before.filter(|one| *one < news.number).max().unwrap_or(cursor);
                break;
            }
        }
        if told > cursor {
            self.source.put_row(CURSOR.to_owned(), told.to_string().into_bytes().into()).await?;
            self.state().cursor = told;
        }
        Ok(told == last)
    }

    /// The row of an event for the endpoints that want it and do not have it yet.
    fn wanted(
        &self,
        state: &State,
        origin: &str,
        news: &News<'_>,
        now: Timestamp,
    ) -> Option<(String, EventRow)> {
        if news.until.is_some_and(|until| until <= now) {
            return None;
        }
        let known = state.events.get(&news.name);
        let wants = state.endpoints.values().filter(|endpoint| {
            endpoint.is_active()
                && news.of.iter().all(|site| endpoint.row.wants(news.topic, site))
                && endpoint.row.made_at <= news.at
                && known.is_none_or(|row| row.delivery(endpoint.row.number).is_none())
        });
        let deliveries: Vec<_> = wants.map(|one| waiting(one.row.number, now)).collect();
        if deliveries.is_empty() {
            return None;
        }
        let Some(body) = message::text(news.topic, news.at, &(news.data)()) else {
            tracing::error!(event = news.topic.name(), "webhooks: a message would be too long");
            return None;
        };
        let kept = Timestamp(now.0.saturating_add(self.settings.keep_ms));
        let row = EventRow {
            id: message_id(origin, &news.name),
            topic: news.topic,
            site: Some(news.site.clone()),
            raised_at: now,
            keep_until: news.until.map_or(kept, |until| until.max(kept)),
            body,
            deliveries,
        };
        Some((news.name.clone(), row))
    }

    /// Writes an event down and lets its deliveries wait. One that is there gets the deliveries
    /// that it lacks, and keeps its message. Answers whether there was room for it.
    pub(super) async fn raise(&self, name: String, row: EventRow) -> Result<bool, HookError> {
        let _changing = self.changing.lock().await;
        let row = {
            let state = self.state();
            match state.events.get(&name) {
                None if state.events.len() >= EVENTS_MAX => return Ok(false),
                None => row,
                Some(known) => {
                    let mut known = known.clone();
                    let lacks = |one: &DeliveryRow| known.delivery(one.webhook).is_none();
                    let more: Vec<_> = row.deliveries.into_iter().filter(lacks).collect();
                    known.deliveries.extend(more);
                    known
                }
            }
        };
        self.source.put_row(event_row(&name), row.to_bytes()?.into()).await?;
        let mut state = self.state();
        let new: BTreeSet<u64> = row.deliveries.iter().map(|one| one.webhook).collect();
        let old = state.events.insert(name.clone(), row);
        let had = |webhook| old.as_ref().is_some_and(|old| old.delivery(webhook).is_some());
        new.into_iter().filter(|webhook| !had(*webhook)).for_each(|webhook| {
            state.queue_for(&name, webhook);
        });
        drop(state);
        self.bell.notify_one();
        Ok(true)
    }

    /// Removes events whose time is over, but for those that this look finds (a month that closes
    /// late is news for longer), and those about what is removed by now. Whatever still waits to be
    /// delivered is tried to its end first. Answers whether that was all of them.
    async fn sweep(&self, now: Timestamp, look: &Look) -> Result<bool, HookError> {
        let about: BTreeSet<About> = self.state().events.iter().filter_map(about_of).collect();
        let removed = match about.is_empty() {
            true => about,
            false => self.ask(move |source| source.removed(about)).await?,
        };
        let (mut over, gone): (Vec<String>, Vec<String>) = {
            let state = self.state();
            let ended = state.events.iter().filter(|(_, row)| !state.is_waiting(row));
            let is_gone = |event: &(&String, &EventRow)| {
                about_of(*event).is_some_and(|of| removed.contains(&of))
            };
            let (gone, rest): (Vec<_>, Vec<_>) = ended.partition(is_gone);
            let over = rest.into_iter().filter(|(_, row)| row.keep_until <= now);
            let name = |(name, _): (&String, &EventRow)| name.clone();
            (over.map(name).collect(), gone.into_iter().map(name).collect())
        };
        if !over.is_empty() {
            let news = look.news(now, &self.settings);
            let found: BTreeSet<String> = news.map(|news| news.name).collect();
            over.retain(|name| !found.contains(name));
        }
        over.extend(gone);
        over.truncate(WRITES_MAX);
        for name in &over {
            let _changing = self.changing.lock().await;
            self.source.delete_row(event_row(name)).await?;
            self.state().events.remove(name);
        }
        Ok(over.len() < WRITES_MAX)
    }
}

/// What an event is about. The name of one about a month has topic, site and month.
fn about_of((name, row): (&String, &EventRow)) -> Option<About> {
    let site = row.site.clone()?;
    let mut parts = name.split('/').skip(1);
    let month = match parts.next() == Some(site.as_str()) {
        true => parts.next().and_then(|part| Month::parse(part.as_bytes())),
        false => None,
    };
    Some((site, month))
}

/// A delivery that nobody has tried.
pub(super) fn waiting(webhook: u64, now: Timestamp) -> DeliveryRow {
    DeliveryRow { webhook, standing: Standing::Waiting, attempts: 0, next_at: now, last: None }
}

/// What there is to tell of a month as it stands.
fn of_month<'a>(month: &'a MonthNews, now: Timestamp, settings: &Settings) -> Vec<News<'a>> {
    let closed_at = month.closed_at;
    // As long as it is not closed, it is happening.
    let at = closed_at.map_or(now, |closed_at| closed_at.min(now));
    let until = match closed_at {
        Some(closed_at) => Timestamp(closed_at.0.saturating_add(NEWS_MS)),
        None => Timestamp(month.span.to.0.max(now.0).saturating_add(CLOSING_MS + NEWS_MS)),
    };
    let place = format!("{}/{}", month.site, month.span.month);
    let news = |topic: Topic, part: String, data: Box<dyn Fn() -> Data + 'a>| News {
        topic,
        name: format!("{topic}/{place}{part}"),
        site: &month.site,
        of: std::slice::from_ref(&month.site),
        at,
        until: Some(until),
        data,
    };
    let mut found = Vec::new();
    if closed_at.is_some() {
        found.push(news(Topic::MonthClosed, String::new(), Box::new(|| month.closed())));
    }
    let (planned, issued) = (month.planned(), month.counters.licenses_issued);
    if let Some(plan) = month.plan_mau.filter(|plan| *plan > 0) {
        let reached = |percent: &u64| planned * 100 >= u128::from(plan) * u128::from(*percent);
        for percent in THRESHOLDS.into_iter().filter(reached) {
            let part = format!("/{percent}");
            let data = Box::new(move || month.reached(percent));
            found.push(news(Topic::ThresholdReached, part, data));
        }
    }
    let nobodys = u128::from(month.counters.unattributed_licenses);
    let limit = settings.unattributed_percent;
    if issued >= settings.unattributed_least
        && nobodys * 100 > u128::from(issued) * u128::from(limit)
    {
        let data = Box::new(move || month.alarm(limit));
        found.push(news(Topic::QualityAlarm, String::new(), data));
    }
    if let Some(suspects) = month.suspects.filter(|of| of.users > 0 || of.devices > 0) {
        let data = Box::new(move || message::shared(month, suspects));
        found.push(news(Topic::QualityAlarm, "/shared".to_owned(), data));
    }
    found
}

/// What there is to tell of a billing group's month. It has no plan, and the quality of ids is told
/// of its members.
fn of_group(month: &GroupNews, now: Timestamp) -> News<'_> {
    let topic = Topic::MonthClosed;
    News {
        topic,
        name: format!("{topic}/{}/{}", month.scope, month.month),
        site: &month.scope,
        of: &month.members,
        at: month.closed_at.min(now),
        until: Some(Timestamp(month.closed_at.0.saturating_add(NEWS_MS))),
        data: Box::new(|| month.closed()),
    }
}

fn of_certificate(destroyed: &DestroyedNews) -> News<'_> {
    News {
        topic: Topic::DestructionDone,
        name: format!("{}/{}/{}", Topic::DestructionDone, destroyed.certificate, destroyed.site),
        site: &destroyed.site,
        of: std::slice::from_ref(&destroyed.site),
        at: destroyed.issued_at,
        // The cursor passes a certificate once all that it says was written down, however long a
        // full queue takes until then.
        until: None,
        data: Box::new(|| destroyed.done()),
    }
}
