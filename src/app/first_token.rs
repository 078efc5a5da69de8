//! The operator token of the very first start, in a file that only its owner may read.
//!
//! A crash at any point must leave neither a token that nobody knows nor a file that opens nothing.
//! So the text is first safe under a second name, then the token is written down, then the file
//! takes its name. The token itself is never logged, only where it lies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::admin::{AdminError, Tokens};

/// The name of the file in the keys directory.
const NAME: &str = "operator.token";
/// Its name until the token is written down.
const NEW_NAME: &str = "operator.token.new";

/// Why there is no operator token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// A file operation failed.
    #[error("the operator token cannot be written to {0}: {1}")]
    File(PathBuf, io::Error),
    /// The engine did not take the token.
    #[error("the operator token cannot be written down: {0}")]
    Engine(#[from] AdminError),
}

/// Makes the first operator token where no token exists.
///
/// # Errors
/// [`TokenFileError`]; the next start tries again.
pub async fn ensure(tokens: &Tokens, keys: &Path) -> Result<(), TokenFileError> {
    let (path, new) = (keys.join(NAME), keys.join(NEW_NAME));
    let failed = |error| TokenFileError::File(path.clone(), error);
    match fs::read_to_string(&new).map(Zeroizing::new) {
        // An earlier start ended between the writing of the token and the naming of its file.
        Ok(text) if tokens.knows(&text) => return name_file(&new, &path, keys).map_err(failed),
        Ok(_) => fs::remove_file(&new).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if !tokens.is_empty() {
        return Ok(());
    }
    if path.exists() {
        // Its token was revoked; making it good again would undo that.
        let file = path.display();
        tracing::warn!(%file, "there is no token; remove this file and start again to get one");
        return Ok(());
    }
    let (token, text) = tokens.mint_operator("operator");
    write_file(&new, &text).map_err(failed)?;
    tokens.adopt(token).await?;
    name_file(&new, &path, keys).map_err(failed)
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn name_file(new: &Path, path: &Path, keys: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    File::open(keys)?.sync_all()?;
    tracing::info!(file = %path.display(), "the operator token of this first start is in a file");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fake::{Memory, TestClock};
    use crate::engine::EngineError;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn tokens(book: &Arc<Memory>) -> Tokens {
        Tokens::new(book.clone(), book.clone(), Arc::new(TestClock::default()))
    }

    fn proven(tokens: &Tokens, text: &str) -> bool {
        tokens.authenticate(Some(format!("Bearer {}", text.trim()).as_bytes())).is_ok()
    }

    #[tokio::test]
    async fn the_first_start_leaves_a_private_file_and_later_ones_leave_it_alone() {
        let keys = tempfile::tempdir().unwrap();
        let tokens = tokens(&Arc::default());
        ensure(&tokens, keys.path()).await.unwrap();
        let path = keys.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        assert!(proven(&tokens, &text));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        ensure(&tokens, keys.path()).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(!keys.path().join(NEW_NAME).exists());
    }

    #[tokio::test]
    async fn a_start_that_was_cut_is_made_good() {
        let keys = tempfile::tempdir().unwrap();
        let book = Arc::new(Memory::default());
        let tokens = tokens(&book);
        // Cut before the token was written down: the old text is worth nothing.
        fs::write(keys.path().join(NEW_NAME), "bt_old").unwrap();
        ensure(&tokens, keys.path()).await.unwrap();
        let text = fs::read_to_string(keys.path().join(NAME)).unwrap();
        assert!(proven(&tokens, &text));
        // Cut before the file got its name: the same token again.
        fs::rename(keys.path().join(NAME), keys.path().join(NEW_NAME)).unwrap();
        ensure(&tokens, keys.path()).await.unwrap();
        assert_eq!(fs::read_to_string(keys.path().join(NAME)).unwrap(), text);
    }

    #[tokio::test]
    async fn a_revoked_token_does_not_come_back_with_its_file() {
        let keys = tempfile::tempdir().unwrap();
        let tokens = tokens(&Arc::default());
        fs::write(keys.path().join(NAME), "bt_revoked").unwrap();
        ensure(&tokens, keys.path()).await.unwrap();
        assert!(tokens.is_empty());
    }

    #[tokio::test]
    async fn a_failed_write_leaves_no_token_file() {
        let keys = tempfile::tempdir().unwrap();
        let book = Arc::new(Memory::default());
        book.fail(EngineError::DiskFull);
        let refused = ensure(&tokens(&book), keys.path()).await.unwrap_err();
        assert!(matches!(refused, TokenFileError::Engine(AdminError::DiskFull)));
        assert!(!keys.path().join(NAME).exists());
    }
}
