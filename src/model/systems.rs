//! Which figures by DRM system are about too few to be told in what is handed out: statements,
//! their tables and pages. Totals are exact, so a system that is left out alone could be had from
//! them; another one is left out with it (docs/decisions/0045-the-bill-to-the-letter.md).
//!
//! What follows from the exact totals is this. Licences of the systems add up: those that are left
//! out have a sum that is known, so that sum has to be about enough users. Users of the systems do
//! not add up, but all of them less those of one system are the users without it; where these are
//! too few the system's users are not told either. And what the users of all systems are together
//! beyond the exact total is how often somebody has one system more: with two systems that is
//! exactly who has both. Where it is about too few, no system's users are told.
//!
//! A group tells nothing that one of its members does not tell: its figures less those of the other
//! members are that member's, exactly for licences, and for users where no user is of two members.

use super::usage::Counters;
use super::vocab::DrmType;

/// How many systems there are.
const SYSTEMS: usize = DrmType::ALL.len();

/// What is not told, by system, in the order of [`DrmType::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    users: [bool; SYSTEMS],
    licenses: [bool; SYSTEMS],
}

impl Hidden {
    /// What of a month's figures is about fewer than so many users, or would tell of them.
    pub fn of(counters: &Counters, least: u64) -> Self {
        let users = &counters.mau_by_drm;
        let seen = |at: &usize| users[*at] > 0 || counters.licenses_by_drm[*at] > 0;
        let (mut out, mut told) =
            (0..SYSTEMS).filter(seen).partition::<Vec<usize>, _>(|at| users[*at] < least);
        // The most users of one that is left out are no more than those of all together.
        let most = out.iter().map(|at| users[*at]).max();
        if most.is_some_and(|most| most < least)
            && let Some(next) = told.iter().copied().min_by_key(|at| users[*at])
        {
            told.retain(|at| *at != next);
            out.push(next);
        }
        let mut hidden = Self::default();
        for at in out {
            (hidden.users[at], hidden.licenses[at]) = (true, true);
        }
        let is_few = |count: u64| (1..least).contains(&count);
        // Where a system is left out, nobody knows the sum.
        let sum = told.iter().fold(0_u64, |sum, at| sum.saturating_add(users[*at]));
        let few_have_more = most.is_none() && is_few(sum.saturating_sub(counters.mau));
        for at in told {
            let without = counters.mau.saturating_sub(users[at]);
            hidden.users[at] = few_have_more || is_few(without);
        }
        hidden
    }

    /// The same for months together: what one of these parts does not tell would follow from the
    /// whole and the other parts. Whether parts have users in common anybody can see from their
    /// totals, so where they have none their users are a sum as well.
    pub fn and_parts<'p>(mut self, parts: impl Iterator<Item = &'p Self>) -> Self {
        for part in parts {
            let own = self.users.iter_mut().chain(&mut self.licenses);
            for (own, other) in own.zip(part.users.iter().chain(&part.licenses)) {
                *own |= other;
            }
        }
        self
    }

    /// Users and licences of a system, so far as they are told.
    pub fn told(
        &self,
        drm: DrmType,
        (users, licenses): (Option<u64>, Option<u64>),
    ) -> (Option<u64>, Option<u64>) {
        let at = usize::from(drm.code());
        let is_hidden = |of: &[bool; SYSTEMS]| of.get(at).copied().unwrap_or(true);
        (users.filter(|_| !is_hidden(&self.users)), licenses.filter(|_| !is_hidden(&self.licenses)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn month(mau: u64, systems: &[(u64, u64)]) -> Counters {
        let mut counters = Counters { mau, ..Counters::default() };
        for (at, (users, licenses)) in systems.iter().enumerate() {
            counters.mau_by_drm[at] = *users;
            counters.licenses_by_drm[at] = *licenses;
            counters.licenses_issued += licenses;
        }
        counters
    }

    fn told(counters: &Counters, hidden: &Hidden) -> Vec<(Option<u64>, Option<u64>)> {
        let of = |(drm, users, licenses): (DrmType, u64, u64)| {
            hidden.told(drm, (Some(users), Some(licenses)))
        };
        counters.by_drm().map(of).collect()
    }

    #[test]
    fn a_system_of_few_goes_with_the_smallest_of_the_others() {
        let of = month(220, &[(100, 300), (9, 20), (90, 200), (80, 160)]);
        let hidden = Hidden::of(&of, 10);
        let all = |users, licenses| (Some(users), Some(licenses));
        assert_eq!(told(&of, &hidden), [all(100, 300), (None, None), all(90, 200), (None, None)]);
        // Ten are enough, and nothing is hidden where nothing is asked for.
        let of = month(220, &[(100, 300), (10, 20), (120, 200)]);
        assert_eq!(told(&of, &Hidden::of(&of, 10)), [all(100, 300), all(10, 20), all(120, 200)]);
        let of = month(3, &[(2, 4), (1, 1)]);
        assert_eq!(Hidden::of(&of, 0), Hidden::default());
        assert_eq!(told(&of, &Hidden::of(&of, 10)), [(None, None), (None, None)]);
        // A licence of nobody is not told apart from one of somebody.
        let of = month(50, &[(50, 300), (0, 4)]);
        assert_eq!(told(&of, &Hidden::of(&of, 10)), [(None, None), (None, None)]);
    }

    /// 99 of 100 users have a system: the one who has not is one, too.
    #[test]
    fn who_does_not_use_a_system_is_not_told_either_where_few_do_not() {
        let of = month(100, &[(99, 300), (50, 100)]);
        assert_eq!(told(&of, &Hidden::of(&of, 10)), [(None, Some(300)), (Some(50), Some(100))]);
        let of = month(100, &[(100, 300), (90, 100)]);
        assert_eq!(
            told(&of, &Hidden::of(&of, 10)),
            [(Some(100), Some(300)), (Some(90), Some(100))]
        );
    }

    /// 60 and 55 of 110 users: five have both.
    #[test]
    fn who_has_two_systems_is_not_told_either_where_few_do() {
        let of = month(110, &[(60, 300), (55, 100)]);
        let licenses = [(None, Some(300)), (None, Some(100))];
        assert_eq!(told(&of, &Hidden::of(&of, 10)), licenses);
        // Five are enough for five, ten are enough, and nobody is no few.
        let all = |of: &Counters, least| {
            let told = told(of, &Hidden::of(of, least));
            told.iter().all(|(users, licenses)| users.is_some() && licenses.is_some())
        };
        assert!(all(&of, 5) && !all(&of, 6));
        assert!(all(&month(105, &[(60, 300), (55, 100)]), 10));
        assert!(all(&month(115, &[(60, 300), (55, 100)]), 10));
        // Of three systems, one person who has two of them.
        let of = month(164, &[(60, 300), (55, 100), (50, 70)]);
        assert!(told(&of, &Hidden::of(&of, 10)).iter().all(|told| told.0.is_none()));
        // Where one is left out, nobody knows how many have it.
        let of = month(110, &[(60, 300), (52, 100), (3, 70)]);
        let hidden = Hidden::of(&of, 10);
        assert_eq!(told(&of, &hidden), [(Some(60), Some(300)), (None, None), (None, None)]);
    }

    /// A group's figures less what the other members tell are what a member does not tell; users,
    /// too, where the totals show that nobody is of two members.
    #[test]
    fn a_sum_tells_no_more_than_its_parts() {
        let members = [month(40, &[(30, 60), (9, 9), (25, 50)]), month(60, &[(50, 99), (20, 40)])];
        let parts = members.each_ref().map(|of| Hidden::of(of, 10));
        let group = month(90, &[(70, 159), (25, 49), (25, 50)]);
        let hidden = Hidden::of(&group, 10).and_parts(parts.iter());
        assert_eq!(told(&group, &hidden), [(Some(70), Some(159)), (None, None), (None, None)]);
        // Also what a member hides because few are without it, and because few have both.
        for member in [month(60, &[(55, 99), (20, 40)]), month(68, &[(50, 99), (20, 40)])] {
            let part = Hidden::of(&member, 10);
            let group = month(168, &[(150, 199), (120, 140)]);
            assert!(told(&group, &Hidden::of(&group, 10)).iter().all(|told| told.0.is_some()));
            let hidden = Hidden::of(&group, 10).and_parts([part].iter());
            let (found, own) = (told(&group, &hidden), told(&member, &part));
            assert!(own.iter().any(|told| told.0.is_none()));
            for (whole, own) in found.iter().zip(own) {
                assert_eq!(whole.0.is_some(), own.0.is_some());
                assert!(whole.1.is_some(), "the licences are about enough");
            }
        }
    }

    proptest! {
        /// What is left out has a sum that is about enough, or is all that there is; what is told
        /// is about enough, and so is who is not in it, and who has more than one system.
        #[test]
        fn nothing_is_told_of_too_few(
            systems in proptest::collection::vec((0u64..30, 0u64..50), 1..8), more in 0u64..20,
            least in 0u64..12,
        ) {
            let most = systems.iter().map(|(users, _)| *users).max().unwrap();
            let of = month(most + more, &systems);
            let hidden = Hidden::of(&of, least);
            let seen: Vec<_> = of.by_drm().collect();
            let told = told(&of, &hidden);
            let out: Vec<u64> = seen.iter().zip(&told).filter(|(_, told)| told.1.is_none())
                .map(|((_, users, _), _)| *users).collect();
            let enough = out.iter().any(|users| *users >= least);
            prop_assert!(out.is_empty() || enough || out.len() == seen.len(), "{out:?}");
            let all: Option<u64> = told.iter().map(|(users, _)| *users).sum();
            let more = all.map(|sum| sum.saturating_sub(of.mau));
            prop_assert!(more.is_none_or(|more| more == 0 || more >= least), "{more:?}");
            for (users, licenses) in told {
                prop_assert!(licenses.is_some() || users.is_none());
                let without = users.map(|users| of.mau - users);
                prop_assert!(users.is_none_or(|users| users >= least));
                prop_assert!(without.is_none_or(|without| without == 0 || without >= least));
            }
        }
    }
}
