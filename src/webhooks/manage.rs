//! What operators ask of the desk: endpoints made, listed, removed, tested, their secrets replaced,
//! their deliveries shown.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::host_of;
use super::queue::{ENDPOINTS_MAX, EVENTS_MAX, Endpoint, LAST, endpoint_row, secret_row};
use super::scan::waiting;
use super::sign::{Keys, message_id};
use super::{HookError, Webhooks};
use crate::crypto::random_bytes;
use crate::ledger::{Actor, Credential, Event, Note, Word};
use crate::model::caller::{Caller, SiteScope};
use crate::model::ids::SiteId;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::wire::fault::{Flaw, Pointer};
use crate::wire::webhooks::rows::{EndpointRow, EventRow, Url};
use crate::wire::webhooks::{HookRequest, Standing, Topic, hook_id, hook_number, message, view};

/// Most deliveries in one answer.
pub const DELIVERIES_MAX: usize = 1_000;
/// Most tests of one endpoint that wait at once.
const TESTS_MAX: usize = 10;

impl Webhooks {
    /// Makes an endpoint and answers with its secret, this one time. The request's text is used up.
    ///
    /// # Errors
    /// [`HookError`]; nothing is made then.
    pub async fn create(
        &self,
        caller: &Caller,
        text: &mut [u8],
    ) -> Result<Zeroizing<Vec<u8>>, HookError> {
        let request = HookRequest::parse(text)?;
        let sites = request.sites.unwrap_or_else(|| caller.sites.clone());
        let allow = self.0.settings.allow_internal;
        let unfit = Flaw { reason: Reason::BadValue, pointer: Pointer::of("url") };
        let host = host_of(&request.url, allow).ok_or(HookError::Unfit(unfit))?;
        let (all_sites, sites): (bool, Vec<SiteId>) = match sites {
            SiteScope::All => (true, Vec::new()),
            SiteScope::Some(some) => (false, some.into_iter().collect()),
        };
        if !covers(caller, all_sites, &sites) {
            return Err(HookError::BeyondCaller);
        }
        let _changing = self.0.changing.lock().await;
        let number = {
            let state = self.0.state();
            if state.endpoints.len() >= ENDPOINTS_MAX {
                return Err(HookError::TooMany);
            }
            state.last + 1
        };
        let row = EndpointRow {
            number,
            url: Url(request.url),
            topics: request.topics,
            all_sites,
            sites,
            made_by: caller.key_id.clone(),
            made_at: self.0.clock.now(),
            disabled_at: None,
        };
        let host = Note::parse(&host).ok_or(HookError::Unfit(unfit))?;
        // The number first: once the ledger knows it, no other endpoint may get it.
        self.0.source.put_row(LAST.to_owned(), number.to_string().into_bytes().into()).await?;
        self.0.state().last = number;
        let event = Event::WebhookMade {
            webhook: number,
            host,
            events: row.topics.iter().map(|topic| Word::of(topic.name())).collect(),
            all_sites,
            sites: row.sites.clone(),
        };
        self.0.source.note(actor(caller)?, event).await?;
        let keys = Keys::random();
        self.0.source.put_row(secret_row(number), keys.to_bytes()).await?;
        self.0.source.put_row(endpoint_row(number), row.to_bytes()?.into()).await?;
        let answer = view::with_secret(&row, None, &keys.text());
        let endpoint = Endpoint::new(row, keys, allow);
        self.0.state().endpoints.insert(number, endpoint);
        Ok(answer)
    }

    /// The endpoints that the caller could have made, without secrets.
    pub fn list(&self, caller: &Caller) -> Vec<u8> {
        let now = self.0.clock.now();
        let state = self.0.state();
        let own = state.endpoints.values().filter(|endpoint| is_own(caller, &endpoint.row));
        let items =
            own.map(|endpoint| view::endpoint(&endpoint.row, endpoint.keys.previous_until(now)));
        view::list(items.collect())
    }

    /// Removes an endpoint at once. What waits for it is not sent.
    ///
    /// # Errors
    /// [`HookError::NotFound`] also for one with sites that the caller does not have.
    pub async fn remove(&self, caller: &Caller, id: &str) -> Result<(), HookError> {
        let _changing = self.0.changing.lock().await;
        let (number, _) = self.find(caller, id, |_| ())?;
        let event = Event::WebhookRemoved { webhook: number };
        self.0.source.note(actor(caller)?, event).await?;
        // A secret without its endpoint is nothing; the other way round it would be damage.
        self.0.source.delete_row(endpoint_row(number)).await?;
        self.0.state().endpoints.remove(&number);
        Ok(self.0.source.delete_row(secret_row(number)).await?)
    }

    /// Gives an endpoint a new secret and answers with it, this one time. The one before signs as
    /// well for a while.
    ///
    /// # Errors
    /// As [`Webhooks::remove`].
    pub async fn rotate(&self, caller: &Caller, id: &str) -> Result<Zeroizing<Vec<u8>>, HookError> {
        let _changing = self.0.changing.lock().await;
        let now = self.0.clock.now();
        let rotated = |endpoint: &Endpoint| (endpoint.keys.rotated(now), endpoint.row.clone());
        let (number, (keys, row)) = self.find(caller, id, rotated)?;
        let event = Event::WebhookSecretReplaced { webhook: number };
        self.0.source.note(actor(caller)?, event).await?;
        self.0.source.put_row(secret_row(number), keys.to_bytes()).await?;
        let answer = view::with_secret(&row, keys.previous_until(now), &keys.text());
        if let Some(endpoint) = self.0.state().endpoints.get_mut(&number) {
            endpoint.keys = Arc::new(keys);
        }
        Ok(answer)
    }

    /// The deliveries to an endpoint, the newest first.
    ///
    /// # Errors
    /// As [`Webhooks::remove`].
    pub fn deliveries(
        &self,
        caller: &Caller,
        id: &str,
        limit: usize,
    ) -> Result<Vec<u8>, HookError> {
        let (number, active) = self.find(caller, id, Endpoint::is_active)?;
        let state = self.0.state();
        let own = state.events.values().filter(|row| row.delivery(number).is_some());
        let mut own: Vec<&EventRow> = own.collect();
        own.sort_by_key(|row| (std::cmp::Reverse(row.raised_at), &row.id));
        let items = own.iter().take(limit).filter_map(|row| view::delivery(row, number, active));
        Ok(view::list(items.collect()))
    }

    /// Queues a message that says nothing, to see whether it arrives.
    ///
    /// # Errors
    /// As [`Webhooks::remove`]; [`HookError::Disabled`]; [`HookError::Busy`] while others wait.
    pub async fn test(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, HookError> {
        let (number, active) = self.find(caller, id, Endpoint::is_active)?;
        if !active {
            return Err(HookError::Disabled);
        }
        {
            let state = self.0.state();
            let waits = |row: &&EventRow| {
                let own = row.delivery(number).filter(|one| one.standing == Standing::Waiting);
                row.topic == Topic::Test && own.is_some()
            };
            let tests = state.events.values().filter(waits).count();
            if tests >= TESTS_MAX || state.events.len() >= EVENTS_MAX {
                return Err(HookError::Busy);
            }
        }
        let now = self.0.clock.now();
        let name = format!("{}/{:032x}", Topic::Test, u128::from_be_bytes(random_bytes()));
        let row = EventRow {
            id: message_id(&self.0.source.origin(), &name),
            topic: Topic::Test,
            site: None,
            raised_at: now,
            keep_until: Timestamp(now.0.saturating_add(self.0.settings.keep_ms)),
            body: message::text(Topic::Test, now, &message::test(&hook_id(number)))
                .ok_or(HookError::Failed)?,
            deliveries: vec![waiting(number, now)],
        };
        let answer = view::queued(&row.id);
        self.0.raise(name, row).await?;
        Ok(answer)
    }

    /// Finds an endpoint of the caller's and looks at it.
    fn find<T>(
        &self,
        caller: &Caller,
        id: &str,
        look: impl FnOnce(&Endpoint) -> T,
    ) -> Result<(u64, T), HookError> {
        let number = hook_number(id).ok_or(HookError::NotFound)?;
        let state = self.0.state();
        let found = state.endpoints.get(&number).filter(|one| is_own(caller, &one.row));
        found.map(|endpoint| (number, look(endpoint))).ok_or(HookError::NotFound)
    }
}

/// Whether the caller could have made the endpoint.
fn is_own(caller: &Caller, row: &EndpointRow) -> bool {
    covers(caller, row.all_sites, &row.sites)
}

fn covers(caller: &Caller, all_sites: bool, sites: &[SiteId]) -> bool {
    match &caller.sites {
        SiteScope::All => true,
        SiteScope::Some(_) => !all_sites && sites.iter().all(|site| caller.sites.holds(site)),
    }
}

/// Who asked, as the ledger writes it.
fn actor(caller: &Caller) -> Result<Actor, HookError> {
    Credential::parse(&caller.key_id).map(Actor::Credential).ok_or(HookError::Failed)
}
