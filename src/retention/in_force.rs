//! Which policy is in force at a start. It is the one that is kept, with its profile and its
//! periods, whatever this build has built in: an upgrade and a changed setting make no policy, a
//! file with its notice does. Data that has none but knows of one by its digest (from a build
//! before they were kept, or put back from a backup) needs that one, or the start is refused.

use super::policy::{BUILT_IN, Policy, PolicyError, Profile};
use super::vault::Vault;
use super::{POLICY, Settings, StartError, State, clock};
use crate::ledger::{Digest, Event, Ledger, LedgerError, Recorded};

/// Entries that are read from the ledger at once.
const READ_ENTRIES: u64 = 1_000;

/// The policy in force, and the one that the file says, where that is another.
///
/// # Errors
/// When the file cannot be used, or changes something without its notice; when the profile of the
/// settings is not the one in force; when nobody knows the policy in force.
pub(super) fn policies(
    vault: &dyn Vault,
    ledger: &Ledger,
    settings: &Settings,
    state: &State,
) -> Result<(Policy, Option<Policy>), StartError> {
    let file = match &settings.policy {
        Some(path) => Some(std::fs::read(path).map_err(|_| PolicyError::File)?),
        None => None,
    };
    let kept = vault.load_rows(POLICY)?.into_iter().next().map(|(_, text)| text);
    let told = state.clock.as_ref().map(|row| row.policy).filter(|told| *told != clock::NO_POLICY);
    let policy = match (kept, told) {
        (Some(text), _) => Policy::kept(&text)?,
        (None, Some(told)) => by_digest(told, file.as_deref(), ledger)?,
        // Nothing was in force yet.
        (None, None) => Policy::of(settings.profile),
    };
    let mut next = None;
    if let Some(text) = &file
        && Policy::kept(text).map(|file| file.digest) != Ok(policy.digest)
    {
        next = Some(Policy::read(text, &policy, settings.profile)?);
    }
    if next.is_none() && policy.profile != settings.profile {
        return Err(PolicyError::ProfileChange(policy.profile).into());
    }
    Ok((policy, next))
}

/// The policy with this digest: the file's, or the built-in one that the ledger says it was.
fn by_digest(told: Digest, file: Option<&[u8]>, ledger: &Ledger) -> Result<Policy, StartError> {
    if let Some(Ok(policy)) = file.map(Policy::kept)
        && policy.digest == told.0
    {
        return Ok(policy);
    }
    let built_in = Profile::ALL.iter().map(|profile| Policy::of(*profile));
    if let Some(policy) = built_in.into_iter().find(|own| own.digest == told.0) {
        return Ok(policy);
    }
    // A digest that an earlier build made of other texts: the dates tell that it was built in.
    let (mut from, size) = (0, ledger.head()?.size);
    while from < size {
        let lines = ledger.read(from, READ_ENTRIES)?;
        for (line, entry) in lines.iter().zip(from..) {
            let read = Recorded::decode(line.as_bytes());
            let read = read.map_err(|_| LedgerError::Changed { entry })?;
            if let Event::PolicyLoaded { digest, profile, published, effective } = read.event
                && digest == told
                && (published, effective) == BUILT_IN
                && let Some(profile) = Profile::from_name(profile.as_str().as_bytes())
            {
                return Ok(Policy::of(profile));
            }
        }
        from += lines.len().max(1) as u64;
    }
    Err(PolicyError::Lost(told).into())
}
