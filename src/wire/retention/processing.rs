//! The record of processing that a processor keeps (GDPR Art. 30(2)), as a statement has it: what
//! the program knows, what the operator says, and what of the latter is missing.

use serde_json::{Value, json};

use super::view::RuleView;
use crate::model::time::Timestamp;

/// Longest text of the operator, bytes.
pub const SAID_BYTES_MAX: usize = 2_000;

/// What an operator says of the processing; `None` where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessingSaid {
    /// Who runs the server, and how they are reached.
    pub processor: Option<String>,
    /// Their representative, where the law asks for one.
    pub representative: Option<String>,
    /// Who is responsible for data protection, and how they are reached.
    pub protection_officer: Option<String>,
    /// Where the contacts of the controllers are kept.
    pub controllers: Option<String>,
    /// Transfers to other countries, and their safeguards; "none" is an answer.
    pub transfers: Option<String>,
    /// Measures that are none of the program's: rooms, people, training.
    pub measures: Option<String>,
}

impl ProcessingSaid {
    /// The settings whose text is missing. A representative is not everybody's.
    pub fn missing(&self) -> Vec<&'static str> {
        let needed = [
            (&self.processor, "[evidence] processor"),
            (&self.protection_officer, "[evidence] protection_officer"),
            (&self.controllers, "[evidence] controllers"),
            (&self.transfers, "[evidence] transfers"),
            (&self.measures, "[evidence] measures"),
        ];
        needed.into_iter().filter(|(said, _)| said.is_none()).map(|(_, name)| name).collect()
    }
}

/// A controller: a site is one customer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerView {
    /// The site.
    pub site: String,
    /// The customer's name, as the site has it; empty where none was given.
    pub name: String,
    /// Since when.
    pub since: Timestamp,
    /// When its collection ended.
    pub until: Option<Timestamp>,
}

/// A category of processing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryView {
    /// What it is of, how long and on which ground.
    pub rule: RuleView,
    /// What for.
    pub purpose: &'static str,
    /// Of whom.
    pub subjects: &'static str,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessingRecord {
    /// What the operator says.
    pub said: ProcessingSaid,
    /// On whose behalf.
    pub controllers: Vec<ControllerView>,
    /// What is done for each of them.
    pub categories: Vec<CategoryView>,
    /// What leaves the server by the program's own doing.
    pub leaves: Vec<&'static str>,
    /// The program's own measures, as it is configured.
    pub measures: Vec<String>,
}

impl ProcessingRecord {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        let said = &self.said;
        let controller = |one: &ControllerView| {
            json!({
                "site_id": one.site,
                "name": one.name,
                "since": one.since.to_string(),
                "until": one.until.map(|at| at.to_string()),
            })
        };
        let category = |one: &CategoryView| {
            let mut value = one.rule.to_value();
            value["purpose"] = json!(one.purpose);
            value["subjects"] = json!(one.subjects);
            value
        };
        json!({
            "of": "GDPR Art. 30(2)",
            "processor": said.processor,
            "representative": said.representative,
            "protection_officer": said.protection_officer,
            "controllers": self.controllers.iter().map(controller).collect::<Vec<_>>(),
            "controllers_contacts": said.controllers,
            "categories": self.categories.iter().map(category).collect::<Vec<_>>(),
            "transfers": {"said": said.transfers, "program": self.leaves},
            "measures": {"said": said.measures, "program": self.measures},
            "missing": said.missing(),
        })
    }
}
