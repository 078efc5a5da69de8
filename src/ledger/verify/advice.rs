//! What to do about each finding of a check, one clause each. A finding is read by somebody who may
//! have to act at night: it says what is wrong, and this says what comes next.

use super::{Finding, Knower};

/// Of lines that are not what was signed.
const CHANGED: &str = "stop the server, keep the ledger's directory as it is, with a copy of it \
                       elsewhere, and put back a copy that verifies against these keys; where \
                       there is none, tell your auditor from which entry on, and begin a ledger of \
                       another name";
/// Of lines that are gone.
const GONE: &str = "stop the server, keep the ledger's directory as it is, and put back the copy \
                    of the ledger that has these entries; set back nothing else to make it fit";
/// Of lines that nothing signs.
const UNSIGNED: &str = "of a server that runs, check again; of one that was killed, start it, \
                        which removes it, and check again; if it is still there, somebody added \
                        it: keep the directory as it is and tell your auditor";
/// Of the file of checkpoints.
const CHECKPOINTS: &str = "start the server if it was killed, which mends what it was writing; \
                           else keep the directory as it is and put the file back from a copy that \
                           verifies";
/// Of its second copy.
const SECOND: &str = "check that --second names the copy of this ledger; if it does, keep the \
                      file, compare it on its own host, and let the server write a new one in \
                      another place";
/// Of a key that may be another ledger's.
const KEY: &str = "check that --key is the public key of this ledger; if it is, keep the directory \
                   as it is and tell your auditor that somebody else signed";
/// Of what cannot be read.
const UNREADABLE: &str = "mount its disk or make it readable for your user, and check again; if it \
                          is lost, put it back from a copy that verifies";

impl Finding {
    /// What to do about it: a clause without a full stop.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Line(_) | Self::Again(_) | Self::NoIntent(_) | Self::Changed(_) => CHANGED,
            Self::Root { by: Knower::SecondCopy, .. } => {
                "stop the server, keep ledger and second copy as they are, and tell your auditor: \
                 one of the two is another history, and nothing on this host can say which"
            }
            Self::Root { .. } => CHANGED,
            Self::Missing { .. } | Self::Short { .. } => GONE,
            Self::Unsigned(_) => UNSIGNED,
            Self::NotCheckpoint(by, _) | Self::Order(by, _) | Self::NoCheckpoint(by) => {
                if *by == Knower::SecondCopy { SECOND } else { CHECKPOINTS }
            }
            Self::Signature(..) => KEY,
            Self::Unreadable(..) => UNREADABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    /// One of each, for each who knows; a variant that is not here does not compile.
    fn all() -> Vec<Finding> {
        let knowers = [Knower::Checkpoints, Knower::SecondCopy, Knower::Keys];
        let mut all = vec![
            Finding::Line(3),
            Finding::Missing { from: 3, to: 4 },
            Finding::Again(3),
            Finding::NoIntent(3),
            Finding::Changed(3),
            Finding::Unsigned(3),
        ];
        for by in knowers {
            all.extend([
                Finding::Root { by, from: 3, to: 5 },
                Finding::Short { by, from: 3, size: 9 },
                Finding::NotCheckpoint(by, 3),
                Finding::Signature(by, 3),
                Finding::Order(by, 3),
                Finding::NoCheckpoint(by),
                Finding::Unreadable(by, ErrorKind::NotFound),
            ]);
        }
        for finding in &all {
            match finding {
                Finding::Line(_)
                | Finding::Missing { .. }
                | Finding::Again(_)
                | Finding::NoIntent(_)
                | Finding::Changed(_)
                | Finding::Root { .. }
                | Finding::Short { .. }
                | Finding::Unsigned(_)
                | Finding::NotCheckpoint(..)
                | Finding::Signature(..)
                | Finding::Order(..)
                | Finding::NoCheckpoint(_)
                | Finding::Unreadable(..) => {}
            }
        }
        all
    }

    #[test]
    fn every_finding_says_what_is_wrong_and_what_to_do() {
        let verbs = ["stop the server", "check ", "start the server", "mount "];
        for finding in all() {
            let (what, advice) = (finding.to_string(), finding.advice());
            let places = ["entry 3", "copy", "checkpoints", "key register"];
            assert!(places.iter().any(|place| what.contains(place)), "{what}");
            let acts = verbs.iter().any(|verb| advice.starts_with(verb))
                || advice.starts_with("of a server that runs, check again");
            assert!(acts && !advice.ends_with('.') && advice.len() > 60, "{what}: {advice}");
        }
        // What was signed is never set back to fit what was not; what a kill leaves is no theft.
        assert!(
            Finding::Short { by: Knower::Keys, from: 3, size: 9 }.advice().contains("put back")
        );
        assert!(Finding::Unsigned(3).advice().contains("killed, start it"));
        assert!(Finding::Changed(3).advice().contains("keep the ledger's directory as it is"));
        let fork = Finding::Root { by: Knower::SecondCopy, from: 3, to: 5 };
        assert!(fork.advice().contains("tell your auditor") && !fork.advice().contains("put back"));
    }
}
