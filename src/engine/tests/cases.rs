//! Failures that were found before, as the operations that they were. proptest saves a seed, which
//! finds them only as long as the strategy draws as it did; beside it stands what it shrank to, and
//! that is read here.

use super::*;

/// A saved case: whether memory is tight, and its steps.
pub(super) struct Case {
    /// The one flag that the tests of random steps have.
    pub tight: bool,
    /// The steps.
    pub steps: Vec<Word>,
}

/// A word with what stands in its brackets, as `Debug` writes values.
#[derive(Debug)]
pub(super) struct Word {
    /// The word: a variant's name, a number, a truth; empty for a list.
    pub name: String,
    /// Its parts; of a struct the values of its fields, in order.
    pub parts: Vec<Self>,
}

impl Word {
    /// It as a number or a truth.
    pub(super) fn is<T: std::str::FromStr>(&self) -> T {
        self.name.parse().ok().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Its list of rows.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |word: &Self| {
            let [site, event, user, device, drm, effect, hours_ago] = &word.parts[..] else {
                panic!("{word:?}");
            };
            Row {
                site: site.is(),
                event: event.is(),
                user: user.is(),
                device: device.is(),
                drm: drm.is(),
                effect: effect.is(),
                hours_ago: hours_ago.is(),
            }
        };
        self.parts.iter().map(row).collect()
    }

    /// It as an operation.
    pub(super) fn op(&self) -> Op {
        match (self.name.as_str(), &self.parts[..]) {
            ("Submit", [rows]) => Op::Submit(rows.rows()),
            ("Again", []) => Op::Again,
            ("Advance", [hours]) => Op::Advance(hours.is()),
            ("Glitch", [hours, rows]) => Op::Glitch(hours.is(), rows.rows()),
            ("Fold", []) => Op::Fold,
            ("Restart", []) => Op::Restart,
            ("Crash", [after, rows]) => Op::Crash(after.is(), rows.rows()),
            ("CrashFold", [after]) => Op::CrashFold(after.is()),
            ("CrashClose", [after, hours]) => Op::CrashClose(after.is(), hours.is()),
            _ => panic!("{self:?}"),
        }
    }
}

/// The saved cases of a file below `proptest-regressions`; at least one.
pub(super) fn of(file: &str) -> Vec<Case> {
    let path = format!("{}/proptest-regressions/engine/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let saved = text.lines().filter_map(|line| line.split_once(" # shrinks to "));
    let cases: Vec<Case> = saved.map(|(_, values)| case(values)).collect();
    assert!(!cases.is_empty(), "{path}");
    cases
}

/// `name = value, name = value`: one is a list, the other a truth.
fn case(values: &str) -> Case {
    let mut case = Case { tight: false, steps: Vec::new() };
    let mut rest = values;
    while !rest.is_empty() {
        let (_, value) = rest.split_once(" = ").unwrap();
        let (word, after) = word(value);
        match word.name.as_str() {
            "" => case.steps = word.parts,
            _ => case.tight = word.is(),
        }
        rest = after.trim_start_matches(", ");
    }
    case
}

/// The first word of a text, and the rest.
fn word(text: &str) -> (Word, &str) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut parts = Vec::new();
    let pairs = [("(", ")"), ("[", "]"), (" { ", " }")];
    let Some((open, close)) = pairs.into_iter().find(|(open, _)| rest.starts_with(open)) else {
        assert!(!name.is_empty(), "no word: {:.40}", rest);
        return (Word { name: name.to_owned(), parts }, rest);
    };
    rest = &rest[open.len()..];
    while !rest.starts_with(close) {
        // A field's name says nothing that its place does not.
        if close == " }" {
            rest = rest.split_once(": ").unwrap().1;
        }
        let (part, after) = word(rest);
        parts.push(part);
        rest = after.trim_start_matches(", ");
    }
    (Word { name: name.to_owned(), parts }, &rest[close.len()..])
}

#[test]
fn saved_text_is_read_as_it_was_written() {
    let row =
        |n: u16| Row { site: 2, event: n, user: 3, device: 4, drm: 5, effect: 6, hours_ago: 7 };
    let ops = [
        Op::Submit(vec![row(1), row(2)]),
        Op::Submit(Vec::new()),
        Op::Again,
        Op::Advance(9),
        Op::Glitch(3, vec![row(3)]),
        Op::Crash(true, vec![row(4)]),
        Op::CrashFold(false),
        Op::CrashClose(true, 8),
        Op::Fold,
        Op::Restart,
    ];
    let case = case(&format!("ops = {ops:?}, tight = true"));
    let read: Vec<Op> = case.steps.iter().map(Word::op).collect();
    assert_eq!((format!("{read:?}"), case.tight), (format!("{ops:?}"), true));
}

#[test]
fn what_failed_once_is_tried_as_it_was() {
    for case in of("tests.txt") {
        equals_model(case.steps.iter().map(Word::op), case.tight);
    }
}
