//! How the code is written: sizes, words that have no place in it, and one page at the head of
//! every file.

use super::source::{closes, places, sources};
use super::{Source, all_rust, none, says};

/// Longest function, lines.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest file without its tests, lines.
const FILE_LINES_MAX: usize = 500;
/// Longest line, characters.
const LINE_CHARS_MAX: usize = 100;

/// Files that may be longer, how long, and why.
const LONG_FILES: &[(&str, usize, &str)] = &[
    (
        "src/engine.rs",
        640,
        "the engine's door: its settings, its words and every call, on one page",
    ),
    ("src/engine/destroy/run.rs", 610, "a destruction from the first row to the last, whole"),
    ("src/engine/tests/hazards.rs", 530, "what may go wrong, one story after the other"),
    ("src/engine/tests/explain.rs", 580, "records, and the stories of what is said of them"),
    ("src/retention/fake.rs", 770, "an engine in memory, for the tests of the desk"),
    ("src/retention/run.rs", 580, "a run from the plan to the certificate, whole"),
    ("src/store/tables.rs", 530, "the one host of RocksDB, its words and every call"),
    ("src/wire/schema.rs", 720, "tables: one line a member"),
];

/// Files with wider lines, how wide, and why.
const WIDE_FILES: [(&str, usize, &str); 1] =
    [("src/http/router.rs", 110, "the table of routes: one row a route, in columns")];

/// Where `unsafe` may stand: a processor's lanes behind a run-time check, the calls that protect
/// the process, and the signal that a test sends to a server of its own.
const UNSAFE: [&str; 3] =
    ["src/crypto/lanes.rs", "src/app/process.rs", "tests/it/support/process.rs"];

/// What production code never says.
const BANNED: [(&str, &str); 7] = [
    (".unwrap()", "answer with an error"),
    (".expect(", "answer with an error"),
    ("panic!", "answer with an error"),
    ("unreachable!", "let the types say it, or answer with an error"),
    ("unimplemented!", "finish it"),
    ("todo!", "finish it"),
    ("dbg!", "remove it"),
];

/// What no text says, comments included. (Written apart, so that this file may be read as well.)
const UNFINISHED: [&str; 3] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("TO FILL ", "IN")];

fn complaints_of(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut say = |at: usize, what: &str| complaints.push(source.say(at, what));
    if !source.text.starts_with("//! ") {
        say(0, "a file begins with a page on what it is (`//!`)");
    }
    if source.path.ends_with("/mod.rs") {
        say(0, "a room's front door is `room.rs`, not `mod.rs`");
    }
    for at in places(&source.production, "super::super::") {
        say(at, "name the room: `crate::…`");
    }
    for (word, instead) in BANNED {
        for at in places(&source.production, word) {
            say(at, &format!("{word} in production code: {instead}"));
        }
    }
    for at in places(&source.code, "unsafe") {
        if !UNSAFE.contains(&source.path.as_str()) {
            say(at, "unsafe code belongs to no file but those that tidy names");
        }
    }
    for word in UNFINISHED {
        for (at, _) in source.text.match_indices(word) {
            say(at, "unfinished");
        }
    }
    let wide = WIDE_FILES.iter().find(|(path, _, _)| *path == source.path);
    let chars_max = wide.map_or(LINE_CHARS_MAX, |(_, chars, _)| *chars);
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let chars = line.trim_end_matches('\n').chars().count();
        if chars > chars_max {
            say(start, &format!("a line of {chars} characters"));
        }
        start += line.len();
    }
    for (at, lines) in functions(&source.code) {
        if lines > FUNCTION_LINES_MAX {
            say(at, &format!("a function of {lines} lines"));
        }
    }
    if source.path.starts_with("src/") {
        complaints.extend(length_complaint(source, LONG_FILES));
    }
    complaints
}

fn length_complaint(source: &Source, exceptions: &[(&str, usize, &str)]) -> Option<String> {
    let lines = source.text.lines().count() - source.test_lines;
    let exception = exceptions.iter().find(|(path, _, _)| *path == source.path);
    let max = exception.map_or(FILE_LINES_MAX, |(_, lines, _)| *lines);
    let needless = exception.is_some() && lines <= FILE_LINES_MAX;
    let what = match (lines > max, needless) {
        (true, _) => format!("{lines} lines without tests, of at most {max}"),
        (_, true) => "short again: take it off the list of long files".to_owned(),
        _ => return None,
    };
    Some(source.say(0, &what))
}

/// Where each function begins and how many lines it has.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for at in places(code, "fn ") {
        let mut open = at;
        let body = loop {
            match code.get(open..).and_then(|rest| rest.find(['(', '[', '{', ';'])) {
                None => break None,
                Some(next) => match code.as_bytes()[open + next] {
                    b'{' => break Some(open + next),
                    b';' => break None,
                    _ => open = closes(code, open + next) + 1,
                },
            }
        };
        if let Some(body) = body {
            found.push((at, code[at..closes(code, body)].matches('\n').count() + 1));
        }
    }
    found
}

#[test]
fn the_code_is_tidy() {
    let complaints: Vec<String> = all_rust().iter().flat_map(complaints_of).collect();
    none(&complaints);
    for (path, _, reason) in LONG_FILES.iter().chain(&WIDE_FILES) {
        assert!(!reason.is_empty(), "{path} is an exception without a reason");
    }
}

#[test]
fn an_untidy_file_is_noticed() {
    let long = "let x = 1;\n".repeat(FUNCTION_LINES_MAX);
    let wide = "x".repeat(LINE_CHARS_MAX + 1);
    let text = format!(
        "// no page\nuse super::super::a;\nfn long() {{\n{long}}}\n// {wide}\n\
         fn bad() {{ a.unwrap(); b.expect(\"\"); panic!(); unreachable!(); todo!(); dbg!(x); }}\n\
         unsafe fn u() {{ unimplemented!() }} // {}\n",
        UNFINISHED[0]
    );
    let list = sources([("src/a/mod.rs".to_owned(), text)]);
    let complaints = complaints_of(&list[0]);
    for wanted in [
        "mod.rs:1: a file begins",
        "not `mod.rs`",
        "name the room",
        ".unwrap()",
        ".expect(",
        "panic!",
        "unreachable!",
        "todo!",
        "dbg!",
        "unimplemented!",
        "unsafe code",
        "unfinished",
        "a line of 104 characters",
        "mod.rs:3: a function of 72 lines",
    ] {
        says(&complaints, wanted);
    }
    assert_eq!(complaints.len(), 14, "{complaints:#?}");
}

#[test]
fn tests_may_unwrap_and_do_not_count() {
    let test = "#[cfg(test)]\nmod tests {\n".to_owned() + &"// t\n".repeat(10);
    let test = test + "fn t() { a.unwrap() } }\n";
    let text = "//! A page.\n".to_owned() + &"// c\n".repeat(FILE_LINES_MAX - 2) + &test;
    let list = sources([("src/a.rs".to_owned(), text.clone())]);
    none(&complaints_of(&list[0]));
    let list = sources([("src/a.rs".to_owned(), text + "// c\n// d\n")]);
    says(&complaints_of(&list[0]), "lines without tests");
    let list = sources([("src/a.rs".to_owned(), "//! A page.\n".to_owned())]);
    let exceptions = [("src/a.rs", 900, "once long")];
    assert!(length_complaint(&list[0], &exceptions).is_some());
}
