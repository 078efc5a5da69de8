//! What the desk answers.

use serde_json::{Value, json};

use super::rows::{Asked, HoldRow, Reviewed};
use crate::ledger::Epoch;
use crate::model::ids::SiteId;
use crate::model::time::{Day, Timestamp};

/// A lot as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotView {
    /// Its class.
    pub class: &'static str,
    /// Its site.
    pub site: SiteId,
    /// Month or day.
    pub epoch: Epoch,
    /// The rule.
    pub rule: String,
    /// When it is or was due.
    pub due: Timestamp,
    /// Where it stands.
    pub state: &'static str,
    /// Holds that cover it.
    pub holds: Vec<u64>,
    /// Whether it lies in hold storage.
    pub apart: bool,
    /// Whether its records are lost, and a hold keeps nothing but the key.
    pub lost: bool,
    /// The certificate of its destruction.
    pub certificate: Option<String>,
}

impl LotView {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        let holds: Vec<String> = self.holds.iter().map(|number| hold_id(*number)).collect();
        let mut value = json!({
            "class": self.class,
            "site_id": self.site.as_str(),
            "epoch": self.epoch.to_string(),
            "rule": self.rule,
            "due": self.due.to_string(),
            "state": self.state,
            "holds": holds,
        });
        if let Value::Object(members) = &mut value {
            if self.apart {
                members.insert("storage".to_owned(), json!("hold"));
            }
            if self.lost {
                members.insert("lost".to_owned(), json!(true));
            }
            if let Some(certificate) = &self.certificate {
                members.insert("certificate".to_owned(), json!(certificate));
            }
        }
        value
    }
}

/// The id of a hold in paths and answers.
pub fn hold_id(number: u64) -> String {
    format!("h{number}")
}

/// The number of a hold's id.
pub fn hold_number(id: &str) -> Option<u64> {
    let number = id.strip_prefix('h')?.parse().ok()?;
    (hold_id(number) == id).then_some(number)
}

/// A hold as it is answered.
pub fn hold_to_value(hold: &HoldRow, now: Timestamp) -> Value {
    let asked = |asked: &Option<Asked>| {
        asked.as_ref().map(|asked| json!({"by": asked.by, "at": asked.at.to_string()}))
    };
    let months: Vec<String> = hold.months.iter().map(ToString::to_string).collect();
    let classes: Vec<&str> = hold.classes.iter().map(|class| class.name()).collect();
    let open = hold.released.is_none();
    // A request that has lapsed is shown and asks for nothing.
    let waits = hold.waits_for_release(now);
    let state = match (waits, open) {
        (_, false) => "released",
        (true, true) => "release_requested",
        (false, true) => "open",
    };
    let until = hold.requested_until().filter(|_| waits).map(|until| until.to_string());
    let reviewed = hold.reviewed.as_ref().map(|last| {
        let Reviewed { entry, by, reason } = last;
        json!({"entry": entry, "by": by.by, "at": by.at.to_string(), "reason": reason})
    });
    json!({
        "id": hold_id(hold.number),
        "site_id": hold.site.as_str(),
        "months": months,
        "classes": if classes.is_empty() { Value::Null } else { json!(classes) },
        "ground": hold.ground,
        "reason": hold.reason,
        "review_at": hold.review_at.to_string(),
        "review_overdue": open && hold.review_at < now,
        "reviewed": reviewed,
        "state": state,
        "opened": asked(&Some(hold.opened.clone())),
        "release_requested": asked(&hold.requested),
        "release_until": until,
        "released": asked(&hold.released),
    })
}

/// A hold as a statement has it: without what somebody wrote freely, which may name a person. A
/// pack leaves the house, and others keep it.
pub fn hold_to_stated(hold: &HoldRow, now: Timestamp) -> Value {
    let mut value = hold_to_value(hold, now);
    for free in ["", "/reviewed"] {
        if let Some(Value::Object(members)) = value.pointer_mut(free) {
            members.remove("reason");
        }
    }
    value
}

/// A site's holds.
pub fn holds_to_json(holds: &[HoldRow], now: Timestamp) -> Vec<u8> {
    let items: Vec<Value> = holds.iter().map(|hold| hold_to_value(hold, now)).collect();
    text(&json!({"items": items}))
}

/// A hold that was opened, with what it keeps now and what came too late for it.
pub fn opened_to_json(hold: &HoldRow, now: Timestamp, lots: usize, too_late: usize) -> Vec<u8> {
    let mut value = hold_to_value(hold, now);
    if let Value::Object(members) = &mut value {
        members.insert("lots".to_owned(), json!(lots));
        members.insert("too_late".to_owned(), json!(too_late));
    }
    text(&value)
}

/// A first request to release a hold: it waits for another person.
pub fn requested_to_json(hold: &HoldRow, now: Timestamp) -> Vec<u8> {
    let mut value = hold_to_value(hold, now);
    if let Value::Object(members) = &mut value {
        members.insert("needs".to_owned(), json!("second person"));
    }
    text(&value)
}

/// A hold as it is.
pub fn hold_to_json(hold: &HoldRow, now: Timestamp) -> Vec<u8> {
    text(&hold_to_value(hold, now))
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunView {
    /// Lots that were destroyed.
    pub destroyed: u64,
    /// Lots that live on in hold storage only.
    pub moved: u64,
    /// Their certificates.
    pub certificates: Vec<String>,
    /// Whether it waits for a copy of the register off the host.
    pub waiting: bool,
    /// Destructions that found nothing, or whose verification did not pass.
    pub failed: u64,
    /// Of a removal: UTC days with records of the month that stay, because another month of the
    /// site shares them.
    pub left_days: Vec<Day>,
}

impl RunView {
    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut value = json!({
            "destroyed": self.destroyed,
            "moved_to_hold": self.moved,
            "certificates": self.certificates,
            "waiting": self.waiting,
            "failed": self.failed,
        });
        if let (false, Value::Object(members)) = (self.left_days.is_empty(), &mut value) {
            let days: Vec<String> = self.left_days.iter().map(Day::to_string).collect();
            members.insert("left_days".to_owned(), json!(days));
        }
        text(&value)
    }
}

/// What waits for a second person, and until when.
pub fn waits_to_json(state: &str, until: Timestamp) -> Vec<u8> {
    text(&json!({
        "state": state,
        "needs": "second person",
        "until": until.to_string(),
    }))
}

/// A confirmed jump of the clock.
pub fn confirmed_to_json(from: Timestamp, to: Timestamp) -> Vec<u8> {
    text(&json!({"confirmed": {"from": from.to_string(), "to": to.to_string()}}))
}

/// A rule as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleView {
    /// The class.
    pub class: &'static str,
    /// What is in it.
    pub content: &'static str,
    /// How long.
    pub period: String,
    /// Why.
    pub ground: &'static str,
    /// What is destroyed together.
    pub epoch: &'static str,
}

impl RuleView {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        json!({
            "class": self.class,
            "content": self.content,
            "period": self.period,
            "ground": self.ground,
            "epoch": self.epoch,
        })
    }
}

/// The turn-over of the vault epoch, which makes noise of retired keys in older copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnView {
    /// The epoch in force.
    pub vek_epoch: u64,
    /// When it began, if that is known.
    pub last: Option<Timestamp>,
    /// By when the next one is to be; none while no key was retired.
    pub next_by: Option<Timestamp>,
}

impl TurnView {
    /// As JSON.
    pub fn to_value(self) -> Value {
        json!({
            "vek_epoch": self.vek_epoch,
            "last": self.last.map(|at| at.to_string()),
            "next_by": self.next_by.map(|at| at.to_string()),
        })
    }
}

/// The list of lots with what it follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListView {
    /// When it was made.
    pub as_of: Timestamp,
    /// The latest time that was believed; nothing is destroyed by another.
    pub high_water: Timestamp,
    /// Whether a jump of the clock waits for a confirmation.
    pub unconfirmed: bool,
    /// The turn-over of the vault epoch.
    pub turn_over: TurnView,
    /// The profile.
    pub profile: &'static str,
    /// The policy's dates.
    pub dates: (String, String),
    /// The rules.
    pub rules: Vec<RuleView>,
    /// The lots of this page.
    pub lots: Vec<LotView>,
    /// Where the next page begins.
    pub next_cursor: Option<usize>,
}

impl ListView {
    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let rules = self.rules.iter().map(RuleView::to_value);
        let lots: Vec<Value> = self.lots.iter().map(LotView::to_value).collect();
        let (published, effective) = &self.dates;
        let mut value = json!({
            "as_of": self.as_of.to_string(),
            "clock": {
                "high_water": self.high_water.to_string(),
                "state": if self.unconfirmed { "unconfirmed" } else { "confirmed" },
            },
            "turn_over": self.turn_over.to_value(),
            "policy": {
                "profile": self.profile,
                "published": published,
                "effective": effective,
                "rules": rules.collect::<Vec<_>>(),
            },
            "lots": lots,
        });
        if let (Some(cursor), Value::Object(members)) = (self.next_cursor, &mut value) {
            members.insert("next_cursor".to_owned(), json!(cursor.to_string()));
        }
        text(&value)
    }
}

/// A certificate as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateView {
    /// Its id.
    pub id: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The number of the destruction's intent in the ledger.
    pub operation: u64,
    /// Lots.
    pub lots: usize,
}

/// The certificates of a caller, and where the next page begins.
pub fn certificates_to_json(list: &[CertificateView], next: Option<u64>) -> Vec<u8> {
    let items = list.iter().map(|one| {
        json!({
            "id": one.id,
            "issued_at": one.issued_at.to_string(),
            "destruction": one.operation,
            "lots": one.lots,
        })
    });
    let mut value = json!({"items": items.collect::<Vec<_>>()});
    if let (Some(next), Value::Object(members)) = (next, &mut value) {
        members.insert("next_cursor".to_owned(), json!(next.to_string()));
    }
    text(&value)
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
