//! The inventory: which class everything that is stored belongs to, and so which rule ends it. A
//! start compares it with what the program can store and with the rows that the desk finds; what
//! has no rule stops it (check 39 of the privacy study).

use super::policy::{Period, PolicyError, RetentionClass, Rule};
use crate::model::vocab::{RecordType, vocabulary};
use crate::store::{META_ROWS, Table};

/// The class of each record type.
pub const TYPES: &[(RecordType, RetentionClass)] = &[
    (RecordType::LicenseIssued, RetentionClass::Records),
    (RecordType::ContentPackaged, RetentionClass::Records),
    (RecordType::SessionCreated, RetentionClass::Records),
    (RecordType::WatermarkPackaged, RetentionClass::Records),
    (RecordType::WatermarkDetected, RetentionClass::Detections),
];

vocabulary! {
    /// What a run removes beside lots, in this order ([`super::sweep`]).
    pub enum Sweep {
        /// Tokens that ended.
        Tokens = 1, "tokens";
        /// Holds that were released.
        Holds = 2, "holds";
        /// Requests for a removal that nobody confirmed.
        Removals = 3, "removals";
        /// Statements, and what was asked of them.
        Statements = 4, "statements";
        /// Figures of months.
        Figures = 5, "figures";
        /// Sites that ended.
        Sites = 6, "sites";
        /// Why records were refused.
        Rejects = 7, "rejects";
    }
}

/// Who removes what a class's rule has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A destruction, with the keys of its lot.
    Lots,
    /// A sweep.
    Sweep(Sweep),
    /// Nobody: the rule says how long at least.
    Nobody,
}

/// What ends the life of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The rule of a class, or of the classes of the table's own, and who carries it out.
    Class(RetentionClass, By),
    /// A time of its own, and the sweep that knows it.
    Sweep(Sweep, &'static str),
    /// A time of its own, and a destruction with the keys of its lot.
    Lots(&'static str),
    /// The release of the hold that keeps them.
    Hold,
    /// The engine by itself, earlier than any class.
    Engine(&'static str),
}

/// The life of each kind of table.
pub const TABLES: &[(&str, Life)] = &[
    ("default", Life::Class(RetentionClass::Proofs, By::Nobody)),
    ("journal", Life::Engine("until the fold, about a minute; then its key is retired")),
    ("counters", Life::Class(RetentionClass::Statements, By::Sweep(Sweep::Figures))),
    (
        "arrivals",
        Life::Sweep(
            Sweep::Rejects,
            "reasons as c9, the rest 400 days after arrival; their total as long as the data",
        ),
    ),
    ("answers", Life::Engine("9 days after arrival at most")),
    ("backfill", Life::Engine("records until the backfill ends; its figures 400 days longer")),
    ("seen", Life::Lots("the accepted age and 65 minutes after the end of the day")),
    ("tally", Life::Class(RetentionClass::Sets, By::Lots)),
    ("blocks", Life::Class(RetentionClass::Records, By::Lots)),
    ("headers", Life::Class(RetentionClass::Records, By::Lots)),
    ("blockkeys", Life::Class(RetentionClass::Records, By::Lots)),
    ("hold.rows", Life::Hold),
    ("hold.keys", Life::Hold),
    ("roll", Life::Engine("while the list of files is replaced")),
];

/// The life of each kind of row of the default table.
pub const ROWS: &[(&str, Life)] = &[
    ("format", Life::Engine("as long as the data directory")),
    ("position", Life::Engine("as long as the data directory")),
    ("vault", Life::Engine("as long as the data directory")),
    ("intent", Life::Engine("until the end of a fold")),
    ("mark", Life::Engine("as long as the data directory")),
    ("backup", Life::Engine("until data that was put back is taken over")),
    ("destruction", Life::Engine("until the end of a destruction")),
    ("destruction.waits", Life::Engine("until the end of a destruction")),
    ("destroyed", Life::Engine("until the end of the next destruction")),
    ("reclaim", Life::Engine("it is never written")),
    ("gone/", Life::Class(RetentionClass::Proofs, By::Nobody)),
    ("held/", Life::Hold),
    ("site/", Life::Class(RetentionClass::Statements, By::Sweep(Sweep::Sites))),
    ("token/", Life::Class(RetentionClass::AccessLog, By::Sweep(Sweep::Tokens))),
    ("erasing/", Life::Engine("until the end of an erasure")),
    ("suppressed/", Life::Class(RetentionClass::Records, By::Lots)),
    ("ended", Life::Engine("as long as the data directory: one number over all sites")),
    ("ended/", Life::Class(RetentionClass::Statements, By::Sweep(Sweep::Sites))),
    ("desk/", Life::Engine("by the kind of the desk's row")),
];

/// The life of each kind of row of the desk; a name ends with its first slash.
pub const DESK_ROWS: &[(&str, Life)] = &[
    ("access/", Life::Class(RetentionClass::AccessLog, By::Lots)),
    ("backfill-making", Life::Engine("until a backfill is made, or was not")),
    ("certificate/", Life::Class(RetentionClass::Proofs, By::Nobody)),
    ("challenge/", Life::Class(RetentionClass::Statements, By::Sweep(Sweep::Statements))),
    ("clock", Life::Engine("as long as the data directory")),
    ("draft/", Life::Engine("until the certificate is issued")),
    ("failed/", Life::Class(RetentionClass::Proofs, By::Nobody)),
    ("hold/", Life::Class(RetentionClass::Disputes, By::Sweep(Sweep::Holds))),
    ("hook/", Life::Engine("endpoints until they are removed, messages `keep_days`")),
    ("notice/", Life::Engine("until the policy file is withdrawn")),
    ("policy", Life::Class(RetentionClass::Proofs, By::Nobody)),
    ("removal/", Life::Sweep(Sweep::Removals, "a week")),
    ("run", Life::Engine("until the end of a destruction")),
    ("sweep", Life::Engine("until the files of removed rows are rewritten")),
    ("statement-draft/", Life::Engine("until the statement is issued")),
    ("statement/", Life::Class(RetentionClass::Statements, By::Sweep(Sweep::Statements))),
    ("terminated/", Life::Class(RetentionClass::Statements, By::Sweep(Sweep::Sites))),
    ("told", Life::Engine("as long as the data directory")),
    ("turn", Life::Engine("as long as the data directory")),
    ("waiting", Life::Engine("until the end of a destruction")),
];

/// What there is to have a rule.
#[derive(Clone, Copy, Debug)]
pub struct Inventory<'a> {
    /// Record types.
    pub types: &'a [(RecordType, RetentionClass)],
    /// Kinds of tables.
    pub tables: &'a [(&'static str, Life)],
    /// Kinds of rows of the default table.
    pub rows: &'a [(&'static str, Life)],
    /// Kinds of rows of the desk.
    pub desk: &'a [(&'static str, Life)],
}

/// The inventory of this program.
pub const HERE: Inventory<'static> =
    Inventory { types: TYPES, tables: TABLES, rows: ROWS, desk: DESK_ROWS };

/// Whether every record type, kind of table and kind of row leads to a rule.
///
/// # Errors
/// What has none.
pub fn covered(rules: &[Rule], inventory: Inventory<'_>) -> Result<(), PolicyError> {
    let ruled = |class: RetentionClass| {
        let rule = rules.iter().find(|rule| rule.class == class);
        rule.ok_or(PolicyError::Class(class))
    };
    let lives = |list: &[(&'static str, Life)], kind: &'static str| {
        let found = list.iter().find(|(known, _)| *known == kind).map(|(_, life)| *life);
        found.map(|life| match life {
            Life::Class(class, by) => ruled(class).and_then(|rule| is_ended(rule, by, kind)),
            Life::Hold | Life::Engine(_) | Life::Sweep(..) | Life::Lots(_) => Ok(()),
        })
    };
    for kind in RecordType::ALL {
        let row = inventory.types.iter().find(|(known, _)| known == kind);
        ruled(row.ok_or(PolicyError::Type(*kind))?.1)?;
    }
    for kind in Table::KINDS {
        lives(inventory.tables, kind).ok_or(PolicyError::Table(kind))??;
    }
    for kind in META_ROWS {
        lives(inventory.rows, kind).ok_or(PolicyError::Row(kind))??;
    }
    let desk = inventory.desk;
    desk.iter().try_for_each(|(kind, _)| lives(desk, kind).unwrap_or(Ok(())))?;
    RetentionClass::ALL.iter().try_for_each(|class| ruled(*class).map(|_| ()))
}

/// Whether somebody carries a rule out: whatever has an end needs somebody who makes it.
fn is_ended(rule: &Rule, by: By, kind: &'static str) -> Result<(), PolicyError> {
    let has_end = !matches!(rule.period, Period::YearsAtLeast(_));
    if has_end == (by != By::Nobody) { Ok(()) } else { Err(PolicyError::Endless(kind)) }
}

/// Whether a row of the desk is of a known kind.
pub fn is_known(name: &str) -> bool {
    DESK_ROWS.iter().any(|(known, _)| *known == kind_of(name))
}

fn kind_of(name: &str) -> &str {
    name.find('/').map_or(name, |at| &name[..=at])
}

/// A name after those of all rows of the same kind, and before those of all others that come after.
pub fn after_kind_of(name: &str) -> String {
    // The character after the slash; the next name after one is it with a zero behind it.
    kind_of(name).strip_suffix('/').map_or_else(|| format!("{name}\0"), |kind| format!("{kind}0"))
}
