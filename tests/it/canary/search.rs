//! Every spelling in which an id could leak, and a search for all of them at once.

use std::collections::HashMap;
use std::path::Path;

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use md5::Digest as _;

/// Bytes of a spelling that find it; shorter spellings would be met by chance.
const HEAD: usize = 6;
/// Bits of the first sieve.
const SIEVE_BITS: usize = 1 << 24;

/// A marked id: what it is, the text that is sent, and the bytes that it stands for.
#[derive(Clone, Debug)]
pub struct Canary {
    /// Kind and place.
    pub name: String,
    /// As it is sent.
    pub text: String,
    /// Its canonical bytes and other binary forms.
    pub forms: Vec<Vec<u8>>,
}

/// Name and bytes of every spelling of a canary.
pub fn spellings(canary: &Canary) -> Vec<(String, Vec<u8>)> {
    let mut all = of_text(&canary.text);
    for form in &canary.forms {
        all.extend(of_bytes(form).into_iter().map(|(name, bytes)| (format!("form {name}"), bytes)));
    }
    all.retain(|(_, bytes)| bytes.len() >= HEAD);
    all
}

fn of_text(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = of_bytes(text.as_bytes());
    let units = || text.encode_utf16();
    let fixed = [
        ("upper", text.to_uppercase().into_bytes()),
        ("lower", text.to_lowercase().into_bytes()),
        ("utf-16le", units().flat_map(u16::to_le_bytes).collect()),
        ("utf-16be", units().flat_map(u16::to_be_bytes).collect()),
        ("percent", percent(text, |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))),
        ("percent path", percent(text, |b| b.is_ascii_graphic() && !b"%?#".contains(&b))),
        ("percent all", percent(text, |_| false)),
        ("escaped", units().map(|unit| format!("\\u{unit:04x}")).collect::<String>().into()),
    ];
    all.extend(fixed.map(|(name, bytes)| (name.to_owned(), bytes)));
    all
}

fn percent(text: &str, plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in text.bytes() {
        match plain(byte) {
            true => out.push(byte),
            false => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
    out
}

fn of_bytes(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let nibbles: Vec<u8> = bytes.iter().map(|byte| byte.rotate_left(4)).collect();
    let hashes = [
        ("sha-256", sha2::Sha256::digest(bytes).to_vec()),
        ("md5", md5::Md5::digest(bytes).to_vec()),
        ("blake3", blake3::hash(bytes).as_bytes().to_vec()),
    ];
    let mut all = vec![("plain".to_owned(), bytes.to_vec())];
    all.extend(in_text("", bytes));
    all.extend(in_text("reversed ", &reversed));
    all.extend(in_text("nibbles ", &nibbles));
    all.push(("reversed".to_owned(), reversed));
    all.push(("nibbles".to_owned(), nibbles));
    for (name, hash) in hashes {
        all.extend(in_text(&format!("{name} "), &hash));
        all.push((name.to_owned(), hash));
    }
    all
}

/// Hex in both cases, and both base64 alphabets at the three places in a group of three bytes.
fn in_text(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        (format!("{name}hex"), HEXLOWER.encode(bytes).into_bytes()),
        (format!("{name}HEX"), HEXUPPER.encode(bytes).into_bytes()),
    ];
    for (alphabet, encoding) in [("base64", BASE64), ("base64url", BASE64URL)] {
        for shift in 0..3 {
            let shifted = [&[0; 3][..shift], bytes].concat();
            let text = encoding.encode(&shifted).into_bytes();
            // Only digits that hold nothing but bits of the canary.
            let inner = (shift * 8).div_ceil(6)..shifted.len() * 8 / 6;
            all.push((format!("{name}{alphabet}+{shift}"), text[inner].to_vec()));
        }
    }
    all
}

/// Where a spelling was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The file, answer or log.
    pub place: String,
    /// The canary.
    pub name: String,
    /// The spelling.
    pub spelling: String,
}

/// Finds all spellings of all canaries in one pass.
pub struct Finder {
    names: Vec<String>,
    needles: Vec<(u32, String, Vec<u8>)>,
    heads: HashMap<u64, Vec<u32>>,
    sieve: Vec<u64>,
}

impl Finder {
    /// A finder of these canaries.
    pub fn new(canaries: &[Canary]) -> Self {
        let mut finder = Self {
            names: canaries.iter().map(|canary| canary.name.clone()).collect(),
            needles: Vec::new(),
            heads: HashMap::new(),
            sieve: vec![0; SIEVE_BITS / 64],
        };
        for (at, canary) in canaries.iter().enumerate() {
            for (spelling, bytes) in spellings(canary) {
                let head = head(&bytes);
                let slot = slot(head);
                finder.sieve[slot / 64] |= 1 << (slot % 64);
                let number = u32::try_from(finder.needles.len()).unwrap();
                finder.heads.entry(head).or_default().push(number);
                finder.needles.push((u32::try_from(at).unwrap(), spelling, bytes));
            }
        }
        finder
    }

    /// How many spellings are searched for.
    pub fn len(&self) -> usize {
        self.needles.len()
    }

    /// Searches bytes.
    pub fn search(&self, place: &str, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (at, window) in bytes.windows(HEAD).enumerate() {
            let head = head(window);
            let slot = slot(head);
            if self.sieve[slot / 64] & (1 << (slot % 64)) == 0 {
                continue;
            }
            for number in self.heads.get(&head).into_iter().flatten() {
                let (canary, spelling, needle) = &self.needles[*number as usize];
                if bytes[at..].starts_with(needle) {
                    let name = self.names[*canary as usize].clone();
                    let hit = Hit { place: place.to_owned(), name, spelling: spelling.clone() };
                    hits.extend((!hits.contains(&hit)).then_some(hit));
                }
            }
        }
        hits
    }

    /// Searches the names and the content of all files under a directory. Answers how many files
    /// and bytes it read, and what it found.
    pub fn search_files(&self, root: &Path) -> (usize, usize, Vec<Hit>) {
        let (mut files, mut size, mut hits) = (0, 0, Vec::new());
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.to_str().unwrap();
                hits.extend(self.search(name, path.file_name().unwrap().as_encoded_bytes()));
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                (files, size) = (files + 1, size + bytes.len());
                hits.extend(self.search(name, &bytes));
            }
        }
        (files, size, hits)
    }
}

fn head(bytes: &[u8]) -> u64 {
    bytes[..HEAD].iter().fold(0, |head, byte| head << 8 | u64::from(*byte))
}

fn slot(head: u64) -> usize {
    (head.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % SIEVE_BITS
}

/// Spellings of a text and a MAC address that another program made (Python's standard library), so
/// that the search cannot agree with its own mistake.
const FOREIGN: &[(&str, &str)] = &[
    ("plain", "viewer-7Qz9kPx2"),
    ("upper", "VIEWER-7QZ9KPX2"),
    ("lower", "viewer-7qz9kpx2"),
    ("hex", "7669657765722d37517a396b507832"),
    ("HEX", "7669657765722D37517A396B507832"),
    ("base64+0", "dmlld2VyLTdRejlrUHgy"),
    ("base64+1", "ZpZXdlci03UXo5a1B4M"),
    ("base64url+2", "2aWV3ZXItN1F6OWtQeD"),
    ("reversed", "2xPk9zQ7-reweiv"),
    ("percent all", "%76%69%65%77%65%72%2D%37%51%7A%39%6B%50%78%32"),
    (
        "escaped",
        "\\u0076\\u0069\\u0065\\u0077\\u0065\\u0072\\u002d\\u0037\\u0051\\u007a\\u0039\\u006b\
        \\u0050\\u0078\\u0032",
    ),
    ("sha-256 hex", "6cc64e78c8e4b27e17f0dd74d7c889d24d85cf8d11a3ba1b1d881998113903bf"),
    ("md5 HEX", "E3E2EA6D9F516421E755B26B5A92C9D2"),
    ("form plain", "\0\x23\x45\x67\u{89}\u{ab}"),
    ("form reversed", "\u{ab}\u{89}\x67\x45\x23\0"),
    ("form nibbles", "\0\x32\x54\x76\u{98}\u{ba}"),
    ("form base64+0", "ACNFZ4mr"),
    ("form sha-256 hex", "456a6656d8f4a927c06af5fda08431b45889f40a72b9cb8f1f83c31c5b88a190"),
];

/// The bytes of a text whose characters stand for one byte each.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[test]
fn spellings_are_those_of_another_program() {
    let mac = vec![0, 0x23, 0x45, 0x67, 0x89, 0xab];
    let canary =
        Canary { name: "user".to_owned(), text: "viewer-7Qz9kPx2".to_owned(), forms: vec![mac] };
    let ours = spellings(&canary);
    for (name, text) in FOREIGN {
        let found = ours.iter().any(|(ours, bytes)| ours == name && *bytes == latin(text));
        assert!(found, "{name} {text}");
    }
    let wide = Canary { name: "user".to_owned(), text: "시청자-7Qz9".to_owned(), forms: vec![] };
    let little = HEXLOWER.decode(b"dcc2adcc90c72d00370051007a003900").unwrap();
    assert!(spellings(&wide).contains(&("utf-16le".to_owned(), little)));
}

/// Every spelling of every kind of canary is found, alone in a file among noise, and nothing is
/// found where nothing is: so the big search can fail.
#[test]
fn every_planted_spelling_is_found() {
    let canaries = super::ids::one_of_each();
    let finder = Finder::new(&canaries);
    let place = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..997u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = place.path().join("planted");
    let (mut planted, mut texts) = (0, 0);
    for canary in &canaries {
        for (spelling, bytes) in spellings(canary) {
            std::fs::write(&file, [&noise[..], &bytes, &noise].concat()).unwrap();
            let (files, _, hits) = finder.search_files(place.path());
            let found = hits.iter().any(|hit| hit.name == canary.name && hit.spelling == spelling);
            assert!(found && files == 1, "{} as {spelling}: {hits:?}", canary.name);
            planted += 1;
        }
        texts += 1;
    }
    assert!(texts >= 40 && planted > 60 * texts, "{planted} spellings of {texts} canaries");
    std::fs::write(&file, [&noise[..], &noise].concat()).unwrap();
    assert_eq!(finder.search_files(place.path()).2, []);
    std::fs::rename(&file, place.path().join(&canaries[0].text)).unwrap();
    assert!(!finder.search_files(place.path()).2.is_empty(), "the name of a file");
}
