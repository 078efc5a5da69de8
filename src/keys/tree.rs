//! The tree of keys by name: what the register holds, which key wraps which, and how keys are made
//! and retired in one write of the register.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::register::{Batch, KeyRegister};
use super::slot::{KeyName, Slot, WRAPPED_BYTES};
use super::vek::LedgerMark;
use super::witness::{RegisterWrite, Witness};
use super::{KeyKind, KeysError, VaultId};
use crate::crypto::{SealKey, Secret};
use crate::model::batch::Epoch;
use crate::model::ids::{KeyId, SiteId};
use crate::model::time::{Day, Month};
use crate::model::vocab::Class;

/// The parent of nodes and of the keys of journal and backfills: the VEK, which has no number of
/// its own.
pub(super) const VEK: KeyId = KeyId(0);

/// For how many months before the newest of its kind and class a retired name is remembered. A
/// record is taken for 180 days at most, so nobody asks for an older one; and who could, remembers
/// by itself, as across restarts.
const RETIRED_MONTHS: u32 = 8;

/// The tree.
pub(super) struct Core {
    pub(super) register: Box<dyn KeyRegister>,
    pub(super) witness: Arc<dyn Witness>,
    pub(super) vault: VaultId,
    pub(super) vek: SealKey,
    pub(super) nodes: HashMap<KeyId, Node>,
    pub(super) by_id: HashMap<KeyId, Entry>,
    pub(super) by_name: HashMap<KeyName, KeyId>,
    /// The newest key of each bucket that an erasure gave another key, by the name of its first.
    pub(super) heirs: HashMap<KeyName, KeyId>,
    pub(super) retired: HashSet<KeyName>,
}

/// A node's key and how many keys it wraps.
pub(super) struct Node {
    pub(super) key: SealKey,
    pub(super) children: u32,
}

/// A living key and its slot.
pub(super) struct Entry {
    pub(super) no: u32,
    pub(super) slot: Slot,
}

/// A key that was just made.
pub(super) struct Made {
    pub(super) id: KeyId,
    pub(super) secret: Secret,
}

/// Something that the code above rules out; stopping is the only safe answer.
pub(super) fn broken() -> KeysError {
    KeysError::Failed(io::ErrorKind::Other)
}

impl KeyName {
    pub(super) fn plain(kind: KeyKind, epoch: u32) -> Self {
        Self { kind, of: None, class: None, epoch, owner: None, hold: 0, origin: 0 }
    }

    pub(super) fn of_site(kind: KeyKind, site: &SiteId, month: Month) -> Self {
        Self { owner: Some(site.clone()), ..Self::plain(kind, month.0) }
    }

    pub(super) fn bucket(site: &SiteId, class: Class, epoch: u32) -> Self {
        let owner = Some(site.clone());
        Self { class: Some(class), owner, ..Self::plain(KeyKind::Bucket, epoch) }
    }

    /// The name of a bucket's first key, for one that an erasure put in its place.
    fn succeeds(&self) -> Option<Self> {
        let is_heir = self.kind == KeyKind::Bucket && self.hold == 0 && self.origin != 0;
        is_heir.then(|| Self { origin: 0, ..self.clone() })
    }

    /// The month that it belongs to.
    fn month(&self) -> u32 {
        match (self.kind, Epoch::from_code(self.epoch)) {
            (KeyKind::Seen, _) => Day(self.epoch).month().0,
            (_, Epoch::Month(month)) => month.0,
            (_, Epoch::Day(day)) => day.month().0,
        }
    }

    /// The node that wraps a key of this name; `None` where the VEK does.
    pub(super) fn node(&self) -> Option<Self> {
        let epoch = match self.kind {
            KeyKind::Node | KeyKind::Journal | KeyKind::Backfill => return None,
            KeyKind::Seen => Day(self.epoch).month().0,
            _ => self.epoch,
        };
        let (of, class) = (Some(self.kind), self.class);
        // Keys of one hold share nodes with no other, so that its end forgets whole nodes.
        Some(Self { of, class, hold: self.hold, ..Self::plain(KeyKind::Node, epoch) })
    }
}

/// Opens what a slot holds under its parent.
pub(super) fn open_slot(
    vault: VaultId,
    no: u32,
    slot: &Slot,
    parent: &SealKey,
) -> Result<Secret, KeysError> {
    let unopened = || KeysError::Unopened { id: slot.id, slot: no };
    let aad = Slot::aad(vault, no, &slot.name, slot.id, slot.parent);
    let mut plain = parent.open(&aad, &slot.wrapped).map_err(|_| unopened())?;
    Secret::take(&mut plain).ok_or_else(unopened)
}

/// What a slot holds when a key is wrapped into it. The register fills the generation in.
pub(super) fn seal_slot(
    (vault, no): (VaultId, u32),
    id: KeyId,
    name: KeyName,
    parent: &SealKey,
    secret: &Secret,
) -> Slot {
    let sealed = parent.seal(&Slot::aad(vault, no, &name, id, parent.id()), secret.expose());
    let mut wrapped = [0; WRAPPED_BYTES];
    wrapped.copy_from_slice(&sealed);
    Slot { name, id, parent: parent.id(), generation: 0, wrapped }
}

impl Made {
    pub(super) fn seal_key(&self) -> Arc<SealKey> {
        Arc::new(SealKey::new(self.id, &self.secret))
    }
}

impl Core {
    /// Takes the live slots over and opens every wrapped key once.
    pub(super) fn open(
        register: Box<dyn KeyRegister>,
        mut live: Vec<(u32, Slot)>,
        vek: SealKey,
        witness: Arc<dyn Witness>,
    ) -> Result<Self, KeysError> {
        let vault = register.vault();
        let next = register.next_key();
        let mut core = Self {
            register,
            witness,
            vault,
            vek,
            nodes: HashMap::new(),
            by_id: HashMap::with_capacity(live.len()),
            by_name: HashMap::with_capacity(live.len()),
            heirs: HashMap::new(),
            retired: HashSet::new(),
        };
        // Nodes first: the others open under them.
        live.sort_unstable_by_key(|(no, slot)| (slot.name.kind != KeyKind::Node, *no));
        let mut sites: HashSet<SiteId> = HashSet::new();
        for (no, mut slot) in live {
            let id = slot.id;
            if let Some(owner) = &slot.name.owner {
                // One allocation a site, not one a key.
                let known = sites.get(owner).cloned();
                let owner = known.unwrap_or_else(|| owner.clone());
                sites.insert(owner.clone());
                slot.name.owner = Some(owner);
            }
            let fits = id.0 < next && id != VEK && core.parent_fits(&slot);
            if !fits || core.by_id.contains_key(&id) || core.by_name.contains_key(&slot.name) {
                return Err(KeysError::Misfit { id, slot: no });
            }
            let secret = core.unwrap(no, &slot)?;
            core.adopt(no, slot, &secret);
        }
        Ok(core)
    }

    fn parent_fits(&self, slot: &Slot) -> bool {
        let parent = slot.name.node().map_or(Some(VEK), |node| self.by_name.get(&node).copied());
        parent == Some(slot.parent)
    }

    fn adopt(&mut self, no: u32, slot: Slot, secret: &Secret) {
        let id = slot.id;
        if slot.name.kind == KeyKind::Node {
            self.nodes.insert(id, Node { key: SealKey::new(id, secret), children: 0 });
        }
        if let Some(node) = self.nodes.get_mut(&slot.parent) {
            node.children += 1;
        }
        if let Some(first) = slot.name.succeeds() {
            let newest = self.heirs.entry(first).or_insert(id);
            *newest = id.max(*newest);
        }
        self.by_name.insert(slot.name.clone(), id);
        self.by_id.insert(id, Entry { no, slot });
    }

    /// Forgets the name of a key that is gone.
    pub(super) fn forget_name(&mut self, id: KeyId, name: &KeyName) {
        self.by_name.remove(name);
        if let Some(first) = name.succeeds() {
            self.heirs.retain(|name, newest| *name != first || *newest != id);
        }
    }

    /// The living key of a name; of a bucket its newest one.
    pub(super) fn living(&self, name: &KeyName) -> Option<KeyId> {
        self.heirs.get(name).or_else(|| self.by_name.get(name)).copied()
    }

    pub(super) fn unwrap(&self, no: u32, slot: &Slot) -> Result<Secret, KeysError> {
        let parent = match slot.parent {
            VEK => &self.vek,
            parent => {
                let unopened = || KeysError::Unopened { id: slot.id, slot: no };
                &self.nodes.get(&parent).ok_or_else(unopened)?.key
            }
        };
        open_slot(self.vault, no, slot, parent)
    }

    pub(super) fn secret(&self, id: KeyId) -> Result<Secret, KeysError> {
        let entry = self.by_id.get(&id).ok_or(KeysError::Misfit { id, slot: 0 })?;
        self.unwrap(entry.no, &entry.slot)
    }

    pub(super) fn seal_key(&self, id: KeyId) -> Result<Arc<SealKey>, KeysError> {
        Ok(Arc::new(SealKey::new(id, &self.secret(id)?)))
    }

    pub(super) fn open_all(&self, ids: &[KeyId]) -> Result<Vec<Made>, KeysError> {
        ids.iter().map(|id| Ok(Made { id: *id, secret: self.secret(*id)? })).collect()
    }

    /// The numbers of keys that are made together: all, none (`None`), or an error when they, or
    /// some of them, are retired.
    pub(super) fn find_all(&self, names: &[KeyName]) -> Result<Option<Vec<KeyId>>, KeysError> {
        let ids: Vec<KeyId> = names.iter().filter_map(|name| self.living(name)).collect();
        if ids.len() == names.len() {
            return Ok(Some(ids));
        }
        let missing = |name: &&KeyName| self.living(name).is_none();
        match names.iter().find(missing) {
            Some(name) if !ids.is_empty() => Err(KeysError::Retired { kind: name.kind }),
            _ => match names.iter().find(|name| self.retired.contains(*name)) {
                Some(name) => Err(KeysError::Retired { kind: name.kind }),
                None => Ok(None),
            },
        }
    }

    /// Makes keys of these names, and the nodes they need, in one write.
    pub(super) fn make(&mut self, names: &[KeyName]) -> Result<Vec<Made>, KeysError> {
        self.make_with(names, |_| Secret::random())
    }

    /// As `make`, of secrets that come from elsewhere; those of nodes are always fresh.
    pub(super) fn make_with(
        &mut self,
        names: &[KeyName],
        mut secret_of: impl FnMut(&KeyName) -> Secret,
    ) -> Result<Vec<Made>, KeysError> {
        let mut wanted: Vec<KeyName> = Vec::with_capacity(2 * names.len());
        for node in names.iter().filter_map(KeyName::node) {
            if !self.by_name.contains_key(&node) && !wanted.contains(&node) {
                wanted.push(node);
            }
        }
        let nodes = wanted.len();
        wanted.extend_from_slice(names);
        let slots = self.register.reserve(wanted.len())?;
        let mut batch = Batch { next_key: self.register.next_key(), ..Batch::default() };
        let mut fresh: HashMap<KeyName, SealKey> = HashMap::new();
        let mut made = Vec::with_capacity(wanted.len());
        for (name, no) in wanted.into_iter().zip(slots) {
            let id = KeyId(batch.next_key);
            batch.next_key += 1;
            let secret = match name.kind {
                KeyKind::Node => Secret::random(),
                _ => secret_of(&name),
            };
            let slot = self.wrap(no, id, name, &secret, &fresh)?;
            if slot.name.kind == KeyKind::Node {
                fresh.insert(slot.name.clone(), SealKey::new(id, &secret));
            }
            batch.live.push((no, slot));
            made.push(Made { id, secret });
        }
        self.commit(&mut batch)?;
        for ((no, slot), made) in batch.live.into_iter().zip(&made) {
            self.adopt(no, slot, &made.secret);
        }
        Ok(made.split_off(nodes))
    }

    fn wrap(
        &self,
        no: u32,
        id: KeyId,
        name: KeyName,
        secret: &Secret,
        fresh: &HashMap<KeyName, SealKey>,
    ) -> Result<Slot, KeysError> {
        let node = name.node();
        let known = |node: &KeyName| {
            let id = self.by_name.get(node)?;
            self.nodes.get(id).map(|node| &node.key)
        };
        let parent = match &node {
            None => &self.vek,
            Some(node) => fresh.get(node).or_else(|| known(node)).ok_or_else(broken)?,
        };
        Ok(seal_slot((self.vault, no), id, name, parent, secret))
    }

    /// Tells the witness, then writes.
    fn commit(&mut self, batch: &mut Batch) -> Result<(), KeysError> {
        let of = |list: &[(u32, Slot)]| list.iter().map(|(_, s)| (s.id, s.name.kind)).collect();
        let epoch = self.register.vek_epoch();
        batch.ledger = self.witnessed(epoch, of(&batch.live), of(&batch.gone))?;
        Ok(self.register.write(batch)?)
    }

    /// The ledger's mark for the next write.
    pub(super) fn witnessed(
        &self,
        vek_epoch: u64,
        made: Vec<(KeyId, KeyKind)>,
        gone: Vec<(KeyId, KeyKind)>,
    ) -> Result<LedgerMark, KeysError> {
        let (vault, mark) = (self.vault, self.register.mark());
        let generation = self.register.generation() + 1;
        let write = RegisterWrite { vault, generation, vek_epoch, mark, made, gone };
        Ok(mark.later(self.witness.note(&write)?))
    }

    /// Remembers names that must not be given again, and forgets those that nobody asks for.
    pub(super) fn remember(&mut self, gone: Vec<KeyName>) {
        // Serials and nodes are no names that anybody asks for again.
        let passing = [KeyKind::Node, KeyKind::Journal, KeyKind::Backfill];
        let lasting = |name: &KeyName| !passing.contains(&name.kind);
        let before = self.retired.len();
        self.retired.extend(gone.into_iter().filter(lasting));
        if self.retired.len() == before {
            return;
        }
        let group = |name: &KeyName| (name.kind.code(), name.class.map(Class::code));
        let mut newest: HashMap<_, u32> = HashMap::new();
        for name in self.by_name.keys().chain(&self.retired) {
            let month = newest.entry(group(name)).or_default();
            *month = (*month).max(name.month());
        }
        let newest = |name: &KeyName| newest.get(&group(name)).copied().unwrap_or(0);
        self.retired.retain(|name| name.month().saturating_add(RETIRED_MONTHS) >= newest(name));
    }

    pub(super) fn retire(&mut self, ids: &[KeyId]) -> Result<Vec<Slot>, KeysError> {
        let mut gone: BTreeMap<KeyId, (u32, Slot)> = BTreeMap::new();
        let mut orphaned: HashMap<KeyId, u32> = HashMap::new();
        for id in ids {
            let Some(entry) = self.by_id.get(id) else { continue };
            if matches!(entry.slot.name.kind, KeyKind::Node | KeyKind::State) {
                return Err(KeysError::InUse(*id));
            }
            if gone.insert(*id, (entry.no, entry.slot.clone())).is_none() {
                *orphaned.entry(entry.slot.parent).or_default() += 1;
            }
        }
        for (id, count) in &orphaned {
            let empty = self.nodes.get(id).is_some_and(|node| node.children == *count);
            if let (true, Some(entry)) = (empty, self.by_id.get(id)) {
                gone.insert(*id, (entry.no, entry.slot.clone()));
            }
        }
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let gone: Vec<(u32, Slot)> = gone.into_values().collect();
        let next_key = self.register.next_key();
        let mut batch = Batch { gone, next_key, ..Batch::default() };
        self.commit(&mut batch)?;
        for (_, slot) in &batch.gone {
            self.by_id.remove(&slot.id);
            self.forget_name(slot.id, &slot.name);
            self.nodes.remove(&slot.id);
            if let Some(node) = self.nodes.get_mut(&slot.parent) {
                node.children -= 1;
            }
        }
        self.remember(batch.gone.iter().map(|(_, slot)| slot.name.clone()).collect());
        Ok(batch.gone.into_iter().map(|(_, slot)| slot).collect())
    }
}
