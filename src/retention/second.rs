//! What two people are needed for: the release of a hold and the removal of a month always, the end
//! of a site and the confirmation of a jump of the clock where the settings want it. The first
//! one's request waits a week; the second one's is what happens.
//!
//! A credential tells no person, but a person who holds one operator's token must not make the
//! second one. So the tokens of the two have other holders' names, neither was made with the
//! other, the second one is older than the first request, and both are of two lines of makers or
//! both are older than a month, which whoever reads the ledger has seen. A line begins with
//! each token that the operator of the first start makes ([`Issuer`]): who has that one
//! token, and prepares two others in time, is not found out here.

use super::removal::{ROWS, WAITS_MS};
use super::{DeskError, Inner, credential};
use crate::ledger::{Actor, Entry, Event};
use crate::model::caller::{Caller, Issuer, Token};
use crate::model::time::{DAY_MS, Timestamp};
use crate::wire::retention::rows::{Asked, RemovalRow};

/// How old two tokens of one line of makers must be at the first request, milliseconds: 30 days.
const LINE_MS: i64 = 30 * DAY_MS;

/// Whether the holders of two tokens may be one person. `asked_at` is what the clock said when the
/// first request came: by it the tokens have their times.
fn may_be_one(first: &Token, second: &Token, asked_at: Timestamp) -> bool {
    let name = |token: &Token| token.name.trim().to_lowercase();
    let made =
        |of: &Token, by: &Token| of.issuer.as_ref().is_some_and(|issuer| issuer.by == by.key_id);
    let line = |token: &Token| token.issuer.as_ref().map(|Issuer { line, .. }| line.clone());
    let is_young = |token: &Token| token.created_at.0 > asked_at.0.saturating_sub(LINE_MS);
    let one_line = line(first).is_some() && line(first) == line(second);
    first.key_id == second.key_id
        || name(first) == name(second)
        || second.created_at > asked_at
        || made(first, second)
        || made(second, first)
        || (one_line && (is_young(first) || is_young(second)))
}

impl Inner {
    /// Who asks now, as it is kept.
    pub(super) fn asks(&self, caller: &Caller, at: Timestamp) -> Result<Asked, DeskError> {
        let by = credential(caller)?.to_string();
        let real = self.clock.now();
        Ok(Asked { by, at, clock: (real != at).then_some(real) })
    }

    /// The first request, where this is the second one's. `None` where there is none any more: one
    /// whose token has gone has lapsed, since nobody could say of whom it was.
    ///
    /// # Errors
    /// [`DeskError::SamePerson`] where both may be of one person, as this page says.
    pub(super) fn first_of_two(
        &self,
        first: Option<Asked>,
        caller: &Caller,
    ) -> Result<Option<Asked>, DeskError> {
        let Some(asked) = first else { return Ok(None) };
        let Some(token) = self.vault.token(&asked.by) else { return Ok(None) };
        let asked_at = asked.clock.unwrap_or(asked.at);
        if may_be_one(&token, caller, asked_at) {
            return Err(DeskError::SamePerson);
        }
        Ok(Some(asked))
    }

    /// Until when the first person's request waits for a second one. `None` where this is the
    /// second one's, or one person is enough. `what` names the request among those of removals, and
    /// no month is written so; `reason` is kept with it, and a request with another one is of
    /// something else; `event` tells the ledger of a first one. The request goes before what was
    /// asked for comes, so after a cut two people are needed again.
    ///
    /// # Errors
    /// [`DeskError::SamePerson`] for a second request by the first person.
    pub(super) async fn waits_for_second(
        &self,
        caller: &Caller,
        (what, reason): (&str, &str),
        is_same: impl Fn(&str) -> bool,
        now: Timestamp,
        event: Event,
    ) -> Result<Option<Timestamp>, DeskError> {
        if !self.settings.two_people {
            return Ok(None);
        }
        let name = format!("{ROWS}{what}");
        let rows = self.vault.load_rows(&name)?.into_iter();
        let mut row =
            rows.filter(|(row, _)| *row == name).map(|(_, bytes)| RemovalRow::parse(&bytes));
        let asked = row.next_back().transpose()?.filter(|row| is_same(&row.reason));
        let until = |at: Timestamp| Timestamp(at.0.saturating_add(WAITS_MS));
        let asked = asked.map(|row| row.asked).filter(|asked| now <= until(asked.at));
        if self.first_of_two(asked, caller)?.is_some() {
            self.vault.delete_row(name).await?;
            return Ok(None);
        }
        let asked = self.asks(caller, now)?;
        self.append(Entry::new(now, Actor::Credential(credential(caller)?), event)).await?;
        let row = RemovalRow { reason: reason.to_owned(), late_refused: false, asked };
        self.vault.put_row(name, row.to_bytes()?).await?;
        Ok(Some(until(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::tests::token_of;

    const ASKED: Timestamp = Timestamp(100 * DAY_MS);

    fn token(key: &str, created_at: i64, issuer: Option<(&str, &str)>) -> Token {
        let issuer = issuer.map(|(by, line)| Issuer { by: by.into(), line: line.into() });
        Token { created_at: Timestamp(created_at), issuer, ..Token::clone(&token_of(key)) }
    }

    /// Each rule by itself, and at its edge.
    #[test]
    fn who_may_be_one_person() {
        let old = ASKED.0 - LINE_MS;
        let is_one = |a: &Token, b: &Token| may_be_one(a, b, ASKED);
        let (a, b) = (token("a", 0, None), token("b", 0, None));
        assert!(!is_one(&a, &b) && is_one(&a, &a));
        assert!(is_one(&a, &Token { name: format!(" {}", a.name.to_uppercase()), ..b.clone() }));
        // Younger than the request.
        assert!(!is_one(&a, &token("b", ASKED.0, None)));
        assert!(is_one(&a, &token("b", ASKED.0 + 1, None)));
        // One made the other, whichever asks first, and however long ago.
        let made = token("b", 0, Some(("a", "b")));
        assert!(is_one(&a, &made) && is_one(&made, &a));
        // One line: both are older than a month, or they may be one person's.
        let of = |key: &str, at: i64, by: &str| token(key, at, Some((by, "x")));
        assert!(!is_one(&of("c", old, "x"), &of("d", old, "y")));
        assert!(is_one(&of("c", old + 1, "x"), &of("d", old, "y")));
        assert!(is_one(&of("c", old, "x"), &of("d", old + 1, "x")));
        // Two lines, also where the operator of the first start made both.
        let other = token("e", ASKED.0, Some(("first", "e")));
        assert!(!is_one(&token("f", ASKED.0, Some(("first", "f"))), &other));
    }

    /// A line begins with what the operator of the first start makes, and goes on from there.
    #[test]
    fn a_line_goes_on_with_what_is_made_in_it() {
        let first = token("first", 0, None);
        let child = |maker: &Token, key: &str| Token {
            issuer: Some(Issuer::of(maker, key)),
            ..token(key, 0, None)
        };
        let (a, b) = (child(&first, "a"), child(&first, "b"));
        let deep = child(&child(&a, "c"), "d");
        let line = |token: &Token| token.issuer.clone().unwrap().line;
        assert_eq!([&a, &b, &deep].map(line), ["a", "b", "a"]);
        assert_eq!(deep.issuer.unwrap().by, "c");
    }
}
