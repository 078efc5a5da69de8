//! Marked ids of every kind: unique texts in the accepted spellings, with the bytes they stand for.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use sha2::Digest as _;

use super::search::Canary;

/// The device id kinds of the contract.
pub const DEVICE_KINDS: [&str; 17] = [
    "widevine_device_unique_id",
    "widevine_cert_serial",
    "ncg_device_id",
    "android_id",
    "imei",
    "imeisv",
    "meid",
    "wifi_mac",
    "idfv",
    "aaid",
    "idfa",
    "playready_client_id",
    "fairplay_hu",
    "lgudid",
    "samsung_tv_uuid",
    "prehashed",
    "opaque",
];

/// Makes canaries, none twice, and remembers them all.
#[derive(Default)]
pub struct Mint {
    /// What has been made.
    pub canaries: Vec<Canary>,
}

impl Mint {
    /// 32 bytes that only the next canary has.
    fn material(&self) -> [u8; 32] {
        sha2::Sha256::digest(format!("canary {}", self.canaries.len())).into()
    }

    fn keep(&mut self, name: String, text: String, forms: Vec<Vec<u8>>) -> String {
        self.canaries.push(Canary { name, text: text.clone(), forms });
        text
    }

    /// A text of letters and digits, as most ids are.
    pub fn word(&mut self, name: &str) -> String {
        let text = format!("cNry{}", BASE64URL_NOPAD.encode(&self.material()[..9]));
        self.keep(name.to_owned(), text.replace(['-', '_'], "q"), Vec::new())
    }

    /// A text that looks like what the member usually holds.
    pub fn member(&mut self, member: &str) -> String {
        let bytes = self.material();
        let word = BASE64URL_NOPAD.encode(&bytes[..9]);
        let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        let digits = format!("{}", 100_000_000_000_000 + number % 899_999_999_999_999);
        let mut forms = Vec::new();
        let text = match member {
            "user_id" if bytes[9].is_multiple_of(3) => format!("시청자-{word}"),
            "user_id" => format!("{word}.Viewer@example.com"),
            "client_ip" if bytes[9].is_multiple_of(2) => {
                format!("198.51.{}.{}", 100 + bytes[0] % 100, 100 + bytes[1] % 100)
            }
            "client_ip" => {
                let address: [u8; 16] = bytes[..16].try_into().unwrap();
                forms.push(address.to_vec());
                std::net::Ipv6Addr::from(address).to_string()
            }
            "user_agent" => format!("Mozilla/5.0 (Linux; Android 15; {word}) Chrome/141.0"),
            "error_message" => format!("no right for {word} \"quoted\""),
            "job_name" | "title" => format!("For {word} / 비밀"),
            "input_path" | "output_path" => format!("/mnt/{word}/out/a.mp4"),
            "source_url" => format!("https://pirate.example/{word}?u=1&v=2"),
            "wmid" | "dwm_id" => {
                let value: u64 = digits.parse().unwrap();
                forms.extend([value.to_le_bytes().to_vec(), value.to_be_bytes().to_vec()]);
                digits
            }
            "payload" => {
                forms.push(bytes[..8].to_vec());
                HEXUPPER.encode(&bytes[..8])
            }
            "watermark_token" => format!("wmt.{word}.{}", BASE64URL_NOPAD.encode(&bytes[10..22])),
            "forensic_mark" => format!("{word}|2026|+82-10-{}", &digits[..8]),
            _ => format!("{word}-{}", &digits[..6]),
        };
        self.keep(member.to_owned(), text, forms)
    }

    /// A device id of a kind in one of its spellings, fit for its kind.
    pub fn device(&mut self, kind: &str) -> String {
        let bytes = self.material();
        let turn = bytes[31];
        let (text, forms) = match kind {
            "widevine_device_unique_id" => (spelled(&bytes, turn), vec![bytes.to_vec()]),
            "widevine_cert_serial" if turn.is_multiple_of(2) => {
                let inner = HEXLOWER.encode(&bytes[..17]);
                let forms = vec![bytes[..17].to_vec(), inner.clone().into_bytes()];
                (BASE64.encode(inner.as_bytes()), forms)
            }
            "widevine_cert_serial" => (BASE64.encode(&bytes[..17]), vec![bytes[..17].to_vec()]),
            "ncg_device_id" if turn.is_multiple_of(2) => {
                (format!("DID01_{}", BASE64.encode(&bytes[..20])), vec![bytes[..20].to_vec()])
            }
            "android_id" => (HEXLOWER.encode(&bytes[..8]), vec![bytes[..8].to_vec()]),
            "imei" | "imeisv" => imei(&bytes, kind == "imeisv"),
            "meid" => {
                let id = [&[0xa0 | bytes[0] & 0xf], &bytes[1..7]].concat();
                (HEXUPPER.encode(&id), vec![id])
            }
            "wifi_mac" => mac(&bytes, turn),
            "playready_client_id" if turn.is_multiple_of(2) => {
                (BASE64.encode(&bytes[..16]), vec![bytes[..16].to_vec(), turned(&bytes)])
            }
            "fairplay_hu" => (HEXLOWER.encode(&bytes[..20]), vec![bytes[..20].to_vec()]),
            "prehashed" => (HEXLOWER.encode(&bytes), vec![bytes.to_vec()]),
            "opaque" => (format!("STB-SN-{}", BASE64URL_NOPAD.encode(&bytes[..12])), Vec::new()),
            _ => uuid(&bytes, turn),
        };
        self.keep(kind.to_owned(), text, forms)
    }

    /// A device id that does not fit its kind, or fits badly: it is accepted and flagged.
    pub fn misfit(&mut self, kind: &str) -> String {
        let bytes = self.material();
        let name = format!("{kind} (misfit)");
        match kind {
            "wifi_mac" => {
                let id = [&[bytes[0] & 0xfc | 2], &bytes[1..6]].concat();
                self.keep(name, HEXLOWER.encode(&id), vec![id])
            }
            "imei" => {
                let (text, forms) = imei(&bytes, false);
                let check = 1 + (text.as_bytes()[14] - b'0') % 9;
                self.keep(name, format!("{}{check}", &text[..14]), forms)
            }
            _ => {
                let word = BASE64URL_NOPAD.encode(&bytes[..9]);
                self.keep(name, format!("?{word}?{kind}\u{1}"), Vec::new())
            }
        }
    }
}

/// Bytes as applications print them.
fn spelled(bytes: &[u8], turn: u8) -> String {
    match turn % 4 {
        0 => HEXLOWER.encode(bytes),
        1 => HEXUPPER.encode(bytes),
        2 => BASE64URL_NOPAD.encode(bytes),
        _ => BASE64.encode(bytes) + "\n",
    }
}

/// An IMEI or IMEISV, with its packed forms: decimal digits in half bytes, as telephony writes
/// them, and one number.
fn imei(bytes: &[u8; 32], version: bool) -> (String, Vec<Vec<u8>>) {
    let number = u64::from_be_bytes(bytes[..8].try_into().unwrap()) % 1_000_000_000_000;
    let body = format!("35{number:012}");
    let digits: Vec<u8> = body.bytes().map(|digit| digit - b'0').collect();
    let packed: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let value: u64 = body.parse().unwrap();
    let forms = vec![body.clone().into_bytes(), packed, value.to_be_bytes()[1..].to_vec()];
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    let tail = if version { "07".to_owned() } else { ((10 - sum % 10) % 10).to_string() };
    (body + &tail, forms)
}

/// A universally administered MAC address in one of its spellings.
fn mac(bytes: &[u8; 32], turn: u8) -> (String, Vec<Vec<u8>>) {
    let id = [&[bytes[0] & 0xfc], &bytes[1..6]].concat();
    let hex = HEXLOWER.encode(&id);
    let grouped = |size: usize, separator: &str| {
        let groups = hex.as_bytes().chunks(size).map(|group| str::from_utf8(group).unwrap());
        groups.collect::<Vec<_>>().join(separator)
    };
    let text = match turn % 4 {
        0 => grouped(2, ":"),
        1 => grouped(2, "-").to_uppercase(),
        2 => grouped(4, "."),
        _ => hex.clone(),
    };
    (text, vec![id, grouped(2, ":").into_bytes(), hex.into_bytes()])
}

/// A UUID of version 4 with its bytes in both orders.
fn uuid(bytes: &[u8; 32], turn: u8) -> (String, Vec<Vec<u8>>) {
    let mut id: [u8; 16] = bytes[..16].try_into().unwrap();
    id[6] = id[6] & 0xf | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = HEXLOWER.encode(&id);
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    let text = if turn.is_multiple_of(2) { text } else { text.to_uppercase() };
    (text, vec![id.to_vec(), turned(&id), hex.into_bytes()])
}

/// The first three groups of a GUID turned round.
fn turned(bytes: &[u8]) -> Vec<u8> {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    ORDER.iter().map(|at| bytes[*at]).collect()
}

/// One canary of each kind, for the test of the search itself.
pub fn one_of_each() -> Vec<Canary> {
    let mut mint = Mint::default();
    for kind in DEVICE_KINDS {
        mint.device(kind);
        mint.misfit(kind);
    }
    for member in super::plant::IDENTIFYING.iter().chain(super::plant::DROPPED) {
        mint.member(member);
    }
    mint.canaries
}
