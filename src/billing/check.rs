//! A statement in somebody else's hands: its page, and the check of it with nothing but the
//! ledger's public key.

use super::BillingError;
use crate::crypto::sha256;
use crate::ledger::{Digest, Event, ProofError, VerifierKey, verify_proof};
use crate::wire::statement::{Body, Statement};

/// Why a statement states nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The key file.
    #[error("the key is not a verifier key of a ledger; take verifier.key of the ledger directory")]
    Key,
    /// Another form, or another spelling.
    #[error(
        "the file is not a statement in the form that the server issued; get it anew, byte for byte"
    )]
    Form,
    /// Of another ledger.
    #[error(
        "the statement is of another ledger than the key; take the verifier.key of the server that \
         issued it"
    )]
    OtherLedger,
    /// The proof in it.
    #[error(
        "the entry that the statement holds does not prove anything: {0}; fetch the statement \
         anew, and if it is the same, ask whoever runs the server to verify the ledger"
    )]
    Proof(ProofError),
    /// The digest is another.
    #[error(
        "the ledger has another digest of this statement: something in it was changed; fetch it \
         anew from the server, and bill by no copy that differs"
    )]
    Digest,
}

/// A statement as a page for people.
///
/// # Errors
/// When there is no memory for it.
pub fn page(statement: &Statement) -> Result<Vec<u8>, BillingError> {
    Ok(statement.to_page(Digest(sha256(&[&statement.body.to_bytes()?]))))
}

/// A statement as CSV.
///
/// # Errors
/// When there is no memory for it.
pub fn csv(statement: &Statement) -> Result<Vec<u8>, BillingError> {
    Ok(statement.body.to_csv(Digest(sha256(&[&statement.body.to_bytes()?]))))
}

/// The page of a statement's file, without asking whether it is genuine.
///
/// # Errors
/// When the file is none.
pub fn page_of(text: &[u8]) -> Result<Vec<u8>, StatementError> {
    let statement = Statement::parse(text).map_err(|_| StatementError::Form)?;
    page(&statement).map_err(|_| StatementError::Form)
}

/// Checks a statement with nothing but the ledger's public key; what it says.
///
/// # Errors
/// When it states nothing.
pub fn verify(text: &[u8], key: &str) -> Result<Body, StatementError> {
    let key = VerifierKey::parse(key).ok_or(StatementError::Key)?;
    let Statement { body, issued } = Statement::parse(text).map_err(|_| StatementError::Form)?;
    let entry = verify_proof(&issued, &key).map_err(StatementError::Proof)?;
    if !body.is_of_known_form() {
        return Err(StatementError::Form);
    }
    if body.ledger != key.name() {
        return Err(StatementError::OtherLedger);
    }
    let bytes = body.to_bytes().map_err(|_| StatementError::Form)?;
    let said = Event::StatementIssued {
        site: body.scope().ok_or(StatementError::Form)?,
        month: body.month,
        version: body.version,
        digest: Digest(sha256(&[&bytes])),
    };
    if entry.event == said { Ok(body) } else { Err(StatementError::Digest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_why_it_states_nothing_says_what_to_do() {
        let all = [
            StatementError::Key,
            StatementError::Form,
            StatementError::OtherLedger,
            StatementError::Proof(ProofError::Path),
            StatementError::Digest,
        ];
        for error in all {
            // A variant that is not here does not compile.
            let advice = match error {
                StatementError::Key => "take verifier.key of the ledger directory",
                StatementError::Form => "get it anew, byte for byte",
                StatementError::OtherLedger => "take the verifier.key of the server",
                StatementError::Proof(_) => "fetch the statement anew",
                StatementError::Digest => "fetch it anew from the server",
            };
            let said = error.to_string();
            assert!(said.contains(advice) && !said.ends_with('.'), "{said}");
        }
    }
}
