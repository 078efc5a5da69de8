//! Talks to the API beside the records: makes sites and tokens before a run, reads usage after it.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::Error;
use super::client::{Answer, Bearer, Call, Client, Endpoint};
use super::fleet::Fleet;
use crate::model::time::Month;

/// How long the server may be away before a run starts, and when usage is read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens for more sites than this are made for all sites, to keep the request small.
const SITES_LISTED_MAX: usize = 200;

/// The tokens of a run.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// Posts the records.
    pub(super) producer: Bearer,
    /// Reads usage and settings, where there is such a token.
    pub(super) billing: Option<Bearer>,
    /// The operator, and the key ids of the tokens that were made for this run.
    made: Option<(Bearer, Vec<String>)>,
}

impl Access {
    /// Tokens that the caller brought.
    pub(super) fn given(producer: Bearer, billing: Option<Bearer>) -> Self {
        Self { producer, billing, made: None }
    }

    /// Whether this run made the sites and tokens itself.
    pub(super) fn is_own(&self) -> bool {
        self.made.is_some()
    }
}

/// A connection for everything but records.
#[derive(Debug)]
pub(super) struct Control {
    client: Client,
}

impl Control {
    /// A connection to the server.
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { client: Client::new(endpoint, PATIENCE) }
    }

    /// Finds out early, and in seconds, that there is no server.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub(super) async fn probe(&mut self, bearer: &Bearer) -> Result<(), Error> {
        self.client.call(&Call::new(Method::GET, "/livez", bearer)).await?;
        Ok(())
    }

    /// Makes the sites, a producer token and a billing token; `fresh` asks that no site existed.
    ///
    /// # Errors
    ///
    /// When the server refuses, or a site exists that should not.
    pub(super) async fn make(
        &mut self,
        operator: Bearer,
        fleet: &Fleet,
        fresh: bool,
    ) -> Result<Access, Error> {
        for site in &fleet.sites {
            let path = format!("/v1/sites/{}", site.id);
            let settings = json!({"name": format!("Load {}", site.id), "time_zone": site.zone});
            let call = Call::new(Method::PUT, &path, &operator).json(&settings);
            let answer = self.ask(&call, "a site could not be made").await?;
            if fresh && answer.status != StatusCode::CREATED {
                let hint = "--check needs fresh sites, try another --site-prefix";
                return Err(Error::Options(format!("site {} exists already; {hint}", site.id)));
            }
        }
        let (producer, producer_key) = self.make_token(&operator, fleet, "producer").await?;
        let (billing, billing_key) = self.make_token(&operator, fleet, "billing").await?;
        let made = Some((operator, vec![producer_key, billing_key]));
        Ok(Access { producer, billing: Some(billing), made })
    }

    async fn make_token(
        &mut self,
        operator: &Bearer,
        fleet: &Fleet,
        role: &str,
    ) -> Result<(Bearer, String), Error> {
        let listed = fleet.sites.len() <= SITES_LISTED_MAX;
        let sites: Vec<&str> = match listed {
            true => fleet.sites.iter().map(|site| site.id.as_str()).collect(),
            false => vec!["*"],
        };
        let name = format!("load {role}");
        let wish = json!({"role": role, "sites": sites, "expires_in_days": 1, "name": name});
        let call = Call::new(Method::POST, "/v1/tokens", operator).json(&wish);
        let doing = "a token could not be made";
        let answer = self.ask(&call, doing).await?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let bearer = said["token"].as_str().and_then(|token| token.parse().ok());
        let key_id = said["key_id"].as_str().map(str::to_owned);
        bearer.zip(key_id).ok_or(Error::Answer { doing })
    }

    /// Revokes the tokens that were made for this run.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub(super) async fn revoke(&mut self, access: &Access) -> Result<(), Error> {
        let Some((operator, keys)) = &access.made else {
            return Ok(());
        };
        for key in keys {
            let path = format!("/v1/tokens/{key}");
            let call = Call::new(Method::DELETE, &path, operator);
            self.ask(&call, "a token could not be revoked").await?;
        }
        Ok(())
    }

    /// The zones in which the sites bill, in the order of the fleet.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub(super) async fn zones(
        &mut self,
        billing: &Bearer,
        fleet: &Fleet,
    ) -> Result<Vec<String>, Error> {
        let doing = "a site's zone could not be read";
        let mut zones = Vec::with_capacity(fleet.sites.len());
        for site in &fleet.sites {
            let path = format!("/v1/sites/{}", site.id);
            let answer = self.ask(&Call::new(Method::GET, &path, billing), doing).await?;
            let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            zones.push(said["time_zone"].as_str().ok_or(Error::Answer { doing })?.to_owned());
        }
        Ok(zones)
    }

    /// The usage of a site and month.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub(super) async fn usage(
        &mut self,
        billing: &Bearer,
        site: &str,
        month: Month,
    ) -> Result<Value, Error> {
        let doing = "usage could not be read";
        let path = format!("/v1/sites/{site}/usage/{month}");
        let answer = self.ask(&Call::new(Method::GET, &path, billing), doing).await?;
        serde_json::from_slice(&answer.body).map_err(|_| Error::Answer { doing })
    }

    async fn ask(&mut self, call: &Call<'_>, doing: &'static str) -> Result<Answer, Error> {
        let (answer, _) = self.client.call(call).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(Error::refused(doing, &answer)),
        }
    }
}
