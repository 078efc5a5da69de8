//! A list of user ids becomes the tally tags of a month of a site or billing group: what a counted
//! set is compared with. Nothing but tags and counts comes out, and the tags are wiped when the
//! list goes.

use zeroize::Zeroize;

use super::{FormRoom, Job, PseudonymQueue, RawId, UserRules};
use crate::crypto::{Base, TagKey};
use crate::model::ids::ShortTag;

/// Ids that are hashed side by side before the next ones are taken; their blocks are wiped then.
const AT_ONCE: usize = 1_024;

/// Ids on their way to tags.
pub struct Roll<'k> {
    base: Base<'k>,
    tally: &'k TagKey,
    room: FormRoom,
    queue: PseudonymQueue,
    jobs: Vec<Job>,
    list: Listed,
}

/// The distinct users of a list as tags, sorted; wiped on drop.
#[derive(Default)]
pub struct Listed {
    tags: Vec<ShortTag>,
    /// Ids that were given, each time they were given.
    pub lines: u64,
    /// Ids that are nobody's: missing, empty or a sentinel of the site.
    pub nobody: u64,
}

impl<'k> Roll<'k> {
    /// An empty list for the keys of a month.
    pub fn new(base: Base<'k>, tally: &'k TagKey) -> Self {
        let queue = PseudonymQueue::with_capacity(AT_ONCE);
        let (room, jobs) = (FormRoom::default(), Vec::with_capacity(AT_ONCE));
        Self { base, tally, room, queue, jobs, list: Listed::default() }
    }

    /// Adds an id, by the same rules as that of a record.
    pub fn add(&mut self, raw: Option<RawId<'_>>, rules: &UserRules) {
        self.list.lines += 1;
        let Some(user) = rules.read(raw, &mut self.room).somebody() else {
            self.list.nobody += 1;
            return;
        };
        let slot = self.queue.push_user(self.base, &user);
        self.jobs.push(Job { slot, key: 0 });
        if self.jobs.len() == AT_ONCE {
            self.hash();
        }
    }

    fn hash(&mut self) {
        self.queue.run();
        let mut tags = self.queue.tags(&self.jobs, &[self.tally]);
        self.list.grow(tags.len());
        // Where they lie: a copy on the stack would be wiped instead of them.
        for tag in &mut tags {
            self.list.tags.push(tag.short());
            tag.0.zeroize();
        }
        self.jobs.clear();
        self.queue.clear();
    }

    /// The list as a whole.
    pub fn finish(mut self) -> Listed {
        self.hash();
        let mut list = std::mem::take(&mut self.list);
        list.tags.sort_unstable();
        list.tags.dedup();
        list
    }
}

impl Listed {
    /// A list of tags that a test made.
    #[cfg(test)]
    pub fn of(mut tags: Vec<ShortTag>) -> Self {
        tags.sort_unstable();
        tags.dedup();
        Self { tags, lines: 0, nobody: 0 }
    }

    /// The tags, sorted, each once.
    pub fn tags(&self) -> &[ShortTag] {
        &self.tags
    }

    /// Distinct users.
    pub fn users(&self) -> u64 {
        self.tags.len() as u64
    }

    /// Ids that had been given before.
    pub fn repeated(&self) -> u64 {
        self.lines - self.nobody - self.users()
    }

    /// Makes room without leaving tags behind where the list was before.
    fn grow(&mut self, more: usize) {
        if self.tags.capacity() - self.tags.len() >= more {
            return;
        }
        let mut larger = Vec::with_capacity((self.tags.len() + more).max(2 * self.tags.len()));
        larger.extend_from_slice(&self.tags);
        wipe(&mut self.tags);
        self.tags = larger;
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        wipe(&mut self.tags);
    }
}

/// Overwrites the whole allocation, what a sort or a removal left behind the end included.
fn wipe(tags: &mut Vec<ShortTag>) {
    tags.resize(tags.capacity(), ShortTag::default());
    tags.iter_mut().for_each(|tag| tag.0.zeroize());
    tags.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{BaseKey, Secret};
    use crate::model::pseudonym::{Algorithm, UserForm};

    fn listed(ids: &[Option<&str>], own: &[String]) -> Listed {
        let base = BaseKey::new(&Secret::take(&mut [1; 32]).unwrap());
        let tally = TagKey::new(&Secret::take(&mut [2; 32]).unwrap());
        let mut roll = Roll::new(base.under(Algorithm::HmacSha256), &tally);
        let rules = UserRules::new(UserForm::default(), own);
        for id in ids {
            roll.add(id.map(|id| RawId::new(id.as_bytes())), &rules);
        }
        roll.finish()
    }

    #[test]
    fn nobody_and_repeats_are_told_apart() {
        let ids = [Some("a"), None, Some("a"), Some("guest"), Some(""), Some("lobby"), Some("A")];
        let list = listed(&ids, &["lobby".to_owned()]);
        assert_eq!((list.lines, list.nobody, list.repeated(), list.users()), (7, 4, 1, 2));
        assert!(list.tags().is_sorted());
    }

    #[test]
    fn order_and_cuts_change_nothing() {
        let names: Vec<String> = (0..2 * AT_ONCE + 5).map(|n| format!("viewer-{n}")).collect();
        let ids: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
        let mut other = ids.clone();
        other.reverse();
        other.extend_from_within(..7);
        let (one, two) = (listed(&ids, &[]), listed(&other, &[]));
        assert_eq!(one.tags(), two.tags());
        assert_eq!((one.users(), one.repeated()), (ids.len() as u64, 0));
        assert_eq!((two.users(), two.repeated()), (ids.len() as u64, 7));
        // One by one as well: what is hashed side by side is the same.
        for id in ["viewer-0", "viewer-1024", "viewer-2052"] {
            let alone = listed(&[Some(id)], &[]);
            assert!(one.tags().binary_search(&alone.tags()[0]).is_ok(), "{id}");
        }
    }
}
