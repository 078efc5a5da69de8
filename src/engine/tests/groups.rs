//! Billing groups against the model, and case by case: who is a member when, when a group's month
//! closes, what goes with it.

use super::*;
use crate::engine::destroy::LotInfo;
use crate::engine::groups::GroupMonth;
use crate::identity::{FormRoom, Job, PseudonymQueue, RawId, UserId, UserRules};
use crate::model::ids::{GroupId, ShortTag, SiteNo};
use crate::model::pseudonym::Algorithm;
use crate::model::retention::Lot;
use crate::model::usage::Counters;

fn group(name: &str) -> GroupId {
    GroupId::parse(name.as_bytes()).unwrap()
}

fn november() -> Month {
    Month::parse(b"2026-11").unwrap()
}

fn row(site: u8, event: u16, user: u16, hours_ago: u16) -> Row {
    Row { site, event, user, device: 1, drm: 0, effect: 0, hours_ago }
}

impl World {
    /// The same sites, some of them in billing groups before their first record.
    fn grouped(settings: Settings, groups: [Option<&str>; 3]) -> Self {
        let world = Self::new(settings);
        for (site, name) in (0..).zip(groups) {
            assert_eq!(world.join(site, name), None, "without a record it holds at once");
        }
        world
    }

    /// Puts a site into a group; from when on.
    fn join(&self, site: u8, name: Option<&str>) -> Option<Month> {
        let known = self.engine().site(&site_id(site)).unwrap();
        let settings = known.last_said().clone();
        self.put(site, SiteSettings { billing_group: name.map(group), ..settings }).effective
    }

    /// The number of the site's group and the tag of the row's user in it, as ingest makes them.
    pub(super) fn group_tag(
        &self,
        site: &Site,
        month: Month,
        row: &Row,
    ) -> Option<(SiteNo, Option<ShortTag>)> {
        let group = site.settings_in(month).billing_group.as_ref().filter(|_| row.user > 0)?;
        let scope = self.engine().group_scope(group).unwrap();
        let no = scope.no;
        let open = self.engine().takes_records(SiteMonth { site: no, month });
        open.then(|| self.engine().ring().group_month(&scope.id, month).unwrap())?;
        let counts = Effect::from_code(row.effect).unwrap().is_countable();
        Some((no, counts.then(|| Tag(tag("group user", row.user)).short())))
    }

    /// Whether the model has a group's month closed: that of every member is which is older, or of
    /// all where none is.
    pub(super) fn is_over(&self, at: SiteMonth) -> bool {
        let own = |site: &Site| SiteMonth { site: site.no, ..at };
        let end = |site: &Site| calendar::span(site, at.month).unwrap().to;
        let members = self.members(at);
        let is_older = |site: &&Arc<Site>| site.created_at < end(site);
        let any = members.iter().any(|site| is_older(&site));
        let mut awaited = members.iter().filter(|site| !any || is_older(site));
        awaited.all(|site| self.is_final(own(site)))
    }

    fn members(&self, at: SiteMonth) -> Vec<Arc<Site>> {
        self.engine().members(&self.group_of(at).unwrap(), at.month)
    }

    fn group_of(&self, at: SiteMonth) -> Option<GroupId> {
        let names = ["G", "H"].map(group).into_iter();
        let known = |name: &GroupId| self.engine().group_scope(name).map(|scope| scope.no);
        names.into_iter().find(|name| known(name) == Some(at.site))
    }

    fn group(&self, name: &str, month: Month) -> GroupMonth {
        self.engine().group_usage(&group(name), month).unwrap().unwrap()
    }

    pub(super) fn check_groups(&self) {
        for (at, (users, late)) in &self.model.groups {
            let name = self.group_of(*at).unwrap();
            let found = self.group(name.as_str(), at.month);
            let mut wanted = Counters { mau: users.len() as u64, ..Counters::default() };
            for (drm, count) in wanted.mau_by_drm.iter_mut().enumerate() {
                *count = users.values().filter(|mask| *mask & 1 << drm != 0).count() as u64;
            }
            assert_eq!(found.tally.counters, wanted, "{at:?}");
            let corrections = Counters { mau: late.len() as u64, ..Counters::default() };
            assert_eq!(found.tally.corrections, corrections, "{at:?}");
            assert_eq!(found.state == State::Closed, self.is_over(*at), "{at:?}");
            let without = self.model.without_sets.contains(at);
            assert_eq!(found.evidence == Evidence::Destroyed, without, "{at:?}");
            let own =
                |member: &UsageMonth| member.tally.counters.mau + member.tally.corrections.mau;
            let sum: u64 = found.members.iter().map(own).sum();
            assert!(without || wanted.mau <= sum, "nobody is of the group and of no member");
        }
    }

    /// What is stored of the groups' sets, counted by another way.
    fn recount_groups(&self) {
        self.runtime.block_on(self.engine().fold()).unwrap();
        for (at, (users, _)) in &self.model.groups {
            let scope = self.engine().group_scope(&self.group_of(*at).unwrap()).unwrap();
            let found = self.runtime.block_on(self.engine().recount(scope.id.clone(), at.month));
            assert_eq!(found.unwrap().unwrap().users, users.len() as u64, "{at:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24, max_shrink_iters: 200, ..ProptestConfig::default()
    })]

    /// C1, C2, D1, F1 for groups: through folds, spills, restarts, closes and failed writes.
    #[test]
    fn groups_equal_the_model(
        ops in proptest::collection::vec(op(), 1..25), tight in any::<bool>(),
        apart in any::<bool>(),
    ) {
        let other = if apart { "H" } else { "G" };
        let mut world = World::grouped(settings(tight), [Some("G"), Some(other), Some("G")]);
        for op in ops {
            world.run(op);
        }
        world.recount_groups();
        world.run(Op::Restart);
        world.recount_groups();
        world.close();
    }
}

#[test]
fn one_person_at_two_sites_is_one_user_of_the_group() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    let rows =
        [row(0, 1, 1, 1), row(1, 2, 1, 1), row(1, 3, 2, 1), row(2, 4, 3, 1), row(0, 5, 0, 1)];
    world.run(Op::Submit(rows.to_vec()));
    for op in [Op::Restart, Op::Fold, Op::Restart, Op::Again] {
        world.run(op);
        let found = world.group("G", november());
        assert_eq!((found.tally.counters.mau, found.members.len()), (2, 2));
        let own: Vec<u64> = found.members.iter().map(|one| one.tally.counters.mau).collect();
        assert_eq!(own, [1, 2]);
    }
    assert!(world.engine().sites().iter().all(|site| !site.id.is_group()), "a group is no site");
    assert!(world.engine().group_usage(&group("H"), november()).unwrap().is_none());
    world.close();
}

/// Membership is frozen inside a month, like the zone.
#[test]
fn a_change_of_membership_holds_from_the_next_month_on() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    world.run(Op::Submit(vec![row(0, 1, 1, 1), row(2, 2, 2, 1)]));
    let december = november().next();
    assert_eq!(world.join(2, Some("G")), Some(december));
    assert_eq!(world.join(0, None), Some(december));
    world.run(Op::Submit(vec![row(2, 3, 3, 1), row(0, 4, 4, 1)]));
    let names = |world: &World, month| -> Vec<String> {
        let found = world.group("G", month).members;
        found.iter().map(|member| member.site.id.to_string()).collect()
    };
    assert_eq!(names(&world, november()), ["S0", "S1"]);
    assert_eq!(names(&world, december), ["S1", "S2"]);
    assert_eq!(world.group("G", november()).tally.counters.mau, 2);
    world.run(Op::Advance(260));
    world.run(Op::Submit(vec![row(2, 5, 2, 1), row(0, 6, 1, 1), row(2, 7, 9, 255)]));
    assert_eq!(world.group("G", december).tally.counters.mau, 1, "site 0 has left");
    assert_eq!(world.group("G", november()).tally.counters.mau, 2, "site 2 was not there yet");
    world.run(Op::Restart);
    assert_eq!(names(&world, november()), ["S0", "S1"], "who was a member stays");
    world.close();
}

/// Seoul's November closes on 1 December and UTC's on the 4th: in between the group is open, and
/// what Seoul takes as a correction is counted for it.
#[test]
fn a_group_closes_with_its_last_member() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    world.run(Op::Submit(vec![row(0, 1, 1, 1), row(1, 2, 2, 1)]));
    world.run(Op::Advance(240));
    let state = |world: &World| {
        let found = world.group("G", november());
        let own = found.members.iter().map(|one| one.state).collect::<Vec<_>>();
        (found.state, own, found.tally.counters.mau, found.tally.corrections.mau)
    };
    let own = vec![State::Closing, State::Closed];
    assert_eq!(state(&world), (State::Closing, own.clone(), 2, 0));
    let news = |world: &World, after: i64| {
        let found = world.engine().groups_closed_after(Timestamp(after));
        found.into_iter().map(|(of, month)| format!("{of} {month}")).collect::<Vec<_>>()
    };
    assert_eq!(news(&world, 0), Vec::<String>::new(), "a member has closed, and the group has not");
    world.run(Op::Submit(vec![row(1, 3, 3, 241)]));
    assert_eq!(state(&world), (State::Closing, own, 3, 0));
    world.run(Op::Advance(60));
    let own = vec![State::Closed; 2];
    assert_eq!(state(&world), (State::Closed, own.clone(), 3, 0));
    assert_eq!(news(&world, 0), ["G 2026-11"]);
    assert_eq!(news(&world, world.now() - 300 * HOUR), ["G 2026-11"]);
    assert_eq!(news(&world, world.now() + HOUR), Vec::<String>::new());
    world.run(Op::Submit(vec![row(0, 4, 4, 301), row(1, 5, 1, 301), row(1, 6, 4, 301)]));
    assert_eq!(state(&world), (State::Closed, own.clone(), 3, 1), "one of them was new");
    // A site that joins now is a member of the month, and closes later; the group stays closed.
    world.runtime.block_on(world.engine().put_site(site_id(9), SiteSettings::default())).unwrap();
    assert_eq!(world.join(9, Some("G")), None);
    assert_eq!(state(&world).0, State::Closed);
    world.run(Op::Restart);
    assert_eq!((state(&world).0, state(&world).2, state(&world).3), (State::Closed, 3, 1));
    world.close();
}

/// Its close is that of its last member, with records or without, and a late record of that one
/// moves nothing.
#[test]
fn a_group_is_due_with_its_last_member_which_may_have_no_record() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    world.run(Op::Submit(vec![row(1, 1, 1, 1)]));
    let due = |world: &World| {
        let found = world.group("G", november());
        let own = found.members.iter().map(|one| one.closes_at).collect::<Vec<_>>();
        assert!(own[1] < own[0]);
        assert_eq!(found.closes_at, own[0]);
        (found.closes_at, found.state)
    };
    let (at, state) = due(&world);
    assert_eq!(state, State::Open);
    // The server was off, so it closes later than it was due.
    world.run(Op::Advance(400));
    assert_eq!(due(&world), (at, State::Closed));
    assert!(world.group("G", november()).tally.closed_at.is_some_and(|closed| closed > at));
    world.run(Op::Submit(vec![row(0, 2, 2, 401)]));
    for op in [Op::Restart, Op::Fold, Op::Restart] {
        world.run(op);
        assert_eq!(due(&world), (at, State::Closed));
    }
    world.close();
}

/// A month that nobody was counted in has no figures of its own, and stays closed all the same:
/// else whoever joins then would be among figures that are stated already.
#[test]
fn a_month_without_users_does_not_open_again() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    world.run(Op::Submit(vec![row(0, 1, 0, 1)]));
    world.run(Op::Advance(300));
    let state = |world: &World| {
        let found = world.group("G", november());
        (found.state, found.tally.counters.mau, found.tally.corrections.mau)
    };
    assert_eq!(state(&world), (State::Closed, 0, 0));
    world.runtime.block_on(world.engine().put_site(site_id(7), SiteSettings::default())).unwrap();
    assert_eq!(world.join(7, Some("G")), None);
    // First nobody's, then somebody's; and one of a member from before.
    for (batch, late) in [(vec![row(7, 2, 0, 310)], 0), (vec![row(7, 3, 3, 310)], 1)] {
        world.run(Op::Submit(batch));
        assert_eq!(state(&world), (State::Closed, 0, late));
    }
    world.run(Op::Submit(vec![row(0, 4, 4, 310), row(7, 5, 3, 310), row(7, 6, 4, 310)]));
    assert_eq!(state(&world), (State::Closed, 0, 2));
    for op in [Op::Restart, Op::Fold, Op::Advance(80), Op::Restart] {
        world.run(op);
        assert_eq!(state(&world), (State::Closed, 0, 2));
    }
    world.close();
}

/// Sites that all were made after the month wait for each other, as long as the first of them is
/// open, and for nobody afterwards.
#[test]
fn a_group_of_new_sites_closes_once() {
    let mut world = World::grouped(settings(false), [None, None, None]);
    let made = |world: &World, site: u8| {
        let put = world.engine().put_site(site_id(site), SiteSettings::default());
        world.runtime.block_on(put).unwrap();
        assert_eq!(world.join(site, Some("G")), None);
    };
    let state = |world: &World| world.group("G", november()).state;
    world.run(Op::Advance(250));
    made(&world, 7);
    world.run(Op::Advance(71));
    made(&world, 8);
    assert_eq!(state(&world), State::Closing);
    world.run(Op::Advance(2));
    made(&world, 9);
    assert_eq!(state(&world), State::Closing, "of the second one");
    world.run(Op::Advance(71));
    assert_eq!(state(&world), State::Closed);
    made(&world, 6);
    assert_eq!(state(&world), State::Closed);
    world.close();
}

/// Somebody makes a site every few days: none of them keeps a month open that ended before it.
#[test]
fn sites_to_come_keep_no_month_of_a_group_open() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    world.run(Op::Submit(vec![row(0, 1, 1, 1), row(1, 2, 2, 1)]));
    let state = |world: &World| {
        let found = world.group("G", november());
        (found.state, found.closes_at, found.members.len())
    };
    let made = |world: &World, site: u8| {
        let put = world.engine().put_site(site_id(site), SiteSettings::default());
        world.runtime.block_on(put).unwrap();
        assert_eq!(world.join(site, Some("G")), None);
    };
    let closes_at = Timestamp::parse(b"2026-12-04T00:00:00Z").unwrap();
    // 2 December, and the evening of the 3rd: each would close its November three days later.
    world.run(Op::Advance(240));
    made(&world, 7);
    assert_eq!(state(&world), (State::Closing, closes_at, 3));
    world.run(Op::Advance(40));
    made(&world, 8);
    assert_eq!(state(&world), (State::Closing, closes_at, 4));
    world.run(Op::Advance(4));
    let found = world.group("G", november());
    assert_eq!((found.state, found.tally.closed_at.is_some()), (State::Closed, true));
    let open = found.members.iter().filter(|of| of.state != State::Closed).count();
    assert_eq!(open, 2, "they close later");
    for op in [Op::Restart, Op::Fold, Op::Restart] {
        world.run(op);
        assert_eq!(state(&world).0, State::Closed);
    }
    world.close();
}

/// A group's month without a record before its close takes what comes later as a correction.
#[test]
fn a_group_without_a_record_closes_too() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    world.run(Op::Submit(vec![row(2, 1, 1, 1)]));
    world.run(Op::Advance(300));
    assert_eq!(world.group("G", november()).state, State::Closed);
    assert!(world.engine().groups_closed_after(Timestamp(0)).is_empty(), "there is no news of it");
    world.run(Op::Submit(vec![row(1, 2, 3, 301)]));
    assert_eq!(world.engine().groups_closed_after(Timestamp(0)).len(), 1);
    for op in [Op::Restart, Op::Fold, Op::Restart] {
        world.run(op);
        let tally = world.group("G", november()).tally;
        assert_eq!((tally.counters.mau, tally.corrections.mau), (0, 1));
    }
    world.close();
}

/// Once a member that keeps the group open has left, nothing keeps it.
#[test]
fn a_member_that_leaves_without_a_record_holds_nobody_up() {
    let mut world = World::grouped(settings(false), [None, Some("G"), Some("G")]);
    world.run(Op::Submit(vec![row(1, 1, 1, 1)]));
    world.run(Op::Advance(240));
    assert_eq!(world.group("G", november()).state, State::Closing);
    assert_eq!(world.join(2, None), None);
    world.run(Op::Advance(1));
    let found = world.group("G", november());
    assert_eq!((found.state, found.tally.closed_at.is_some()), (State::Closed, true));
    world.close();
}

/// The set and the keys of a group go as lots of their own; the sites' stay, and go on.
#[test]
fn a_group_is_destroyed_alone() {
    let mut world = World::grouped(settings(false), [Some("G"), Some("G"), None]);
    world.run(Op::Submit(vec![row(0, 1, 1, 1), row(1, 2, 2, 1)]));
    world.run(Op::Fold);
    let found = world.engine().group_scope(&group("G")).unwrap();
    let (scope, no) = (found.id.clone(), found.no);
    let own: Vec<LotInfo> =
        world.engine().lots().into_iter().filter(|info| info.site == scope).collect();
    let at = SiteMonth { site: no, month: november() };
    let lots = [Lot::Sets(at), Lot::BaseKey(at)];
    assert_eq!(own.iter().map(|info| info.lot).collect::<Vec<_>>(), lots);
    assert_eq!(own.iter().map(|info| info.keys.len()).collect::<Vec<_>>(), [2, 1]);
    let last = Timestamp::parse(b"2026-12-01T00:00:00Z").unwrap();
    assert!(own.iter().all(|info| info.ends_at == last), "UTC ends after Seoul");
    let sites = world.engine().lots().len() - own.len();
    world.destroyed(&lots);
    let left = world.engine().lots();
    assert_eq!(left.len(), sites);
    assert!(left.iter().all(|info| info.site != scope));
    let stored = runs::list(world.engine().store(), Table::Tally(november())).unwrap();
    assert!(stored.iter().all(|(set, _)| set.owner != no.0) && !stored.is_empty());
    // Its figure stays, and the sites take records as before.
    for op in [Op::Submit(vec![row(0, 3, 5, 1)]), Op::Restart, Op::Submit(vec![row(1, 4, 6, 1)])] {
        world.run(op);
        let found = world.group("G", november());
        assert_eq!((found.tally.counters.mau, found.evidence), (2, Evidence::Destroyed));
    }
    let none = world.runtime.block_on(world.engine().recount(scope, november()));
    assert_eq!(none, Ok(None));
    world.close();
}

/// P3: the group's tag of a person is none of the person's tags at a site, in another month, or in
/// another group.
#[test]
fn a_tag_of_a_group_is_no_tag_of_a_site() {
    let world = World::grouped(settings(false), [Some("G"), Some("G"), Some("H")]);
    let ring = world.engine().ring();
    let (rules, mut room) = (UserRules::default(), FormRoom::default());
    let user = rules.read(Some(RawId::new(b"somebody")), &mut room).somebody().unwrap();
    let mut tags = Vec::new();
    for month in [november(), november().next()] {
        for site in 0..3 {
            let keys = ring.site_month(&site_id(site), month).unwrap();
            for key in [&keys.tally, &keys.record, &keys.watermark] {
                tags.push(tag_of(&user, &keys.base, key));
            }
        }
        for name in ["G", "H"] {
            let scope = world.engine().group_scope(&group(name)).unwrap();
            let keys = ring.group_month(&scope.id, month).unwrap();
            let own = tag_of(&user, &keys.base, &keys.tally);
            assert_eq!(tag_of(&user, &keys.base, &keys.tally), own, "one person is one user");
            tags.push(own);
        }
    }
    let distinct: BTreeSet<Tag> = tags.iter().copied().collect();
    assert_eq!((distinct.len(), tags.len()), (22, 22));
}

fn tag_of(user: &UserId<'_>, base: &crate::crypto::BaseKey, key: &crate::crypto::TagKey) -> Tag {
    let mut queue = PseudonymQueue::with_capacity(1);
    let slot = queue.push_user(base.under(Algorithm::HmacSha256), user);
    queue.run();
    queue.tags(&[Job { slot, key: 0 }], &[key])[0]
}
