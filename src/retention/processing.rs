//! The record of processing of a statement: from sites, policy and settings. What the program
//! cannot know is the operator's to say, and what they do not say is named as missing.

use std::sync::Arc;

use super::Inner;
use super::policy::{Policy, RetentionClass};
use crate::model::site::Site;
use crate::wire::retention::processing::{CategoryView, ControllerView, ProcessingRecord};

/// What leaves the server by the program's own doing.
const LEAVES: [&str; 2] = [
    "webhooks: sites, months and counts to addresses that an operator named; no id of a person and \
     no pseudonym",
    "nothing else: answers go to whoever asks with a credential, and backups and copies of keys to \
     places of the configuration, sealed",
];

impl Inner {
    /// The record, about these sites.
    pub(super) fn processing_record(
        &self,
        sites: &[Arc<Site>],
        policy: &Policy,
    ) -> ProcessingRecord {
        let controller = |site: &Arc<Site>| ControllerView {
            site: site.id.to_string(),
            name: site.settings.name.clone(),
            since: site.created_at,
            until: site.terminated_at,
        };
        let categories = super::list::rules(policy).into_iter().zip(&policy.rules);
        let categories = categories.map(|(view, rule)| {
            let (purpose, subjects) = purpose_of(rule.class);
            CategoryView { rule: view, purpose, subjects }
        });
        ProcessingRecord {
            said: self.settings.processing.clone(),
            controllers: sites.iter().map(controller).collect(),
            categories: categories.collect(),
            leaves: LEAVES.to_vec(),
            measures: self.measures(),
        }
    }

    /// The program's own measures, as it is configured.
    fn measures(&self) -> Vec<String> {
        let settings = &self.settings;
        let hours = settings.turn_over.as_secs() / 3_600;
        let minutes = settings.every.as_secs() / 60;
        let people = if settings.two_people { "two people" } else { "one person" };
        vec![
            "ids are made pseudonyms in memory, by a keyed hash (HMAC-SHA-256, or BLAKE3 where a \
             site chose it) under random keys of the site and the month, before anything is stored"
                .to_owned(),
            "what is stored is sealed with AES-256-GCM, or a pseudonym under a key that will be \
             destroyed, or a count; keys lie apart from data and in no backup"
                .to_owned(),
            format!("the root of all keys: {}", self.vault.vek_home()),
            format!(
                "what is due is destroyed by its keys, looked for every {minutes} minutes, with an \
                 intent, a verification and a certificate under a signed ledger"
            ),
            format!(
                "the vault epoch key is replaced with each destruction, and within {hours} hours \
                 after a key has ended"
            ),
            format!(
                "the release of a hold and the removal of a month take two people, the end of a \
                 site {people}; a clock that is more than {} days ahead waits for {people}",
                settings.jump_days
            ),
            "each credential has one role and its sites; no role has both records and keys; uses \
             are logged by the day, reads of few in the ledger"
                .to_owned(),
        ]
    }
}

/// What a class is kept for, and of whom it is.
const fn purpose_of(class: RetentionClass) -> (&'static str, &'static str) {
    const VIEWERS: &str = "viewers of the controller: users and their devices, as pseudonyms";
    match class {
        RetentionClass::RawInput => {
            ("to make pseudonyms of ids", "viewers of the controller: users and their devices")
        }
        RetentionClass::Records => ("billing, disputes about it, support", VIEWERS),
        RetentionClass::Sets => ("billing: exact counts of distinct users and devices", VIEWERS),
        RetentionClass::Statements => ("billing and tax", "nobody: counts"),
        RetentionClass::Disputes => ("disputes and legal claims", "nobody: months and sites"),
        RetentionClass::AccessLog => {
            ("security of processing", "holders of credentials, by the number of the credential")
        }
        RetentionClass::Detections => ("to find the source of a leak", VIEWERS),
        RetentionClass::Proofs => ("accountability", "holders of credentials, likewise"),
        RetentionClass::Rejects => ("security and support", "nobody: counts"),
    }
}
