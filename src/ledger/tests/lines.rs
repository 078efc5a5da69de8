//! The one spelling of an entry.

use proptest::prelude::*;

use super::*;
use crate::ledger::entry::{Head, LINE_BYTES_MAX};
use crate::ledger::{Checkpoint, Recorded};

/// An event in its place.
fn recorded(number: u64, event: Event) -> Recorded {
    let operation = if event.phase() == Phase::Result { number - 1 } else { number };
    Recorded { number, time: NOW, operation, actor: somebody(), event }
}

#[test]
fn every_kind_comes_back() {
    let all = one_of_each();
    let kinds: Vec<_> = all.iter().map(|event| (event.kind(), event.phase())).collect();
    assert_eq!(kinds, Event::KINDS);
    for event in all {
        let entry = recorded(7, event);
        let line = entry.encode().unwrap();
        assert_eq!(Recorded::decode(&line).unwrap(), entry);
        assert!(line.is_ascii() && !line.contains(&b'\n'));
        let head = Head::read(&line).unwrap();
        assert_eq!((head.number, head.operation), (entry.number, entry.operation));
        assert_eq!((head.kind, head.phase), (entry.event.kind(), entry.event.phase()));
    }
}

#[test]
fn other_spellings_are_refused() {
    let line = recorded(3, read_of(1).event).encode().unwrap();
    let line = String::from_utf8(line).unwrap();
    assert!(Recorded::decode(line.as_bytes()).is_ok());
    for (from, to) in [
        ("{\"number\"", "{ \"number\""),
        ("\"number\":3,", "\"number\":3.0,"),
        ("\"number\":3,", "\"number\":3,\"number\":3,"),
        ("Z\",", ".000Z\","),
        ("Z\",", "+00:00\","),
        ("done", "\\u0064one"),
        ("done", "intent"),
        ("\"operation\":3", "\"operation\":2"),
        ("privileged_read", "token_revoked"),
        ("abcdefgh", "ABCDEFGH"),
        ("\"site\":\"SITE-1\"", "\"site\":\"SITE-1\",\"user_id\":\"x\""),
        ("\"site\":\"SITE-1\"", "\"site\":\"a b\""),
        (",\"site\":\"SITE-1\"", ""),
        ("}}", "}}\n"),
        ("}}", "},\"more\":1}"),
    ] {
        let other = line.replacen(from, to, 1);
        assert_ne!(other, line);
        assert!(Recorded::decode(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn bounds_hold() {
    assert!(Note::parse(&"x".repeat(200)).is_some() && Note::parse(&"x".repeat(201)).is_none());
    assert!(
        Note::parse("").is_none() && Note::parse("é").is_none() && Note::parse("a\nb").is_none()
    );
    assert!(Credential::parse("abcdefgh0123456").is_none());
    let keys = Keys::of([5, 1, 2, 3, 5, u64::MAX].map(KeyId));
    assert_eq!((keys.count(), keys.ranges()), (5, &[(1, 3), (5, 5), (u64::MAX, u64::MAX)][..]));
    for bad in ["[[3,1]]", "[[1,2],[3,4]]", "[[1,2],[2,4]]", "[[1,1]]"] {
        let text = format!("{{\"count\":4,\"ranges\":{bad}}}");
        assert!(serde_json::from_str::<Keys>(&text).is_err(), "{bad}");
    }
    // As many buckets as a destruction of every site may name.
    let mut event = intent().event;
    let longest = |no: usize| SiteId::parse(format!("{no:064}").as_bytes()).unwrap();
    let Event::DestructionIntent { buckets, .. } = &mut event else { panic!() };
    buckets[0].sites = (0..50_000).map(longest).collect();
    assert!(recorded(1, event.clone()).encode().unwrap().len() < LINE_BYTES_MAX);
    let Event::DestructionIntent { buckets, .. } = &mut event else { panic!() };
    buckets[0].sites.extend((0..20_000).map(longest));
    assert!(recorded(1, event).encode().is_err());
}

#[test]
fn checkpoints_have_one_spelling() {
    let (signer, other) = (signer(), Signer::new("other", signing(9)).unwrap());
    let checkpoint = signer.sign(42, [7; 32]).unwrap();
    let text = checkpoint.to_string();
    assert_eq!(Checkpoint::parse(text.as_bytes()), Some(checkpoint.clone()));
    assert!(checkpoint.is_by(signer.public()) && !checkpoint.is_by(other.public()));
    assert!(text.starts_with("example.com/ledger\n42\n"));
    assert!(text.ends_with("=\n") || text.ends_with('\n'));
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1 << (at % 7);
        let read = Checkpoint::parse(&changed);
        assert!(read.is_none_or(|read| !read.is_by(signer.public())), "byte {at}");
        assert_eq!(Checkpoint::parse(&text.as_bytes()[..at]), None);
    }
    assert_eq!(Checkpoint::parse(text.replace("\n42\n", "\n042\n").as_bytes()), None);
    assert_eq!(Checkpoint::parse(text.replace("\n42\n", "\n+42\n").as_bytes()), None);
    let public = signer.public().to_string();
    let parsed = crate::ledger::VerifierKey::parse(&format!("{public}\n"));
    assert_eq!(parsed.as_ref(), Some(signer.public()));
    for at in 0..public.len() {
        let mut changed = public.clone().into_bytes();
        changed[at] ^= 2;
        let read = String::from_utf8(changed).unwrap();
        let read = crate::ledger::VerifierKey::parse(&read);
        assert!(read.is_none(), "byte {at}");
    }
}

fn signing(fill: u8) -> SigningKey {
    SigningKey::new(&Secret::take(&mut [fill; 32]).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn any_entry_comes_back_and_has_one_spelling(
        which in any::<prop::sample::Index>(),
        number in 1u64..,
        ms in 0i64..253_402_300_800_000,
        at in any::<prop::sample::Index>(),
        bit in 0u8..7,
    ) {
        let mut all = one_of_each();
        let mut entry = recorded(number, all.swap_remove(which.index(all.len())));
        entry.time = Timestamp(ms);
        let line = entry.encode().unwrap();
        prop_assert_eq!(&Recorded::decode(&line).unwrap(), &entry);
        let mut changed = line.clone();
        changed[at.index(line.len())] ^= 1 << bit;
        if let Ok(other) = Recorded::decode(&changed) {
            prop_assert_ne!(&other, &entry);
            prop_assert_eq!(other.encode().unwrap(), changed);
        }
    }

    #[test]
    fn anything_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(Recorded::decode(&bytes));
        drop(Checkpoint::parse(&bytes));
        drop(crate::ledger::Proof::parse(&bytes));
        let _ = Head::read(&bytes);
    }
}
