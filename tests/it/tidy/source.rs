//! The text of the house: files, and what of them is code, production code or a test.

use std::path::{Path, PathBuf};

/// A Rust file.
pub struct Source {
    /// Its path from the root of the repository.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same with comments and the inside of literals blanked; line numbers stay.
    pub code: String,
    /// The same with test items blanked too; empty for a file that is only compiled for tests.
    pub production: String,
    /// How many of its lines are test items.
    pub test_lines: usize,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file.
#[track_caller]
pub fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files under a folder whose names end so, as paths from the root, in order.
pub fn files(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), end, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, end: &str, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        // The fuzz workspace keeps its build beside its sources.
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, end, found);
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// The Rust files under a folder.
pub fn rust_under(folder: &str) -> Vec<Source> {
    sources(files(folder, ".rs").into_iter().map(|path| {
        let text = text_of(&path);
        (path, text)
    }))
}

/// Every Rust file of the repository.
pub fn all_rust() -> Vec<Source> {
    ["src", "tests", "benches", "fuzz"].into_iter().flat_map(rust_under).collect()
}

/// Sources of paths and texts.
pub fn sources(files: impl IntoIterator<Item = (String, String)>) -> Vec<Source> {
    let mut tests = Vec::new();
    let mut list: Vec<Source> = Vec::new();
    for (path, text) in files {
        let code = blank_literals(&text);
        let (production, modules, test_lines) = blank_tests(&code);
        let own = path.trim_end_matches(".rs").to_owned();
        let folder = own.strip_suffix("/lib").unwrap_or(&own);
        tests.extend(modules.into_iter().map(|name| format!("{folder}/{name}")));
        list.push(Source { path, text, code, production, test_lines });
    }
    for source in &mut list {
        let of_test = |test: &String| {
            source.path.strip_prefix(test.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
        };
        if tests.iter().any(of_test) || !source.path.starts_with("src/") {
            source.production.clear();
        }
    }
    list
}

impl Source {
    /// The room of a file under `src`: `engine` of `src/engine.rs` and of all under `src/engine/`.
    pub fn room(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split(['/', '.']).next().unwrap_or(inner)
    }

    /// Whether it is the file of a place, or lies below it: `engine`, `engine/fold`.
    pub fn is_in(&self, place: &str) -> bool {
        let own = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        own == place || own.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Says something about a place in the file.
    pub fn say(&self, at: usize, what: &str) -> String {
        let line = self.text.get(..at).map_or(0, |before| before.matches('\n').count()) + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

/// Where a word stands in code: not as a part of another word.
pub fn places(code: &str, word: &str) -> Vec<usize> {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = code.as_bytes();
    let found = code.match_indices(word).map(|(at, _)| at);
    let starts = word.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let ends = word.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    found
        .filter(|at| !(starts && at.checked_sub(1).is_some_and(|at| is_part(bytes.get(at)))))
        .filter(|at| !(ends && is_part(bytes.get(at + word.len()))))
        .collect()
}

/// The name that begins here.
pub fn name_at(code: &str, at: usize) -> &str {
    let rest = code.get(at..).unwrap_or_default();
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    &rest[..end]
}

/// Where the bracket that opens here closes again.
pub fn closes(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open + at;
        }
    }
    code.len()
}

/// Comments and the inside of literals become spaces; every byte keeps its place.
pub fn blank_literals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (length, quotes) = literal(rest, out.as_bytes().last().copied());
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (gone, after) = rest.split_at(length);
        let inner = quotes..gone.len() - quotes;
        for (at, byte) in gone.bytes().enumerate() {
            let kept = byte == b'\n' || !inner.contains(&at);
            out.push(if kept { char::from(byte) } else { ' ' });
        }
        rest = after;
    }
    out
}

/// The bytes of the comment or literal that begins a text, and how many of them are quotes.
fn literal(text: &str, before: Option<u8>) -> (usize, usize) {
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let raw = text.trim_start_matches('b');
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), 0);
    }
    if text.starts_with("/*") {
        return (text.find("*/").map_or(text.len(), |end| end + 2), 0);
    }
    if !in_word && text.len() - raw.len() < 2 && raw.starts_with('r') {
        let hashes = raw[1..].len() - raw[1..].trim_start_matches('#').len();
        if raw[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = text.len() - raw.len() + hashes + 2;
            let found = text[start..].find(&end);
            return (found.map_or(text.len(), |at| start + at + end.len()), 0);
        }
    }
    if text.starts_with('"') {
        return (end_of(text, '"'), 1);
    }
    let second = text.chars().nth(1);
    let is_char = second == Some('\\') || (second.is_some() && text.chars().nth(2) == Some('\''));
    if text.starts_with('\'') && is_char { (end_of(text, '\''), 1) } else { (0, 0) }
}

fn end_of(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Blanks whatever stands under `#[cfg(test)]`; names the modules among it that have files, and
/// counts the lines.
fn blank_tests(code: &str) -> (String, Vec<String>, usize) {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.as_bytes().to_vec();
    let (mut modules, mut lines, mut end) = (Vec::new(), 0, 0);
    for (start, _) in code.match_indices(MARK) {
        if start < end {
            continue;
        }
        end = end_of_item(code, start + MARK.len());
        let item = &code[start + MARK.len()..end];
        let name = item.split_once("mod ").map(|(_, rest)| name_at(rest, 0));
        modules.extend(name.filter(|_| item.ends_with(';')).map(str::to_owned));
        lines += code[start..end].matches('\n').count() + 1;
        out[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    (String::from_utf8(out).unwrap(), modules, lines)
}

/// The end of the item, field or statement that begins here, its attributes included.
fn end_of_item(code: &str, start: usize) -> usize {
    let mut at = start;
    let mut is_item = false;
    while let Some(c) = code[at..].chars().next() {
        match c {
            ';' => return at + 1,
            ',' if !is_item => return at + 1,
            '{' => return closes(code, at) + 1,
            '(' | '[' => at = closes(code, at) + 1,
            ')' | ']' | '}' => return at,
            c if c.is_alphabetic() => {
                let word = name_at(code, at);
                is_item |= matches!(word, "fn" | "mod" | "impl" | "struct" | "enum" | "use");
                at += word.len();
            }
            _ => at += c.len_utf8(),
        }
    }
    code.len()
}

#[test]
fn literals_and_tests_are_blanked() {
    let text = "let a = \"x{\"; // y{\nlet b = 'c'; \
                let c: &'static str = r#\"q\"q\"#; '\\''; b\"z\";";
    let code = blank_literals(text);
    assert_eq!(code.len(), text.len());
    for gone in ["x", "y", "'c'", "q", "z"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    assert!(code.contains("&'static str = ") && code.contains("let b"));
    let text = "fn a() {}\n#[cfg(test)]\npub mod fake;\n\
                #[cfg(test)]\n#[doc(x)]\npub fn b(b: B<u8, u8>) {}\n\
                struct S {\n#[cfg(test)]\n x: Y<Z>,\n kept: u8 }";
    let (production, modules, lines) = blank_tests(text);
    assert_eq!(lines, 7);
    assert_eq!(modules, ["fake"]);
    assert!(production.contains("kept") && production.contains("fn a"), "{production}");
    assert!(!production.contains("fn b") && !production.contains('x'), "{production}");
    let files = [("src/a.rs", text), ("src/a/fake.rs", "fn f() {}")];
    let list = sources(files.map(|(path, text)| (path.to_owned(), text.to_owned())));
    assert_eq!((list[0].room(), list[1].production.as_str()), ("a", ""));
    assert!(list[1].is_in("a") && list[1].is_in("a/fake") && !list[1].is_in("a/fa"));
}
