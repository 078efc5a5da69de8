//! Who calls: a credential's role, sites and names.

use std::collections::BTreeSet;

use super::ids::SiteId;
use super::time::Timestamp;
use super::vocab::vocabulary;

vocabulary! {
    /// What a credential may do (API.md "Authentication").
    pub enum Role {
        /// Posts records.
        Producer = 1, "producer";
        /// Reads usage and statements.
        Billing = 2, "billing";
        /// Answers people.
        Privacy = 3, "privacy";
        /// Reads proofs and logs.
        Auditor = 4, "auditor";
        /// Runs sites and tokens.
        Operator = 5, "operator";
        /// Runs keys and destruction.
        Custodian = 6, "custodian";
    }
}

/// The sites of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteScope {
    /// Every site, also those to come (`"*"`).
    All,
    /// These sites.
    Some(BTreeSet<SiteId>),
}

impl SiteScope {
    /// Whether the scope holds the site.
    pub fn holds(&self, site: &SiteId) -> bool {
        match self {
            Self::All => true,
            Self::Some(sites) => sites.contains(site),
        }
    }
}

/// A token as it is stored: its hash, never its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The public part, `[a-z0-9]{16}`.
    pub key_id: String,
    /// BLAKE3 of the secret part (256 random bits need no slow hash).
    pub secret_hash: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// Where it may do it.
    pub sites: SiteScope,
    /// The holder, for people.
    pub name: String,
    /// The producer name of the credential, kept over rotation.
    pub producer: String,
    /// Other producer names that its records may carry; `None` = any.
    pub producers: Option<BTreeSet<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Who made it; `None` for the one of the first start, which the server makes, and for one that
    /// a build made which did not keep it.
    pub issuer: Option<Issuer>,
}

/// Who made a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The key id of the operator's token that made it.
    pub by: String,
    /// The line that it is of: the key id of the token in whose line of makers there is none but
    /// those of unknown makers before it. Whoever has one operator's token makes tokens of one
    /// line, but for the operator of the first start.
    pub line: String,
}

impl Issuer {
    /// Of a token with this key id that an operator makes.
    pub fn of(maker: &Token, key_id: &str) -> Self {
        let line = maker.issuer.as_ref().map_or(key_id, |own| &own.line);
        Self { by: maker.key_id.clone(), line: line.to_owned() }
    }
}

/// An authenticated caller: the token that proved itself.
pub type Caller = std::sync::Arc<Token>;
