//! The secret of an endpoint and what is signed with it, after the Standard Webhooks specification:
//! HMAC-SHA-256 over `id.timestamp.body`, written `v1,<base64>`. While a secret is being replaced
//! there are two signatures with a space between, and a receiver accepts either.

use data_encoding::BASE64;
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::{HmacKey, Secret, sha256};
use crate::model::time::Timestamp;

/// What the text of every secret begins with.
const PREFIX: &str = "whsec_";
/// The first byte of a row of secrets.
const FORM: u8 = 1;
/// Length of a secret, bytes; the specification asks for 24 to 64.
const SECRET_BYTES: usize = 32;
/// How long the secret that was replaced still signs, milliseconds (24 hours).
pub const OVERLAP_MS: i64 = 86_400_000;
/// What the digest of a message's id begins with.
const ID_LABEL: &[u8] = b"blindtally/webhook/1";

/// The secrets of an endpoint. No Clone, no Debug; wiped on drop.
pub struct Keys {
    current: Secret,
    /// The one before, and until when it signs.
    previous: Option<(Timestamp, Secret)>,
}

impl Keys {
    /// Fresh ones.
    pub fn random() -> Self {
        Self { current: Secret::random(), previous: None }
    }

    /// A fresh secret, beside which the one in use signs for a while. One that was being replaced
    /// already ends at once.
    pub fn rotated(&self, now: Timestamp) -> Self {
        let until = Timestamp(now.0.saturating_add(OVERLAP_MS));
        let previous = Secret::take(&mut self.current.expose().to_vec());
        Self { current: Secret::random(), previous: previous.map(|secret| (until, secret)) }
    }

    /// The secret as its holder gets it.
    pub fn text(&self) -> Zeroizing<String> {
        let mut encoded = BASE64.encode(self.current.expose());
        let text = Zeroizing::new([PREFIX, &encoded].concat());
        encoded.zeroize();
        text
    }

    /// Until when the secret before signs, where it still does.
    pub fn previous_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.previous.as_ref().map(|(until, _)| *until).filter(|until| now < *until)
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, now: Timestamp, body: &str) -> String {
        let signed = format!("{id}.{}.{body}", seconds(now));
        let one = |secret: &Secret| {
            format!("v1,{}", BASE64.encode(&HmacKey::new(secret).mac(signed.as_bytes())))
        };
        match &self.previous {
            Some((until, previous)) if now < *until => {
                [one(&self.current), one(previous)].join(" ")
            }
            _ => one(&self.current),
        }
    }

    /// The row: `1 ‖ secret (32)`, and while there is one before `‖ until (8) ‖ secret (32)`.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut row = Zeroizing::new(Vec::with_capacity(1 + 2 * SECRET_BYTES + 8));
        row.push(FORM);
        row.extend_from_slice(self.current.expose());
        if let Some((until, previous)) = &self.previous {
            row.extend_from_slice(&until.0.to_be_bytes());
            row.extend_from_slice(previous.expose());
        }
        row
    }

    /// Reads a row and wipes it; `None` for one of another form.
    pub fn parse(row: &mut [u8]) -> Option<Self> {
        let (form, rest) = row.split_first_mut()?;
        let (current, rest) = rest.split_at_mut_checked(SECRET_BYTES)?;
        let current = Secret::take(current).filter(|_| *form == FORM)?;
        if rest.is_empty() {
            return Some(Self { current, previous: None });
        }
        let (until, previous) = rest.split_at_mut_checked(8)?;
        let until = Timestamp(i64::from_be_bytes((&*until).try_into().ok()?));
        Some(Self { current, previous: Some((until, Secret::take(previous)?)) })
    }
}

/// The value of `webhook-timestamp`.
pub fn seconds(now: Timestamp) -> i64 {
    now.0.div_euclid(1_000)
}

/// The id of an event's message. It follows from the event and the installation, so that an event
/// which were told twice for any reason would be told with the same id.
pub fn message_id(origin: &str, event: &str) -> String {
    let digest = sha256(&[ID_LABEL, origin.as_bytes(), b"\n", event.as_bytes()]);
    let mut id = data_encoding::BASE32_NOPAD.encode(&digest[..16]);
    id.make_ascii_lowercase();
    format!("msg_{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn published_vector() {
        let secret = BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(secret.len(), 24);
        // Theirs has 24 bytes; behind the pad of HMAC zeros change nothing.
        let mut padded = secret;
        padded.resize(SECRET_BYTES, 0);
        let keys = Keys { current: Secret::take(&mut padded).unwrap(), previous: None };
        let signature = keys.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp(1_614_265_330_000),
            "{\"test\": 2432232314}",
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_sign_while_one_is_replaced() {
        let first = Keys::random();
        let (now, body) = (Timestamp(1_000), "{}");
        let old = first.sign("m", now, body);
        let both = first.rotated(now);
        let signed = both.sign("m", now, body);
        let (new, again) = signed.split_once(' ').unwrap();
        assert_eq!(again, old);
        assert_ne!(new, old);
        assert_eq!(both.previous_until(now), Some(Timestamp(1_000 + OVERLAP_MS)));
        let later = Timestamp(1_000 + OVERLAP_MS);
        assert!(!both.sign("m", later, body).contains(' '));
        assert_eq!(both.previous_until(later), None);
        // The second turn ends the first secret at once.
        let third = both.rotated(now).sign("m", now, body);
        assert!(third.ends_with(new) && !third.contains(&old), "{third}");
    }

    #[test]
    fn rows_come_back_and_others_are_refused() {
        let keys = Keys::random().rotated(Timestamp(7));
        let row = keys.to_bytes();
        let read = Keys::parse(&mut row.clone()).unwrap();
        assert_eq!(*read.to_bytes(), *row);
        assert_eq!(read.text(), keys.text());
        assert!(read.text().starts_with("whsec_") && read.text().len() == 6 + 44);
        for length in [0, 1, 32, 34, 41, 72, 74] {
            let mut cut = row.to_vec();
            cut.resize(length, 0);
            assert!(Keys::parse(&mut cut).is_none(), "{length}");
        }
        let mut other = row.to_vec();
        other[0] = 2;
        assert!(Keys::parse(&mut other).is_none());
    }

    #[test]
    fn ids_follow_from_the_event() {
        let id = message_id("here", "month.closed/A/2026-11");
        assert_eq!(id, message_id("here", "month.closed/A/2026-11"));
        assert_ne!(id, message_id("there", "month.closed/A/2026-11"));
        assert_ne!(id, message_id("here", "month.closed/A/2026-12"));
        assert!(id.len() == 30 && !id.contains('.'), "{id}");
    }
}
