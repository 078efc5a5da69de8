//! What the pages in `docs` say, held against the code: tables, reason codes, problems, metrics,
//! crates, invariants, and every path and link.

use std::collections::BTreeSet;

use blindtally::ledger::Event;
use blindtally::model::reason::Reason;
use blindtally::model::time::Month;
use blindtally::model::vocab::Class;
use blindtally::store::{Half, Table};

use super::floors::dependencies;
use super::source::{files, places, root};
use super::{none, rust_under, says, text_of};

type Names = BTreeSet<String>;

/// The part of a page under a heading, up to the next one of any rank.
#[track_caller]
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).expect(heading);
    let ends = ["\n## ", "\n### "];
    ends.into_iter().fold(rest, |rest, end| rest.split(end).next().unwrap())
}

/// The texts in back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What stands in back quotes at the head of each row of a table.
fn heads(text: &str) -> Names {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(head, _)| head.to_owned()).collect()
}

/// Says what one list has and the other lacks.
fn differences(page: &str, said: &Names, known: &Names) -> Vec<String> {
    let more = said.difference(known).map(|name| format!("{page}: there is no {name}"));
    more.chain(known.difference(said).map(|name| format!("{page}: {name} is missing"))).collect()
}

#[test]
fn differences_are_said_both_ways() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Names>();
    let said = heads("# P\n| name | |\n|---|---|\n| `a` | x `z` |\n| `b` | y |\n");
    let complaints = differences("p.md", &said, &names(&["b", "c"]));
    assert_eq!(complaints, ["p.md: there is no a", "p.md: c is missing"]);
    assert_eq!(section("x\n## A\n1\n## B\n2", "B"), "2");
}

#[test]
fn every_crate_is_accounted_for() {
    let manifest = text_of("Cargo.toml");
    let mut known = dependencies(&manifest, "dependencies");
    known.extend(dependencies(&manifest, "dev-dependencies"));
    none(&differences("docs/dependencies.md", &heads(&text_of("docs/dependencies.md")), &known));
}

#[test]
fn every_reason_code_is_explained() {
    let known = Reason::ALL.iter().map(|reason| reason.name().to_owned()).collect();
    let page = text_of("docs/reasons.md");
    none(&differences("docs/reasons.md", &heads(section(&page, "Codes")), &known));
    for reason in Reason::ALL {
        let row = page.lines().find(|row| row.starts_with(&format!("| `{}` ", reason.name())));
        let retry = row.unwrap().trim_end_matches([' ', '|']).rsplit('|').next().unwrap().trim();
        assert_eq!(retry == "yes", reason.retryable(), "docs/reasons.md: {}", reason.name());
    }
}

#[test]
fn every_column_family_has_its_bytes_described() {
    let month = Month::parse(b"2026-11").unwrap();
    let class = Class::Records;
    let tables = [
        Table::Meta,
        Table::Journal(Half::A),
        Table::Journal(Half::B),
        Table::Counters,
        Table::Arrivals,
        Table::Answers,
        Table::Backfill,
        Table::Seen,
        Table::Tally(month),
        Table::Blocks(class, month),
        Table::Headers(class, month),
        Table::BlockKeys(class, month),
        Table::HoldRows,
        Table::HoldKeys,
        Table::Roll,
    ];
    // Fails to compile when a table is added, and then it belongs into the list above too.
    let name = |table: Table| match table {
        Table::Meta
        | Table::Journal(_)
        | Table::Counters
        | Table::Arrivals
        | Table::Answers
        | Table::Backfill
        | Table::Seen
        | Table::Tally(_)
        | Table::Blocks(..)
        | Table::Headers(..)
        | Table::BlockKeys(..)
        | Table::HoldRows
        | Table::HoldKeys
        | Table::Roll => {
            let name = table.name().replace("2026-11", "<month>");
            name.replace(class.name(), "<class>")
        }
    };
    let known = tables.into_iter().map(name).collect();
    let page = text_of("docs/FORMATS.md");
    none(&differences("docs/FORMATS.md", &heads(section(&page, "Tables")), &known));
}

#[test]
fn every_row_of_the_default_table_is_described() {
    let keys = text_of("src/store/keys.rs");
    let names = keys.split("&[u8] = b\"").skip(1).filter_map(|rest| rest.split('"').next());
    // `site0` and `token0` are ends of ranges, no rows. The store writes `format` itself.
    let rows = names.filter(|name| !name.ends_with('0')).map(str::to_owned);
    let known: Names = rows.chain(["format".to_owned()]).collect();
    let page = text_of("docs/FORMATS.md");
    let (_, after) = page.split_once("### The default table\n").unwrap();
    let said = heads(after.split("\n##").next().unwrap());
    let said = said.iter().map(|name| name.split('<').next().unwrap().to_owned()).collect();
    none(&differences("docs/FORMATS.md", &said, &known));
}

#[test]
fn every_kind_of_entry_is_described() {
    let page = text_of("docs/FORMATS.md");
    let (_, after) = page.split_once("### Kinds of entries\n").unwrap();
    let rows = after.split("\n### ").next().unwrap().lines().filter_map(|row| {
        let (kind, rest) = row.strip_prefix("| `")?.split_once("` | ")?;
        Some(format!("{kind} {}", rest.split(' ').next()?))
    });
    let kinds = Event::KINDS.iter().map(|(kind, phase)| format!("{kind} {phase}"));
    none(&differences("docs/FORMATS.md", &rows.collect(), &kinds.collect()));
}

/// The literals of the code that begin so, without those of tests.
fn literals(beginning: &str) -> Names {
    let mut found = Names::new();
    for source in rust_under("src") {
        for (at, _) in source.text.match_indices(&format!("\"{beginning}")) {
            // The quotes of a literal stay where its inside is blanked.
            if source.production.get(at..at + 1) == Some("\"") {
                let rest = &source.text[at + 1..];
                found.insert(rest[..rest.find('"').unwrap()].to_owned());
            }
        }
    }
    found
}

#[test]
fn every_metric_is_explained() {
    let page = text_of("docs/OPERATING.md");
    let mut said = heads(section(&page, "Metrics"));
    // What a counter is called on the wire ends with `_total`, which the registry adds.
    said = said.into_iter().map(|name| name.trim_end_matches("_total").to_owned()).collect();
    none(&differences("docs/OPERATING.md", &said, &literals("blindtally_")));
}

#[test]
fn every_problem_is_explained() {
    let code = text_of("src/http/problem.rs");
    let rows = code.lines().filter_map(|line| line.trim().split_once(" = \""));
    let known = rows.filter_map(|(kind, rest)| {
        let (name, after) = rest.split_once("\", ")?;
        let is_kind = kind.chars().all(char::is_alphanumeric);
        (is_kind && after.starts_with(char::is_uppercase)).then(|| name.to_owned())
    });
    let known: Names = known.collect();
    assert!(known.len() > 10, "src/http/problem.rs is written in another way: {known:?}");
    let page = text_of("docs/OPERATING.md");
    none(&differences("docs/OPERATING.md", &heads(section(&page, "Problems")), &known));
}

/// The invariants of the product.
const INVARIANTS: [&str; 11] = ["P1", "P2", "P3", "C1", "C2", "D1", "R1", "R2", "L1", "T1", "F1"];

fn invariant_complaints(page: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for id in INVARIANTS {
        let Some((_, rest)) = page.split_once(&format!("\n## {id} ")) else {
            complaints.push(format!("docs/INVARIANTS.md: {id} is missing"));
            continue;
        };
        let text = rest.split("\n## ").next().unwrap_or_default();
        let tests = text.split_once("**Tests**").map_or("", |(_, tests)| tests);
        let named = quoted(tests).filter(|name| name.contains("::")).count();
        if named == 0 {
            complaints.push(format!("docs/INVARIANTS.md: {id} names no test"));
        }
        complaints.extend(quoted(tests).filter_map(|name| test_complaint(id, name)));
    }
    complaints
}

/// A test is named `path::name`.
fn test_complaint(id: &str, name: &str) -> Option<String> {
    let (path, function) = name.split_once("::")?;
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_default();
    let there = !places(&text, &format!("fn {function}")).is_empty() && text.contains("#[test]")
        || text.contains("#[tokio::test") && text.contains(&format!("fn {function}("));
    (!there).then(|| format!("docs/INVARIANTS.md: {id}: there is no test {name}"))
}

#[test]
fn every_invariant_has_a_test() {
    none(&invariant_complaints(&text_of("docs/INVARIANTS.md")));
}

#[test]
fn a_missing_test_is_noticed() {
    let here = "tests/it/tidy/docs.rs::a_missing_test_is_noticed";
    let page = format!(
        "\n## P1 x\n**Tests** `{here}`\n## P2 y\n**Tests** `{here}_not`\n## P3 z\n**Tests** none\n\
         ## R1 later\nNot promised yet.\n"
    );
    let complaints = invariant_complaints(&page);
    says(&complaints, "P2: there is no test");
    says(&complaints, "P3 names no test");
    says(&complaints, "R1 names no test");
    says(&complaints, "C1 is missing");
    assert!(!complaints.iter().any(|said| said.contains("P1")));
}

/// Paths in back quotes and links to files that are not there.
fn dead_ends(page: &str, text: &str) -> Vec<String> {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut complaints = Vec::new();
    let starts = ["src/", "tests/", "docs/", "config/", "scripts/", "benches/", "fuzz/"];
    for path in quoted(text).filter(|path| starts.iter().any(|start| path.starts_with(start))) {
        let file = path.split("::").next().unwrap_or(path);
        // A wildcard or a command is no path.
        let plain = !file.contains(['*', ' ', '<']);
        if plain && !root().join(file).exists() {
            complaints.push(format!("{page}: there is no {file}"));
        }
    }
    for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = target.split('#').next().unwrap_or(target);
        let inner = !file.is_empty() && !target.contains("://");
        if inner && !root().join(folder).join(file).exists() {
            complaints.push(format!("{page}: the link to {file} leads nowhere"));
        }
    }
    complaints
}

#[test]
fn paths_and_links_lead_somewhere() {
    let mut pages = files("docs", ".md");
    pages.push("README.md".to_owned());
    none(&pages.iter().flat_map(|page| dead_ends(page, &text_of(page))).collect::<Vec<_>>());
}

#[test]
fn dead_ends_are_noticed() {
    let text = "`src/nowhere.rs` `src/*/x.rs` `src/lib.rs` [a](no.md) [b](#x) [c](https://x.y)";
    let complaints = dead_ends("docs/X.md", text);
    says(&complaints, "there is no src/nowhere.rs");
    says(&complaints, "the link to no.md");
    assert_eq!(complaints.len(), 2, "{complaints:?}");
}
