//! Keys on hold: a vault of its own in `hold` beside the register, with its own register and VEK
//! home under the same root provider. So the rest of a bucket's neighbors are destroyed on time, by
//! a turn-over of the main vault, and what is held ends later by one of this vault.
//!
//! A held key is one of two things. A hold key ([`KeyRing::hold_key`]) is fresh, one for each
//! (hold, site, class, epoch), and wraps what is copied to hold storage. A moved key
//! ([`KeyRing::move_to_hold`]) is a key of the main vault, its secret wrapped anew in this
//! register: the tally and record keys of the months on hold, or a whole bucket key. It has a
//! number of this register and remembers the one it had (`origin`), because values sealed before
//! name that. Two holds of one key are two keys here, and end one by one.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::destroy::Destruction;
use super::home::{self, beside_dir};
use super::rewrap::commitment;
use super::slot::KeyName;
use super::tree::broken;
use super::{CopyStatus, HoldNo, KeyKind, KeyRing, KeysError, Settings};
use crate::crypto::{BaseKey, HmacKey, SealKey, Secret, TagKey};
use crate::model::ids::{KeyId, SiteId};
use crate::model::vocab::Class;

/// The name of the hold vault's directory, and of that of its VEK home.
const HOLD: &str = "hold";

/// A held key, in the form of its use.
pub enum HeldKey {
    /// First step of pseudonyms.
    Base(BaseKey),
    /// Second step of pseudonyms.
    Tag(TagKey),
    /// Sealing: a hold key, or a moved key that has the number it had.
    Seal(Arc<SealKey>),
    /// Duplicates: the MAC key of [`SeenKeys`](super::SeenKeys) and the key that seals the runs.
    Seen(HmacKey, Arc<SealKey>),
}

impl Settings {
    /// Where the keys on hold live: `hold` beside the register, the same beside the VEK home, and
    /// `….hold` for each copy off the host.
    pub fn of_hold(&self) -> Self {
        let copies = self.copies.iter().map(|copy| {
            let mut name = copy.as_os_str().to_owned();
            name.push(".hold");
            name.into()
        });
        Self {
            dir: self.dir.join(HOLD),
            vek_home: beside_dir(&self.vek_home, HOLD),
            root_key: self.root_key.clone(),
            shares: self.shares.clone(),
            pkcs11: self.pkcs11.clone(),
            copies: copies.collect(),
        }
    }
}

impl KeyRing {
    /// The ring of the keys on hold, made if there is none.
    ///
    /// # Errors
    /// As [`KeyRing::open_witnessed`].
    pub fn hold(&self) -> Result<Arc<Self>, KeysError> {
        self.hold_if(true)?.ok_or_else(broken)
    }

    /// The ring of the keys on hold, if there is one. A caller that knows of holds and finds none
    /// must refuse: their keys are gone.
    ///
    /// # Errors
    /// As [`KeyRing::open_witnessed`].
    pub fn hold_existing(&self) -> Result<Option<Arc<Self>>, KeysError> {
        self.hold_if(false)
    }

    fn hold_if(&self, make: bool) -> Result<Option<Arc<Self>>, KeysError> {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = &*hold {
            return Ok(Some(Arc::clone(ring)));
        }
        let settings = self.settings.of_hold();
        if !make && !home::any(&settings)? {
            return Ok(None);
        }
        home::make_dir_of(&settings.vek_home)?;
        let root = Arc::clone(&self.turning()?.root);
        let witness = Arc::clone(&self.core()?.witness);
        let (mut ring, _) = Self::open_witnessed(&settings, Some(root), witness)?;
        ring.failed = Arc::clone(&self.failed);
        let ring = Arc::new(ring);
        *hold = Some(Arc::clone(&ring));
        Ok(Some(ring))
    }

    /// On the main ring: how the copies off the host stand, those of the register of holds among
    /// them where it can be opened.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn copies_of_both(&self) -> Result<Vec<CopyStatus>, KeysError> {
        let mut copies = self.copies()?;
        if let Ok(Some(of_holds)) = self.hold_existing() {
            copies.extend(of_holds.copies()?);
        }
        Ok(copies)
    }

    /// On the main ring: the copies of the register of holds, off the host, that cannot be had now.
    /// A turn-over of that vault would wait for them, so whoever needs one asks first. What such
    /// a turn-over has left is brought to its end where they can be had.
    ///
    /// # Errors
    /// As [`KeyRing::open_witnessed`] and [`KeyRing::resume`].
    pub fn holds_out_of_reach(&self) -> Result<Vec<PathBuf>, KeysError> {
        if self.settings.copies.is_empty() {
            return Ok(Vec::new());
        }
        let ring = self.hold()?;
        if let Some(Destruction::Waiting(paths)) = ring.resume(&())? {
            return Ok(paths);
        }
        let confirmed = ring.core()?.confirm();
        Ok(confirmed.waiting)
    }

    /// On the ring of holds: the key for what a hold keeps of a bucket, made if there is none.
    ///
    /// # Errors
    /// When it is destroyed, or the register cannot be written.
    pub fn hold_key(
        &self,
        hold: HoldNo,
        site: &SiteId,
        class: Class,
        epoch: u32,
    ) -> Result<Arc<SealKey>, KeysError> {
        self.usable()?;
        let bucket = KeyName::bucket(site, class, epoch);
        let name = KeyName { kind: KeyKind::Hold, hold: hold.0, ..bucket };
        let mut core = self.core()?;
        self.seal_by_name(&mut core, name)
    }

    /// On the main ring: puts a key on hold as well; answers its number in the register of holds.
    /// It is durable there when this returns, and stays in the main register until it is destroyed
    /// there. Calling it again answers the same number, also when the main register has it no more.
    ///
    /// # Errors
    /// When there is no such key, it is a node or the state key, or the register of holds cannot be
    /// written.
    pub fn move_to_hold(&self, hold: &Self, id: KeyId, number: HoldNo) -> Result<KeyId, KeysError> {
        if std::ptr::eq(self, hold) {
            return Err(KeysError::NoKey(id));
        }
        hold.usable()?;
        // Locked to the end: a key must not be destroyed here while it is being carried over.
        let main = self.core()?;
        let Some(entry) = main.by_id.get(&id) else {
            return hold.moved(number, id)?.ok_or(KeysError::NoKey(id));
        };
        if matches!(entry.slot.name.kind, KeyKind::Node | KeyKind::State) {
            return Err(KeysError::InUse(id));
        }
        let secret = main.secret(id)?;
        let name = KeyName { hold: number.0, origin: id.0, ..entry.slot.name.clone() };
        let mut core = hold.core()?;
        if let Some(there) = core.find_all(std::slice::from_ref(&name))? {
            let there = *there.first().ok_or_else(broken)?;
            let same = commitment(&core.secret(there)?) == commitment(&secret);
            return if same { Ok(there) } else { Err(KeysError::HeldDiffers(there)) };
        }
        let mut secret = Some(secret);
        let names = [name];
        let made = core.make_with(&names, |_| secret.take().unwrap_or_else(Secret::random));
        let made = hold.note(made)?;
        made.first().map(|made| made.id).ok_or_else(broken)
    }

    /// On the ring of holds: puts a moved key on another hold as well; answers its number. Calling
    /// it again answers the same number.
    ///
    /// # Errors
    /// When there is no such moved key, or the register cannot be written.
    pub fn share_held(&self, id: KeyId, number: HoldNo) -> Result<KeyId, KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let moved = core.by_id.get(&id).filter(|entry| entry.slot.name.origin != 0);
        let moved = moved.ok_or(KeysError::NoKey(id))?;
        let name = KeyName { hold: number.0, ..moved.slot.name.clone() };
        let mut secret = Some(core.secret(id)?);
        if let Some(there) = core.find_all(std::slice::from_ref(&name))? {
            return there.first().copied().ok_or_else(broken);
        }
        let names = [name];
        let made = core.make_with(&names, |_| secret.take().unwrap_or_else(Secret::random));
        self.note(made)?.first().map(|made| made.id).ok_or_else(broken)
    }

    /// On the ring of holds: the number of a moved key, by the hold and the number it had.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn moved(&self, hold: HoldNo, origin: KeyId) -> Result<Option<KeyId>, KeysError> {
        let core = self.core()?;
        // Hold keys have no origin, which is written as zero.
        let own =
            |name: &KeyName| name.origin != 0 && (name.hold, name.origin) == (hold.0, origin.0);
        Ok(core.by_name.iter().find(|(name, _)| own(name)).map(|(_, id)| *id))
    }

    /// On the ring of holds: a held key by its number here.
    ///
    /// # Errors
    /// When there is none.
    pub fn held_key(&self, id: KeyId) -> Result<HeldKey, KeysError> {
        let core = self.core()?;
        let entry = core.by_id.get(&id).filter(|entry| entry.slot.name.hold != 0);
        let name = entry.ok_or(KeysError::NoKey(id))?.slot.name.clone();
        let secret = core.secret(id)?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        // Values name the number that the key had, so that is what it opens.
        let number = if name.origin == 0 { id } else { KeyId(name.origin) };
        let mut seal = || cache.seal_as(id, SealKey::new(number, &secret));
        Ok(match name.kind {
            KeyKind::Base => HeldKey::Base(BaseKey::new(&secret)),
            KeyKind::Tally | KeyKind::Record | KeyKind::Watermark => {
                HeldKey::Tag(TagKey::new(&secret))
            }
            KeyKind::Seen => {
                HeldKey::Seen(HmacKey::new(&secret).subkey(b"blindtally/seen/1"), seal())
            }
            KeyKind::Sets | KeyKind::Bucket | KeyKind::Journal | KeyKind::Hold => {
                HeldKey::Seal(seal())
            }
            KeyKind::Node
            | KeyKind::State
            | KeyKind::Suppression
            | KeyKind::Backfill
            | KeyKind::Access => return Err(KeysError::NoKey(id)),
        })
    }
}
