//! The texts of the retention desk: bodies of requests, a policy file, its rows, certificates. What
//! is kept has one spelling, a flaw names nothing but members, and no certificate that was made up
//! verifies.
#![no_main]

use blindtally::retention::certificate::verify;
use blindtally::retention::policy::{Policy, Profile};
use blindtally::wire::fault::Flaw;
use blindtally::wire::retention::access::AccessDay;
use blindtally::wire::retention::certificate::{Body, Certificate};
use blindtally::wire::retention::rows::{ClockRow, FailedRow, HoldRow, NoticeRow, RunRow, ToldRow};
use blindtally::wire::retention::{
    ConfirmRequest, HOLD_MONTHS_MAX, HoldRequest, ReviewRequest, TerminateRequest,
};
use blindtally_fuzz::choose;
use libfuzzer_sys::fuzz_target;

/// A key that signed none of this.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const MEMBERS: &[&str] = &["months", "ground", "review_at", "classes", "reason", "time"];

fuzz_target!(|data: &[u8]| {
    let Some((form, bytes)) = choose(data, 8) else { return };
    match form {
        0 => match HoldRequest::parse(&mut bytes.to_vec()) {
            Ok(hold) => {
                assert!((1..=HOLD_MONTHS_MAX).contains(&hold.months.len()));
                assert!(hold.months.is_sorted_by(|left, right| left < right));
                assert!(HoldRequest::GROUNDS.contains(&hold.ground));
                assert!(hold.reason.is_none_or(|reason| reason.is_ascii()));
            }
            Err(flaw) => check(flaw),
        },
        1 => {
            if let Err(flaw) = ConfirmRequest::parse(&mut bytes.to_vec()) {
                check(flaw);
            }
            if let Err(flaw) = ReviewRequest::parse(&mut bytes.to_vec()) {
                check(flaw);
            }
            if let Err(flaw) = TerminateRequest::parse(&mut bytes.to_vec()) {
                check(flaw);
            }
        }
        2 => {
            if let Ok(policy) = Policy::read(bytes, &Policy::of(Profile::KrPipa), Profile::KrPipa) {
                assert!(policy.effective.0 >= policy.published.0 + 7);
                policy.check(0).expect("a policy that was read covers everything");
            }
        }
        3 => again(HoldRow::parse(bytes).map(|row| row.to_bytes()), bytes),
        4 => {
            again(NoticeRow::parse(bytes).map(|row| row.to_bytes()), bytes);
            again(ClockRow::parse(bytes).map(|row| row.to_bytes()), bytes);
            again(ToldRow::parse(bytes).map(|row| row.to_bytes()), bytes);
            again(AccessDay::parse(bytes).map(|day| day.to_bytes()), bytes);
        }
        5 => again(RunRow::parse(bytes).map(|row| row.to_bytes()), bytes),
        6 => again(FailedRow::parse(bytes).map(|row| row.to_bytes()), bytes),
        _ => {
            again(Body::parse(bytes).map(|body| body.to_bytes()), bytes);
            if let Ok(certificate) = Certificate::parse(bytes) {
                let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                again(Ok(certificate.to_bytes()), text);
            }
            assert!(verify(bytes, KEY).is_err());
        }
    }
});

fn again<E>(read: Result<Result<Vec<u8>, E>, E>, bytes: &[u8]) {
    if let Ok(Ok(written)) = read {
        assert_eq!(written, bytes);
    }
}

fn check(flaw: Flaw) {
    for part in flaw.pointer.to_string().split('/').skip(1) {
        assert!(MEMBERS.contains(&part) || part.parse::<u16>().is_ok(), "{part}");
    }
}
