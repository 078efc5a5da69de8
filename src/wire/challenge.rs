//! A customer's list of user ids, one JSON object a line, and the answer to it: counts only.

use serde::{Deserialize, Serialize};

use super::fault::{Flaw, Pointer};
use super::json::Reader;
use super::retention::spoken::{maybe, text};
use super::retention::{BadForm, read as read_row, written};
use crate::identity::RawId;
use crate::model::ids::{GroupId, SiteId};
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::time::Month;

/// The one member of a line.
const USER_ID: &str = "user_id";

/// Why a list is refused as a whole: what was counted of a part of it would be no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadList {
    /// It has more lines than it may.
    TooMany,
    /// A line does not fit.
    Line {
        /// Its number, from 0, among those that are not blank.
        index: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

/// Reads a list and hands out each id; `None` for one that is `null`. Texts are unescaped in place,
/// so the body is not the same afterwards. Blank lines say nothing, and are lines of `lines_max`:
/// a list of nothing else is as long as any.
///
/// # Errors
/// [`BadList`]; what was handed out before is to be dropped.
pub fn read<'a>(
    body: &'a mut [u8],
    lines_max: u64,
    each: &mut dyn FnMut(Option<RawId<'a>>),
) -> Result<(), BadList> {
    let body = match body {
        // What ends with a line break has no line after it.
        [text @ .., b'\n'] => text,
        text => text,
    };
    let (mut lines, mut index) = (0, 0);
    for line in body.split_mut(|byte| *byte == b'\n') {
        if lines == lines_max {
            return Err(BadList::TooMany);
        }
        lines += 1;
        let line = match line {
            [text @ .., b'\r'] => text,
            text => text,
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        each(id_of(line).map_err(|flaw| BadList::Line { index, flaw })?);
        index += 1;
    }
    Ok(())
}

/// The id of a line.
fn id_of(line: &mut [u8]) -> Result<Option<RawId<'_>>, Flaw> {
    const BROKEN: Flaw = Flaw { reason: Reason::BadJson, pointer: Pointer::ROOT };
    let broken = |_| BROKEN;
    let at = |reason| Flaw { reason, pointer: Pointer::of(USER_ID) };
    if line.len() > limits::RECORD_BYTES_MAX {
        return Err(Flaw { reason: Reason::TooLong, pointer: Pointer::ROOT });
    }
    let mut reader = Reader::new(line).ok_or(BROKEN)?;
    if !reader.take(b'{') {
        return Err(BROKEN);
    }
    let mut found = None;
    let mut flaw = None;
    let mut more = !reader.take(b'}');
    while more {
        let known = *reader.string().map_err(broken)? == *USER_ID.as_bytes();
        reader.colon().map_err(broken)?;
        let value = match reader.peek() {
            b'"' => Some(Some(RawId::new(reader.string().map_err(broken)?))),
            b'n' => {
                reader.literal("null").map_err(broken)?;
                Some(None)
            }
            _ => {
                reader.skip().map_err(broken)?;
                None
            }
        };
        // The whole line is read before the flaw is told: one that is no JSON is that first.
        let unfit = match (known, found.is_some(), value) {
            (false, ..) => Some(Flaw { reason: Reason::UnknownField, pointer: Pointer::ROOT }),
            (true, true, _) => Some(at(Reason::DuplicateField)),
            (true, false, None) => Some(at(Reason::WrongType)),
            (true, false, Some(Some(id))) if id.len() > limits::USER_ID_BYTES_MAX => {
                Some(at(Reason::TooLong))
            }
            (true, false, Some(id)) => {
                found = Some(id);
                None
            }
        };
        flaw = flaw.or(unfit);
        more = reader.more(b'}').map_err(broken)?;
    }
    reader.end().map_err(broken)?;
    match (flaw, found) {
        (Some(flaw), _) => Err(flaw),
        (None, Some(id)) => Ok(id),
        (None, None) => Err(at(Reason::MissingField)),
    }
}

/// What a customer is told of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The site; of a list against a group's statement there is none.
    #[serde(with = "maybe", skip_serializing_if = "Option::is_none")]
    pub site_id: Option<SiteId>,
    /// The billing group whose statement it is.
    #[serde(with = "maybe", skip_serializing_if = "Option::is_none")]
    pub billing_group: Option<GroupId>,
    /// The month.
    #[serde(with = "text")]
    pub month: Month,
    /// The version of the statement that the list is compared with; 1 where none is issued yet.
    pub version: u32,
    /// The users of the month as it closed; the figures of every version have them.
    pub mau: u64,
    /// Ids on the list, each time they were given.
    pub lines: u64,
    /// Of these, ids that had been given before.
    pub repeated: u64,
    /// Of these, ids that are nobody's: `null`, empty, or a sentinel.
    pub unattributed: u64,
    /// Distinct users on the list.
    pub listed: u64,
    /// Listed users that were counted; `None` where they are too few to be told.
    pub counted: Option<u64>,
    /// Listed users that were not counted when the month closed.
    pub not_counted: Option<u64>,
    /// Counted users that are not listed.
    pub counted_not_listed: Option<u64>,
    /// What the version bills beyond the users of the close; the first one bills nothing.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
    /// Whether a count of listed users, and all that follows from it, is not told because it is
    /// below the least one.
    pub suppressed: bool,
    /// Fewer counted users than this are not told.
    pub counted_min: u64,
    /// How many more lists may be sent of this month.
    pub challenges_left: u64,
    /// The number of the ledger's entry that says so.
    pub entry: u64,
}

/// A list beside the users that came after the close. They are answered apart: none of them is
/// among the counted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Late {
    /// Users that came late and that the version bills.
    pub billed_late: u64,
    /// Users that came late by now; those beyond the billed ones came after the version.
    pub late: u64,
    /// Of the latter, users that are on the list; `None` where they are too few to be told.
    pub counted_late: Option<u64>,
    /// Users that came late by now and are not listed.
    pub late_not_listed: Option<u64>,
}

impl Answer {
    /// The answer as JSON.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn to_json(&self) -> Result<Vec<u8>, BadForm> {
        written(self)
    }
}

/// How much of a month's budget is spent, as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Lists that were answered.
    pub challenges: u64,
    /// The last day, since 1970 in UTC, on which a list over the budget was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_on: Option<u32>,
}

impl Spent {
    /// Its bytes.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadForm> {
        written(self)
    }

    /// Reads what [`Spent::to_bytes`] wrote.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadForm> {
        read_row(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each id is, or what is wrong.
    fn lengths(text: &str, max: u64) -> Result<Vec<Option<usize>>, BadList> {
        let mut body = text.as_bytes().to_vec();
        let mut found = Vec::new();
        read(&mut body, max, &mut |id| found.push(id.map(|id| id.len())))?;
        Ok(found)
    }

    #[test]
    fn lines_are_ids() {
        let text = "{\"user_id\":\"ab\"}\r\n\n  \n { \"user\\u005fid\" : \"\\u00e9\\\"\" }\n\
                    {\"user_id\":null}\n{\"user_id\":\"\"}";
        assert_eq!(lengths(text, 6), Ok(vec![Some(2), Some(3), None, Some(0)]));
        assert_eq!(lengths(text, 5), Err(BadList::TooMany));
        assert_eq!(lengths(&format!("{text}\n"), 6).unwrap().len(), 4);
        assert_eq!(lengths("", 1), Ok(vec![]));
        assert_eq!(lengths(&"\n".repeat(9), 8), Err(BadList::TooMany));
        assert_eq!(lengths(&" \n".repeat(9), 9), Ok(vec![]));
    }

    #[test]
    fn the_first_line_that_does_not_fit_is_named_without_its_text() {
        let long = format!("{{\"user_id\":\"{}\"}}", "x".repeat(257));
        let root = Pointer::ROOT;
        let member = Pointer::of("user_id");
        for (line, reason, pointer) in [
            ("nonsense", Reason::BadJson, root),
            ("\"a\"", Reason::BadJson, root),
            ("[\"a\"]", Reason::BadJson, root),
            ("{\"user_id\":\"a\"", Reason::BadJson, root),
            ("{\"user_id\":\"a\"} x", Reason::BadJson, root),
            ("{\"user_id\":\"a\",}", Reason::BadJson, root),
            ("{}", Reason::MissingField, member),
            ("{\"user_id\":1}", Reason::WrongType, member),
            ("{\"user_id\":{\"a\":[]}}", Reason::WrongType, member),
            ("{\"user_id\":\"a\",\"user_id\":\"b\"}", Reason::DuplicateField, member),
            ("{\"name\":\"a\"}", Reason::UnknownField, root),
            ("{\"user_id\":\"a\",\"name\":\"a\"}", Reason::UnknownField, root),
            (&long, Reason::TooLong, member),
        ] {
            let flaw = Flaw { reason, pointer };
            let text = format!("{{\"user_id\":\"ok\"}}\n\n{line}\n{{}}");
            assert_eq!(lengths(&text, 9), Err(BadList::Line { index: 1, flaw }), "{line}");
        }
        let mut bad = b"{\"user_id\":\"\xff\"}".to_vec();
        assert!(read(&mut bad, 9, &mut |_| ()).is_err());
    }
}
