//! What is found in the directory of backups: the list, and what a cut left there.
//!
//! Several servers may keep their backups in one directory. What is not whole yet has the vault's
//! id in its name, and what is whole has it in its manifest, so that each sees and removes its own
//! only.
//!
//! A backup is made when the ledger says so, since nothing else can be put back: the list asks the
//! ledger, and a start gives a backup that a cut has left whole, without its result, that result.

use std::path::Path;

use super::restore::manifest_of;
use super::{BackupError, Inner, MANIFEST, Made, copy, result_of};
use crate::crypto::sha256;
use crate::ledger::{Actor, Digest, Entry, Event, LedgerError, Recorded, Vault};
use crate::wire::backup::{BackupView, Manifest, PARTIAL, is_name};

/// Entries that are read at once.
const READ_ENTRIES: u64 = 1_000;

/// The name of a backup that is not whole.
pub(super) fn partial(name: &str, vault: Vault) -> String {
    format!("{name}.{vault}{PARTIAL}")
}

/// Whether a name is that of a backup of this vault that is not whole.
fn is_partial_of(name: &str, vault: Vault) -> bool {
    name.strip_suffix(&format!(".{vault}{PARTIAL}")).is_some_and(is_name)
}

/// Whether a name is that of a backup that an earlier program left, which put no vault's id into
/// it. The manifest, which comes last, may say whose it is.
fn is_old_partial_of(root: &Path, name: &str, vault: Vault) -> Option<bool> {
    let plain = name.strip_suffix(PARTIAL)?;
    // `<name>.<32 hex digits>` is of today's, of this or of another server.
    let id = plain.rsplit_once('.').map_or("", |(_, id)| id);
    if !is_name(plain) || id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let text = std::fs::read(root.join(name).join(MANIFEST)).unwrap_or_default();
    Some(Manifest::parse(&text).is_ok_and(|manifest| manifest.vault == vault))
}

/// Names in a directory; none where it cannot be read.
fn names(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

impl Inner {
    /// What is in the directory, in the order of the names, without what other servers keep there.
    pub(super) fn views(&self) -> Result<Vec<BackupView>, BackupError> {
        let root = self.root()?;
        std::fs::read_dir(root).map_err(|_| BackupError::Failed)?;
        // Before anything is looked at: what ends meanwhile is still shown as running.
        let (running, failed) = {
            let state = self.state();
            (state.running.clone(), state.failed.clone())
        };
        let is_running = |name: &String| running.as_ref().is_some_and(|(own, _)| own == name);
        let mut views = Vec::new();
        for name in names(root) {
            if is_name(&name) && !is_running(&name) && root.join(&name).join(MANIFEST).exists() {
                views.extend(self.view(root, name)?);
            }
        }
        if let Some((name, operation)) = running {
            views.push(BackupView::Running { name, operation });
        }
        if let Some((name, why)) = failed {
            views.push(BackupView::Failed { name, why });
        }
        Ok(views)
    }

    /// A backup that is there; nothing where another server made it.
    fn view(&self, root: &Path, name: String) -> Result<Option<BackupView>, BackupError> {
        let text = std::fs::read(root.join(&name).join(MANIFEST)).unwrap_or_default();
        let Ok(manifest) = Manifest::parse(&text) else {
            return Ok(Some(BackupView::Damaged { name }));
        };
        let own = self.vault().map_err(|_| BackupError::Failed)?;
        if manifest.vault != own {
            return Ok(None);
        }
        let known = self.known(manifest.operation)?;
        Ok(Some(match known == Some(Digest(sha256(&[&text]))) {
            true => BackupView::Made { name, manifest: Box::new(manifest) },
            false => BackupView::Damaged { name },
        }))
    }

    /// The digest of the manifest that the ledger has for the backup of an intent.
    fn known(&self, operation: u64) -> Result<Option<Digest>, BackupError> {
        if let Some(known) = self.state().known.get(&operation) {
            return Ok(Some(*known));
        }
        let (mut from, size) = (operation, self.ledger.head()?.size);
        while from < size {
            let lines = self.ledger.read(from, READ_ENTRIES)?;
            for (line, entry) in lines.iter().zip(from..) {
                let read = Recorded::decode(line.as_bytes());
                let read = read.map_err(|_| LedgerError::Changed { entry })?;
                if let (Event::BackupResult { manifest, .. }, true) =
                    (&read.event, read.operation == operation)
                {
                    self.state().known.extend(manifest.map(|digest| (operation, digest)));
                    return Ok(*manifest);
                }
            }
            from += lines.len().max(1) as u64;
        }
        Ok(None)
    }

    /// Removes what is not whole, and gives each intent without a result the one that it has come
    /// to.
    pub(super) fn tidy(&self) -> Result<(), BackupError> {
        let own = self.vault().map_err(|_| BackupError::Failed)?;
        if let Some(root) = &self.settings.dir {
            for name in names(root) {
                let old = is_old_partial_of(root, &name, own);
                if is_partial_of(&name, own) || old == Some(true) {
                    tracing::warn!(name, "a backup was cut; what there is of it is removed");
                    let _ = std::fs::remove_dir_all(root.join(name));
                } else if old == Some(false) {
                    tracing::warn!(
                        name,
                        "left alone: a backup that an earlier program did not finish, and nothing \
                         in it says of which server; no program goes on with it, so remove it by \
                         hand if no other server keeps its backups here"
                    );
                } else if name.ends_with(PARTIAL) {
                    tracing::info!(name, "left alone: it does not belong to this server");
                }
            }
        }
        for open in self.ledger.unfinished()? {
            if !matches!(open.event, Event::BackupIntent { .. }) {
                continue;
            }
            let made = self.settings.dir.as_deref().and_then(|root| whole(root, own, open.number));
            let outcome = if made.is_some() { "made" } else { "cut" };
            let event = result_of(outcome, made.as_ref());
            self.append(Entry::result(self.clock.now(), Actor::Server, open.number, event))?;
        }
        Ok(())
    }
}

/// The backup of an intent, where a cut came between its name and its result. One that is not
/// whole is removed: no ledger will ever know it.
fn whole(root: &Path, own: Vault, operation: u64) -> Option<Made> {
    for name in names(root).into_iter().filter(|name| is_name(name)) {
        let path = root.join(&name);
        let text = std::fs::read(path.join(MANIFEST)).unwrap_or_default();
        let manifest = Manifest::parse(&text).ok();
        if manifest.is_none_or(|found| (found.vault, found.operation) != (own, operation)) {
            continue;
        }
        tracing::info!(name, "a backup has its name and no result in the ledger: it is checked");
        // Its name may be younger than the last sync.
        let checked = manifest_of(&path);
        match (checked, copy::sync_dir(root)) {
            (Ok((manifest, digest)), Ok(())) => return Some(Made::of(&manifest, digest)),
            (Err(error), _) => tracing::warn!(name, %error, "a backup that was cut is removed"),
            (_, Err(error)) => tracing::warn!(name, %error, "a backup that was cut is removed"),
        }
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(name, %error, "it could not be removed, and is listed as damaged");
        }
    }
    None
}
