//! What this desk needs of the engine; a trait, so that its tests need no disk.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::engine::{Engine, EngineError};
use crate::keys::vek::LedgerMark;
use crate::keys::{EpochStanding, KeyInfo, RegisterScan};
use crate::model::arrival::Hour;
use crate::model::caller::Caller;
use crate::model::ids::{GroupId, KeyId, SiteId};
use crate::model::retention::Doom;
use crate::model::site::Site;
use crate::model::time::{Day, Month, Timestamp};

pub use crate::engine::destroy::{DestroyReport, LotInfo, LotReport, Verification};
pub use crate::engine::ended::FiguresInfo;
pub use crate::engine::gone::Dues;
pub use crate::engine::hold::HeldInfo;

/// A change of state that is under way.
pub type Change<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// A row of the desk: its name and its bytes.
pub type Row = (String, Vec<u8>);

/// What this desk needs of the engine.
pub trait Vault: Send + Sync + 'static {
    /// Every living lot.
    fn lots(&self) -> Vec<LotInfo>;
    /// The site of an id, or the key scope of a billing group.
    fn site(&self, id: &SiteId) -> Option<Arc<Site>>;
    /// Every site.
    fn sites(&self) -> Vec<Arc<Site>>;
    /// The key scopes of all billing groups.
    fn groups(&self) -> Vec<SiteId>;
    /// The members of a billing group in a month.
    fn members(&self, group: &GroupId, month: Month) -> Vec<Arc<Site>> {
        self.sites().into_iter().filter(|site| site.is_member(group, month)).collect()
    }
    /// Every living key, without what it is.
    fn key_list(&self) -> Vec<KeyInfo>;
    /// The same of the keys on hold.
    ///
    /// # Errors
    /// When their vault cannot be opened.
    fn held_key_list(&self) -> Result<Vec<KeyInfo>, EngineError>;
    /// The accepted age of records, milliseconds.
    fn age_ms(&self) -> i64;
    /// Whether a backup is being copied, which a destruction would call off.
    fn is_copying(&self) -> bool;
    /// The first day whose duplicates are known; earlier ones are needed no more.
    fn seen_floor(&self) -> Day;
    /// The commitment of a living key.
    fn commitment(&self, key: KeyId) -> Option<[u8; 32]>;
    /// The VEK epoch in force.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    fn vek_epoch(&self) -> Result<u64, EngineError>;
    /// How the vault epoch stands.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    fn epoch_standing(&self) -> Result<EpochStanding, EngineError>;
    /// Turns the vault epoch over, after the ledger's entry that this is the mark of; the copies
    /// off the host that it waits for.
    fn turn_over(&self, mark: LedgerMark) -> Change<'_, Vec<PathBuf>>;
    /// Whether keys that lived in a VEK epoch are destroyed now.
    fn is_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool;
    /// Looks for destroyed keys in both copies of the register, or of that of the holds.
    ///
    /// # Errors
    /// When a copy cannot be read.
    fn scan_register(&self, gone: &[KeyId], of_holds: bool) -> Result<RegisterScan, EngineError>;
    /// Lots whose destruction began and has not ended.
    fn unfinished_destruction(&self) -> Vec<Doom>;
    /// What a destruction of copies took that waits for a copy of the register of holds, in no
    /// other's way.
    fn waiting_destruction(&self) -> Vec<Doom>;
    /// The keys of a destruction that has begun and not ended, listed or not.
    ///
    /// # Errors
    /// When its row cannot be read.
    fn unfinished_keys(&self) -> Result<Vec<KeyInfo>, EngineError>;
    /// The report of the destruction that ended last.
    ///
    /// # Errors
    /// When its row cannot be read.
    fn last_destruction(&self) -> Result<Option<DestroyReport>, EngineError>;
    /// Destroys lots, or copies in hold storage, after the ledger's entry that this is the mark of.
    /// Heirs have their copies before.
    fn destroy(&self, lots: Vec<Doom>, mark: LedgerMark) -> Change<'_, DestroyReport>;
    /// The copies of the register of holds, off the host, that cannot be had now: what is on hold,
    /// and copies of holds that ended, would wait for them.
    fn holds_out_of_reach(&self) -> Change<'_, Vec<PathBuf>>;
    /// Has the engine ask which buckets are due before it keeps a record.
    fn judge_by(&self, dues: Box<dyn Dues>);
    /// Puts what was acknowledged into its buckets, so that none is missed, drops what the engine
    /// keeps by itself and whose life is over at a believed time, and raises the floor of what it
    /// knows duplicates of.
    fn expire(&self, believed: Timestamp) -> Change<'_, ()>;
    /// The open backfill that has records of a site's month put aside.
    fn staged_in(&self, site: &SiteId, month: Month) -> Option<u64>;
    /// What the vault epoch keys are wrapped by, and what their home lies on.
    fn vek_home(&self) -> String;
    /// Every copy in hold storage.
    ///
    /// # Errors
    /// When the vault of the holds cannot be opened.
    fn held(&self) -> Result<Vec<HeldInfo>, EngineError>;
    /// The commitment of a living key of the vault of the holds.
    fn held_commitment(&self, key: KeyId) -> Option<[u8; 32]>;
    /// The VEK epoch in force in the vault of the holds; 0 where there is none.
    ///
    /// # Errors
    /// When its keys cannot be used any more.
    fn held_vek_epoch(&self) -> Result<u64, EngineError>;
    /// As [`Vault::is_destroyed`], in the vault of the holds.
    fn is_held_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool;
    /// The time that the engine goes by. Where it is behind the clock, the clock has jumped for it.
    fn believed(&self) -> Timestamp;
    /// Has the engine go by a time that a custodian confirmed.
    fn believe(&self, at: Timestamp) -> Change<'_, ()>;
    /// Ends a site's collection; one that has ended keeps its time.
    fn terminate(&self, site: SiteId, at: Timestamp) -> Change<'_, Arc<Site>>;
    /// The desk's rows whose name begins so, in the order of their names.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError>;
    /// The desk's first row from a name on, of those whose name begins so.
    ///
    /// # Errors
    /// When the row cannot be read.
    fn load_row_from(&self, prefix: &str, from: &str) -> Result<Option<Row>, EngineError>;
    /// Writes a row of the desk; it is durable when this is done.
    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()>;
    /// Removes a row of the desk.
    fn delete_row(&self, name: String) -> Change<'_, ()>;
    /// The public part of every token, and when it ends.
    fn token_ends(&self) -> Vec<(String, Timestamp)>;
    /// The token of a key id, where it is written down still.
    fn token(&self, key_id: &str) -> Option<Caller>;
    /// Removes a token.
    fn delete_token(&self, key_id: String) -> Change<'_, ()>;
    /// Every month that has figures.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    fn figures_kept(&self) -> Result<Vec<FiguresInfo>, EngineError>;
    /// Removes the figures of months of sites, of which no key lives; how many had any.
    fn end_figures(&self, months: Vec<(SiteId, Month)>) -> Change<'_, u64>;
    /// Whether nothing is left of a site that has ended but its row.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    fn is_bare(&self, site: &SiteId) -> Result<bool, EngineError>;
    /// Removes the row of such a site; false where something else is left of it.
    fn end_site(&self, site: SiteId) -> Change<'_, bool>;
    /// Rewrites the files that held rows which were removed; [`EngineError::InUse`] where some of
    /// them cannot go.
    fn rewrite_rows(&self) -> Change<'_, ()>;
    /// Forgets why records were refused that arrived before an hour, in files, too; how many hours
    /// knew it. Errors as [`Vault::rewrite_rows`].
    fn end_reasons(&self, before: Hour) -> Change<'_, u64>;
}

impl Vault for Engine {
    fn lots(&self) -> Vec<LotInfo> {
        Self::lots(self)
    }

    fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        Self::site(self, id)
    }

    fn sites(&self) -> Vec<Arc<Site>> {
        Self::sites(self)
    }

    fn groups(&self) -> Vec<SiteId> {
        Self::groups(self)
    }

    fn members(&self, group: &GroupId, month: Month) -> Vec<Arc<Site>> {
        Self::members(self, group, month)
    }

    fn key_list(&self) -> Vec<KeyInfo> {
        self.ring().list()
    }

    fn held_key_list(&self) -> Result<Vec<KeyInfo>, EngineError> {
        let ring = self.ring().hold_existing().map_err(EngineError::from)?;
        Ok(ring.map_or(Vec::new(), |ring| ring.list()))
    }

    fn age_ms(&self) -> i64 {
        self.settings().age_ms
    }

    fn is_copying(&self) -> bool {
        Self::is_copying(self)
    }

    fn seen_floor(&self) -> Day {
        Self::seen_floor(self)
    }

    fn commitment(&self, key: KeyId) -> Option<[u8; 32]> {
        self.ring().commitment(key)
    }

    fn vek_epoch(&self) -> Result<u64, EngineError> {
        Ok(self.ring().vek_epoch()?)
    }

    fn epoch_standing(&self) -> Result<EpochStanding, EngineError> {
        Ok(self.ring().epoch_standing()?)
    }

    fn turn_over(&self, mark: LedgerMark) -> Change<'_, Vec<PathBuf>> {
        let turned = Self::turn_over(self, mark);
        Box::pin(async move { turned.await.map(|report| report.waiting_for) })
    }

    fn is_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool {
        self.ring().is_destroyed(keys, epoch)
    }

    fn held(&self) -> Result<Vec<HeldInfo>, EngineError> {
        Self::held(self)
    }

    fn staged_in(&self, site: &SiteId, month: Month) -> Option<u64> {
        Self::staged_in(self, site, month)
    }

    fn vek_home(&self) -> String {
        self.ring().home_in_words()
    }

    fn held_commitment(&self, key: KeyId) -> Option<[u8; 32]> {
        self.ring().hold_existing().ok()??.commitment(key)
    }

    fn held_vek_epoch(&self) -> Result<u64, EngineError> {
        Ok(self.ring().hold_existing()?.map_or(Ok(0), |ring| ring.vek_epoch())?)
    }

    fn is_held_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool {
        let ring = self.ring().hold_existing().ok().flatten();
        ring.is_some_and(|ring| ring.is_destroyed(keys, epoch))
    }

    fn scan_register(&self, gone: &[KeyId], of_holds: bool) -> Result<RegisterScan, EngineError> {
        if !of_holds {
            return Ok(self.ring().scan(gone)?);
        }
        let none = || EngineError::Refused("there is no register of holds".into());
        Ok(self.ring().hold_existing()?.ok_or_else(none)?.scan(gone)?)
    }

    fn unfinished_destruction(&self) -> Vec<Doom> {
        Self::unfinished_destruction(self)
    }

    fn waiting_destruction(&self) -> Vec<Doom> {
        Self::waiting_destruction(self)
    }

    fn unfinished_keys(&self) -> Result<Vec<KeyInfo>, EngineError> {
        Self::unfinished_keys(self)
    }

    fn last_destruction(&self) -> Result<Option<DestroyReport>, EngineError> {
        Self::last_destruction(self)
    }

    fn destroy(&self, lots: Vec<Doom>, mark: LedgerMark) -> Change<'_, DestroyReport> {
        Box::pin(Self::destroy(self, lots, mark, Arc::new(())))
    }

    fn holds_out_of_reach(&self) -> Change<'_, Vec<PathBuf>> {
        Box::pin(Self::holds_out_of_reach(self))
    }

    fn judge_by(&self, dues: Box<dyn Dues>) {
        Self::judge_by(self, dues);
    }

    fn expire(&self, believed: Timestamp) -> Change<'_, ()> {
        Box::pin(async move {
            self.fold().await?;
            Self::expire(self, believed).await
        })
    }

    fn believed(&self) -> Timestamp {
        Self::believed(self)
    }

    fn believe(&self, at: Timestamp) -> Change<'_, ()> {
        Box::pin(Self::believe(self, at))
    }

    fn terminate(&self, site: SiteId, at: Timestamp) -> Change<'_, Arc<Site>> {
        Box::pin(self.terminate_site(site, at))
    }

    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        self.desk_rows(prefix)
    }

    fn load_row_from(&self, prefix: &str, from: &str) -> Result<Option<Row>, EngineError> {
        self.desk_row_from(prefix, from)
    }

    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()> {
        Box::pin(async move { self.put_desk_row(&name, &bytes).await })
    }

    fn delete_row(&self, name: String) -> Change<'_, ()> {
        Box::pin(async move { self.delete_desk_row(&name).await })
    }

    fn token_ends(&self) -> Vec<(String, Timestamp)> {
        let ends = self.tokens();
        ends.iter().map(|token| (token.key_id.clone(), token.expires_at)).collect()
    }

    fn token(&self, key_id: &str) -> Option<Caller> {
        Self::token(self, key_id)
    }

    fn delete_token(&self, key_id: String) -> Change<'_, ()> {
        Box::pin(async move { Self::delete_token(self, &key_id).await.map(|_| ()) })
    }

    fn figures_kept(&self) -> Result<Vec<FiguresInfo>, EngineError> {
        Self::figures_kept(self)
    }

    fn end_figures(&self, months: Vec<(SiteId, Month)>) -> Change<'_, u64> {
        Box::pin(Self::end_figures(self, months))
    }

    fn is_bare(&self, site: &SiteId) -> Result<bool, EngineError> {
        Self::is_bare(self, site)
    }

    fn end_site(&self, site: SiteId) -> Change<'_, bool> {
        Box::pin(Self::end_site(self, site))
    }

    fn rewrite_rows(&self) -> Change<'_, ()> {
        Box::pin(self.rewrite_counts())
    }

    fn end_reasons(&self, before: Hour) -> Change<'_, u64> {
        Box::pin(Self::end_reasons(self, before))
    }
}
