//! The rule set that a month is counted by (reference/domain.md §8). It is written down with the
//! month, beside its zone, keys and canonical forms, and read back wherever figures are told: a
//! program with newer rules goes on counting the months that were begun under older ones by these.

use std::fmt;

/// A rule set by its number: `mau/1` is 1. Rows may name one that this program does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleSet(u32);

impl RuleSet {
    /// What months are begun with.
    pub const CURRENT: Self = Self(1);
    /// What this program can count by.
    const KNOWN: [Self; 1] = [Self::CURRENT];

    /// The rule set of a stored number.
    pub const fn of(number: u32) -> Self {
        Self(number)
    }

    /// The rule set of a name, as it is written in what is handed out.
    pub fn named(name: &str) -> Option<Self> {
        name.strip_prefix("mau/")?.parse().ok().map(Self)
    }

    /// The number that is stored.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether this program can count by it.
    pub fn is_known(self) -> bool {
        Self::KNOWN.contains(&self)
    }
}

impl Default for RuleSet {
    /// What every month has whose row does not say.
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mau/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_that_says_nothing_has_the_first_rules_and_others_keep_their_names() {
        assert_eq!(RuleSet::default().to_string(), "mau/1");
        assert!(RuleSet::default().is_known() && RuleSet::CURRENT.is_known());
        let newer = RuleSet::of(RuleSet::CURRENT.number() + 1);
        assert!(!newer.is_known() && newer > RuleSet::CURRENT);
        assert_eq!(newer.to_string(), "mau/2");
        assert_eq!(RuleSet::named("mau/2"), Some(newer));
        assert!(["mau/", "mau2", "2", "mau/x"].map(RuleSet::named).iter().all(Option::is_none));
    }
}
