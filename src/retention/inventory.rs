//! The inventory: which class everything that is stored belongs to, and so which rule ends it. A
//! start compares it with what the program can store and with the rows that the desk finds; what
//! has no rule stops it (check 39 of the privacy study).

use super::policy::{PolicyError, RetentionClass, Rule};
use crate::model::vocab::RecordType;
use crate::store::{META_ROWS, Table};

/// The class of each record type.
pub const TYPES: &[(RecordType, RetentionClass)] = &[
    (RecordType::LicenseIssued, RetentionClass::Records),
    (RecordType::ContentPackaged, RetentionClass::Records),
    (RecordType::SessionCreated, RetentionClass::Records),
    (RecordType::WatermarkPackaged, RetentionClass::Records),
    (RecordType::WatermarkDetected, RetentionClass::Detections),
];

/// What ends the life of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The rule of a class, or of the classes of the table's own.
    Class(RetentionClass),
    /// The release of the hold that keeps them.
    Hold,
    /// The engine by itself, earlier than any class.
    Engine(&'static str),
}

/// The life of each kind of table.
pub const TABLES: &[(&str, Life)] = &[
    ("default", Life::Class(RetentionClass::Proofs)),
    ("journal", Life::Engine("until the fold, about a minute; then its key is retired")),
    ("counters", Life::Class(RetentionClass::Statements)),
    ("arrivals", Life::Engine("400 days after arrival; their total as long as the data directory")),
    ("answers", Life::Engine("9 days after arrival at most")),
    ("backfill", Life::Engine("records until the backfill ends; its figures 400 days longer")),
    ("seen", Life::Engine("the accepted age and 65 minutes after the end of the day")),
    ("tally", Life::Class(RetentionClass::Sets)),
    ("blocks", Life::Class(RetentionClass::Records)),
    ("headers", Life::Class(RetentionClass::Records)),
    ("blockkeys", Life::Class(RetentionClass::Records)),
    ("hold.rows", Life::Hold),
    ("hold.keys", Life::Hold),
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
    ("destroyed", Life::Engine("until the end of the next destruction")),
    ("reclaim", Life::Engine("it is never written")),
    ("gone/", Life::Class(RetentionClass::Proofs)),
    ("held/", Life::Hold),
    ("site/", Life::Class(RetentionClass::Statements)),
    ("token/", Life::Class(RetentionClass::AccessLog)),
    ("erasing/", Life::Engine("until the end of an erasure")),
    ("suppressed/", Life::Engine("as long as the site, at the site's request")),
    ("desk/", Life::Engine("by the kind of the desk's row")),
];

/// The life of each kind of row of the desk; a name ends with its first slash.
pub const DESK_ROWS: &[(&str, Life)] = &[
    ("certificate/", Life::Class(RetentionClass::Proofs)),
    ("challenge/", Life::Class(RetentionClass::Statements)),
    ("clock", Life::Engine("as long as the data directory")),
    ("draft/", Life::Engine("until the certificate is issued")),
    ("failed/", Life::Class(RetentionClass::Proofs)),
    ("hold/", Life::Class(RetentionClass::Disputes)),
    ("hook/", Life::Engine("endpoints until they are removed, messages `keep_days`")),
    ("notice/", Life::Engine("until the policy file is withdrawn")),
    ("policy", Life::Class(RetentionClass::Proofs)),
    ("removal/", Life::Engine("a week")),
    ("run", Life::Engine("until the end of a destruction")),
    ("statement-draft/", Life::Engine("until the statement is issued")),
    ("statement/", Life::Class(RetentionClass::Statements)),
    ("terminated/", Life::Class(RetentionClass::Statements)),
    ("turn", Life::Engine("as long as the data directory")),
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
}

/// The inventory of this program.
pub const HERE: Inventory<'static> = Inventory { types: TYPES, tables: TABLES, rows: ROWS };

/// Whether every record type, kind of table and kind of row leads to a rule.
///
/// # Errors
/// What has none.
pub fn covered(rules: &[Rule], inventory: Inventory<'_>) -> Result<(), PolicyError> {
    let ruled = |class: RetentionClass| {
        let rule = rules.iter().find(|rule| rule.class == class);
        rule.map(|_| ()).ok_or(PolicyError::Class(class))
    };
    let lives = |list: &[(&'static str, Life)], kind: &str| {
        let found = list.iter().find(|(known, _)| *known == kind).map(|(_, life)| *life);
        found.map(|life| match life {
            Life::Class(class) => ruled(class),
            Life::Hold | Life::Engine(_) => Ok(()),
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
    DESK_ROWS.iter().try_for_each(|(kind, _)| lives(DESK_ROWS, kind).unwrap_or(Ok(())))?;
    RetentionClass::ALL.iter().try_for_each(|class| ruled(*class))
}

/// Whether a row of the desk is of a known kind.
pub fn is_known(name: &str) -> bool {
    let kind = name.find('/').map_or(name, |at| &name[..=at]);
    DESK_ROWS.iter().any(|(known, _)| *known == kind)
}
