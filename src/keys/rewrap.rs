//! A turn-over in the tree: which nodes get a fresh key, what is wrapped anew, and what is gone.
//!
//! A leaf is wrapped by its node and a node by the VEK. When a leaf is destroyed, its node must not
//! open its old slot again, so the node gets a fresh key under a fresh number and the leaves that
//! stay are wrapped under that; a node that loses its last leaf goes. All other nodes, and the
//! journal keys, are only wrapped under the new VEK, their leaves are not touched at all. So what a
//! destruction writes is the nodes, plus the leaves of the nodes that it hits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::pages::Inspect;
use super::register::{Batch, Confirmed};
use super::slot::{Copy, Slot};
use super::tree::{Core, Entry, Node, VEK, broken, open_slot, seal_slot};
use super::vek::LedgerMark;
use super::{KeyKind, KeysError, VaultId};
use crate::crypto::{HmacKey, SealKey, Secret};
use crate::model::ids::KeyId;

/// What a key's commitment is the MAC of.
const COMMITMENT: &[u8] = b"blindtally/commit/1";

/// The commitment of a secret: tells later which key it was, and nothing about it.
pub(super) fn commitment(secret: &Secret) -> [u8; 32] {
    HmacKey::new(secret).mac(COMMITMENT)
}

/// What a turn-over will do, before any key is touched.
pub(super) struct Plan {
    /// Living leaves that go.
    pub(super) victims: BTreeSet<KeyId>,
    /// They, and the nodes that go with the last of them.
    gone: BTreeSet<KeyId>,
    /// Nodes that get a fresh key, and its number.
    fresh: BTreeMap<KeyId, KeyId>,
    next_key: u64,
}

/// The tree after a turn-over, in memory.
pub(super) struct Turned {
    batch: Batch,
    vek: SealKey,
    /// The fresh nodes' keys, by their fresh numbers.
    nodes: HashMap<KeyId, SealKey>,
}

/// What became of a turn-over in the register.
pub(super) struct Written {
    /// What stood in the slots that were zeroed or rewritten.
    pub(super) old: Vec<(u32, Slot)>,
    /// Slots that were wrapped anew.
    pub(super) rewrapped: u64,
    /// Keys that were read back and opened, in both copies.
    pub(super) read_back: u64,
}

impl Core {
    /// Plans the end of these keys. Numbers without a living key are left out.
    pub(super) fn plan(&self, victims: &[KeyId]) -> Result<Plan, KeysError> {
        let mut next_key = self.register.next_key();
        let living = victims.iter().copied().filter(|id| self.by_id.contains_key(id));
        let victims: BTreeSet<KeyId> = living.collect();
        let mut hit: BTreeMap<KeyId, u32> = BTreeMap::new();
        for id in &victims {
            let slot = &self.by_id.get(id).ok_or_else(broken)?.slot;
            if matches!(slot.name.kind, KeyKind::Node | KeyKind::State) {
                return Err(KeysError::InUse(*id));
            }
            if slot.parent != VEK {
                *hit.entry(slot.parent).or_default() += 1;
            }
        }
        let (mut gone, mut fresh) = (victims.clone(), BTreeMap::new());
        for (node, lost) in hit {
            if self.nodes.get(&node).ok_or_else(broken)?.children == lost {
                gone.insert(node);
            } else {
                fresh.insert(node, KeyId(next_key));
                next_key += 1;
            }
        }
        Ok(Plan { victims, gone, fresh, next_key })
    }

    /// The ledger's mark for a planned turn-over.
    pub(super) fn witness_plan(&self, plan: &Plan) -> Result<LedgerMark, KeysError> {
        let kind = |id: &KeyId| self.by_id.get(id).map(|entry| (*id, entry.slot.name.kind));
        let made = plan.fresh.values().map(|id| (*id, KeyKind::Node)).collect();
        let gone = plan.gone.iter().chain(plan.fresh.keys()).filter_map(kind).collect();
        self.witnessed(self.register.vek_epoch() + 1, made, gone)
    }

    /// Wraps anew what a plan asks for, in memory, under this VEK.
    pub(super) fn rewrap(&self, plan: &Plan, vek: SealKey) -> Result<Turned, KeysError> {
        let mut batch = Batch { next_key: plan.next_key, ..Batch::default() };
        let mut nodes = HashMap::with_capacity(plan.fresh.len());
        let mut put = |entry: &Entry, id: KeyId, parent: &SealKey, secret: &Secret| {
            let (no, name) = (entry.no, entry.slot.name.clone());
            batch.gone.push((no, entry.slot.clone()));
            batch.live.push((no, seal_slot((self.vault, no), id, name, parent, secret)));
        };
        for (old, new) in &plan.fresh {
            let entry = self.by_id.get(old).ok_or_else(broken)?;
            let secret = Secret::random();
            put(entry, *new, &vek, &secret);
            nodes.insert(*new, SealKey::new(*new, &secret));
        }
        for (id, entry) in &self.by_id {
            if plan.gone.contains(id) || plan.fresh.contains_key(id) {
                continue;
            }
            let parent = match entry.slot.parent {
                VEK => &vek,
                parent => match plan.fresh.get(&parent) {
                    Some(fresh) => nodes.get(fresh).ok_or_else(broken)?,
                    None => continue,
                },
            };
            put(entry, *id, parent, &self.unwrap(entry.no, &entry.slot)?);
        }
        for id in &plan.gone {
            let entry = self.by_id.get(id).ok_or_else(broken)?;
            batch.gone.push((entry.no, entry.slot.clone()));
        }
        Ok(Turned { batch, vek, nodes })
    }

    /// Writes a turn-over into both copies of the register, reads it back, and takes it over.
    pub(super) fn turn(
        &mut self,
        plan: &Plan,
        mut turned: Turned,
        mark: LedgerMark,
        kept: &mut dyn FnMut(Copy),
    ) -> Result<Written, KeysError> {
        turned.batch.ledger = mark;
        let epoch = self.register.vek_epoch() + 1;
        let vault = self.vault;
        let (vek, fresh, nodes) = (&turned.vek, &turned.nodes, &self.nodes);
        let mut inspector = Inspector { vault, vek, nodes, fresh, gone: &plan.gone, kept };
        let read_back = self.register.turn_over(&mut turned.batch, epoch, &mut inspector)?;
        let rewrapped = turned.batch.live.len() as u64;
        Ok(Written { old: self.take_over(plan, turned), rewrapped, read_back })
    }

    /// Answers the slots as they were before.
    fn take_over(&mut self, plan: &Plan, mut turned: Turned) -> Vec<(u32, Slot)> {
        // The old VEK, and below the old nodes' keys, are wiped as they are dropped.
        self.vek = turned.vek;
        let mut gone = Vec::with_capacity(plan.gone.len());
        for id in &plan.gone {
            self.nodes.remove(id);
            let Some(entry) = self.by_id.remove(id) else { continue };
            let name = entry.slot.name;
            self.forget_name(*id, &name);
            if let Some(node) = self.nodes.get_mut(&entry.slot.parent) {
                node.children -= 1;
            }
            gone.push(name);
        }
        self.remember(gone);
        for (old, new) in &plan.fresh {
            self.by_id.remove(old);
            let children = self.nodes.remove(old).map_or(0, |node| node.children);
            if let Some(key) = turned.nodes.remove(new) {
                self.nodes.insert(*new, Node { key, children });
            }
        }
        for (no, slot) in turned.batch.live {
            if slot.name.kind == KeyKind::Node {
                self.by_name.insert(slot.name.clone(), slot.id);
            }
            self.by_id.insert(slot.id, Entry { no, slot });
        }
        turned.batch.gone
    }

    /// Reads both copies back and opens every key, as after a turn-over.
    pub(super) fn read_back(&mut self) -> Result<u64, KeysError> {
        let (vault, vek, nodes) = (self.vault, &self.vek, &self.nodes);
        let (fresh, gone) = (&HashMap::new(), &BTreeSet::new());
        let mut inspector = Inspector { vault, vek, nodes, fresh, gone, kept: &mut |_| {} };
        Ok(self.register.read_back(&mut inspector)?)
    }

    /// Brings the copies off the host up to date and reads them back.
    pub(super) fn confirm(&mut self) -> Confirmed {
        let (vault, vek, nodes) = (self.vault, &self.vek, &self.nodes);
        let (fresh, gone) = (&HashMap::new(), &BTreeSet::new());
        let mut inspector = Inspector { vault, vek, nodes, fresh, gone, kept: &mut |_| {} };
        self.register.confirm(&mut inspector)
    }

    /// The first of some old slots that still opens under a key in force.
    ///
    /// # Errors
    /// When a key in force does not open to be tried.
    pub(super) fn still_opens(&self, old: &[(u32, Slot)]) -> Result<Option<KeyId>, KeysError> {
        // A node's heir has another number; it is tried as if it had the old one.
        let mut heirs: HashMap<KeyId, SealKey> = HashMap::new();
        for (_, slot) in old.iter().filter(|(_, slot)| slot.parent != VEK) {
            let heir = slot.name.node().and_then(|name| self.by_name.get(&name));
            if let (Some(heir), false) = (heir, heirs.contains_key(&slot.parent)) {
                let secret = self.secret(*heir)?;
                heirs.insert(slot.parent, SealKey::new(slot.parent, &secret));
            }
        }
        let opens = |(no, slot): &&(u32, Slot)| {
            let own = self.nodes.get(&slot.parent).map(|node| &node.key);
            let vek = (slot.parent == VEK).then_some(&self.vek);
            let keys = [vek, heirs.get(&slot.parent), own];
            keys.into_iter().flatten().any(|key| open_slot(self.vault, *no, slot, key).is_ok())
        };
        Ok(old.iter().find(opens).map(|(_, slot)| slot.id))
    }
}

/// Opens what is read back under the keys that will be in force.
struct Inspector<'a> {
    vault: VaultId,
    vek: &'a SealKey,
    nodes: &'a HashMap<KeyId, Node>,
    fresh: &'a HashMap<KeyId, SealKey>,
    gone: &'a BTreeSet<KeyId>,
    kept: &'a mut dyn FnMut(Copy),
}

impl Inspect for Inspector<'_> {
    fn opens(&mut self, no: u32, slot: &Slot) -> bool {
        let parent = match slot.parent {
            VEK => Some(self.vek),
            id => self.fresh.get(&id).or_else(|| self.nodes.get(&id).map(|node| &node.key)),
        };
        let opens = |parent: &SealKey| open_slot(self.vault, no, slot, parent).is_ok();
        !self.gone.contains(&slot.id) && parent.is_some_and(opens)
    }

    fn kept(&mut self, copy: Copy) {
        (self.kept)(copy);
    }
}
