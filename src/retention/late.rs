//! Records that come when their bucket is due already: they are counted and not kept. The engine
//! asks before it keeps one, because a bucket that never was is in no list of the desk.

use std::sync::{Arc, Weak};

use super::Inner;
use super::due::Terms;
use super::holds::covers;
use super::vault::Dues;
use crate::model::batch::Bucket;
use crate::model::retention::Lot;
use crate::model::site::Site;
use crate::model::time::{Month, Timestamp};

/// The desk as the engine sees it; it keeps neither alive.
struct Judge(Weak<Inner>);

impl Dues for Judge {
    fn is_over(&self, site: &Site, bucket: Bucket, ends_at: Timestamp) -> bool {
        self.0.upgrade().is_some_and(|inner| inner.is_over(site, bucket, ends_at))
    }

    fn due_at(&self, site: &Site, bucket: Bucket, ends_at: Timestamp) -> Option<Timestamp> {
        self.0.upgrade().map(|inner| {
            let (now, _) = inner.believed();
            let (policy, age_ms) = (inner.policy_at(now), inner.vault.age_ms());
            Terms { policy, site, age_ms }.of_bucket(bucket, ends_at)
        })
    }

    fn sets_over(&self, site: &Site, month: Month, ends_at: Timestamp) -> bool {
        self.0.upgrade().is_some_and(|inner| inner.sets_over(site, month, ends_at))
    }
}

/// Has the engine ask the desk.
pub(super) fn judge(inner: &Arc<Inner>) {
    inner.vault.judge_by(Box::new(Judge(Arc::downgrade(inner))));
}

impl Inner {
    /// Holds keep sets of records that came; of a month without them there is nothing to keep.
    fn sets_over(&self, site: &Site, month: Month, ends_at: Timestamp) -> bool {
        let (now, _) = self.believed();
        let terms = Terms { policy: self.policy_at(now), site, age_ms: self.vault.age_ms() };
        now >= ends_at && site.is_closed(month) && terms.sets(month, ends_at) <= now
    }

    /// By the believed time, so that a wrong clock costs no record, and one set back keeps none. A
    /// hold covers what arrives later too.
    fn is_over(&self, site: &Site, bucket: Bucket, ends_at: Timestamp) -> bool {
        let (now, _) = self.believed();
        if now < ends_at {
            return false;
        }
        let terms = Terms { policy: self.policy_at(now), site, age_ms: self.vault.age_ms() };
        if terms.of_bucket(bucket, ends_at) > now {
            return false;
        }
        let lot = Lot::Records(bucket);
        let state = self.state();
        let mut open = state.holds.values().filter(|hold| hold.released.is_none());
        !open.any(|hold| covers(hold, &terms, lot))
    }
}
