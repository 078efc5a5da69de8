//! Why the ledger cannot be used: each a plain sentence that says what to do.

use std::io;
use std::path::PathBuf;

use super::key_file::KeyFileError;

/// Who else knows how long the ledger was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The key register or the VEK home.
    Keys,
    /// The second copy of the checkpoints.
    SecondCopy,
    /// The data directory.
    Data,
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keys => "the key register or the VEK home",
            Self::SecondCopy => "the second copy of the checkpoints",
            Self::Data => "the data directory",
        })
    }
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file operation.
    #[error("cannot {what} {file} of the ledger: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the ledger in {} is in use by another process; stop that first", .0.display())]
    Locked(PathBuf),
    /// The published key is another one.
    #[error(
        "verifier.key of the ledger is not the public half of its signing key; put back the \
         ledger directory and the signing key that belong together"
    )]
    OtherKey,
    /// The last checkpoint is not by this key.
    #[error(
        "the last checkpoint of the ledger is not signed by its signing key, or was changed; put \
         back the ledger directory and the signing key that belong together"
    )]
    Signature,
    /// The end of the checkpoints is neither whole nor torn by a crash.
    #[error(
        "the last checkpoint of the ledger is damaged, or missing while there are entries; put \
         back the file `checkpoints`, and run `blindtally verify` to see what differs"
    )]
    Checkpoints,
    /// Fewer entries than the checkpoint signs.
    #[error(
        "entry {entry} is missing from entries.ndjson: the ledger's checkpoint signs {signed} \
         entries; put back the whole ledger directory"
    )]
    Ends {
        /// The first that is missing.
        entry: u64,
        /// Entries under the checkpoint.
        signed: u64,
    },
    /// An entry that is not what was signed.
    #[error("entry {entry} in entries.ndjson was changed; put back the whole ledger directory")]
    Changed {
        /// Its number.
        entry: u64,
    },
    /// Some entry is not what was signed.
    #[error(
        "one of the {signed} entries in entries.ndjson was changed; put back the whole ledger \
         directory, and run `blindtally verify` to see which one it is"
    )]
    ChangedSomewhere {
        /// Entries under the checkpoint.
        signed: u64,
    },
    /// Older than something that knows it.
    #[error(
        "the ledger has {ours} entries but {witness} knows of {theirs}: it is older than that; \
         put back the newest ledger"
    )]
    Behind {
        /// Who knows.
        witness: Witness,
        /// Entries it knows of.
        theirs: u64,
        /// Entries there are.
        ours: u64,
    },
    /// Another history.
    #[error(
        "the first {size} entries of the ledger are not those that {witness} knows: one of them \
         was exchanged; put back the ledger that belongs to it"
    )]
    Forked {
        /// Who knows.
        witness: Witness,
        /// Up to which size.
        size: u64,
    },
    /// An entry that would not be read back, or an intent as a result.
    #[error("this entry cannot be written: a word, a time or its length has no place in a ledger")]
    Unfit,
    /// A result without its intent.
    #[error("there is no open operation {0} of this kind in the ledger")]
    NoOperation(u64),
    /// A question about what is not there yet.
    #[error("the ledger has {size} entries, so there is nothing at {asked}")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// What there is.
        size: u64,
    },
    /// A write or sync failed. It is never tried again: what the disk holds is unknown until the
    /// files are read anew.
    #[error("writing the ledger failed ({0}), so this process must stop and start again")]
    Failed(io::ErrorKind),
}

/// For `map_err`: what was tried on which file.
pub(super) fn io_error(
    what: &'static str,
    file: &'static str,
) -> impl FnOnce(io::Error) -> LedgerError {
    move |source| LedgerError::Io { what, file, source }
}
