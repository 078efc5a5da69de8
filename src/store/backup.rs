//! Stored rows of backup: how far the ledger and the register were when the data was last folded,
//! and the row that makes a copy of the data known as one.

use super::codec::{Corrupt, Put, Reader};
use crate::model::time::Timestamp;

const VERSION: u8 = 1;

/// What the data knows of the keys and of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataMark {
    /// The generation of the key register.
    pub generation: u64,
    /// Entries of the ledger.
    pub ledger_size: u64,
    /// The root over them.
    pub ledger_root: [u8; 32],
}

impl DataMark {
    fn put(&self, out: &mut Vec<u8>) {
        out.varint(self.generation);
        out.varint(self.ledger_size);
        out.extend_from_slice(&self.ledger_root);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            generation: reader.varint()?,
            ledger_size: reader.varint()?,
            ledger_root: reader.array()?,
        })
    }

    /// Encodes the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.put(&mut out);
        out
    }

    /// Decodes the row.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("mark of the data", bytes);
        if reader.byte()? != VERSION {
            return Err(reader.corrupt());
        }
        let mark = Self::read(&mut reader)?;
        reader.end().map(|()| mark)
    }
}

/// What a backup says of itself, in the data: whoever starts on it knows that it is one, however it
/// was put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupRow {
    /// Whether the engine has made it fit to the keys and to the ledger of today.
    pub replayed: bool,
    /// The number of its intent in the ledger.
    pub operation: u64,
    /// Everything that was acknowledged before this instant is in it, and nothing after.
    pub barrier: Timestamp,
    /// The last journal group in it.
    pub folded_through: u64,
    /// What it knew of the keys and of the ledger.
    pub mark: DataMark,
    /// What was made fit: lots that are gone, tokens that were revoked, sites that ended.
    pub done: [u64; 3],
}

impl BackupRow {
    /// Encodes the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.replayed)];
        out.varint(self.operation);
        out.zigzag(self.barrier.0);
        out.varint(self.folded_through);
        self.mark.put(&mut out);
        self.done.iter().for_each(|count| out.varint(*count));
        out
    }

    /// Decodes the row.
    ///
    /// # Errors
    /// When the bytes do not follow the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("row of a backup", bytes);
        let corrupt = reader.corrupt();
        let (version, replayed) = (reader.byte()?, reader.byte()?);
        if version != VERSION || replayed > 1 {
            return Err(corrupt);
        }
        let row = Self {
            replayed: replayed == 1,
            operation: reader.varint()?,
            barrier: Timestamp(reader.zigzag()?),
            folded_through: reader.varint()?,
            mark: DataMark::read(&mut reader)?,
            done: [reader.varint()?, reader.varint()?, reader.varint()?],
        };
        reader.end().map(|()| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_round_trip(
            replayed in any::<bool>(), numbers in any::<[u64; 4]>(), at in any::<i64>(),
            root in any::<[u8; 32]>(), done in any::<[u64; 3]>(),
        ) {
            let [operation, folded_through, generation, ledger_size] = numbers;
            let mark = DataMark { generation, ledger_size, ledger_root: root };
            let barrier = Timestamp(at);
            let row = BackupRow { replayed, operation, barrier, folded_through, mark, done };
            let bytes = row.encode();
            prop_assert_eq!(BackupRow::decode(&bytes), Ok(row));
            prop_assert!(BackupRow::decode(&bytes[..bytes.len() - 1]).is_err());
            prop_assert_eq!(DataMark::decode(&mark.encode()), Ok(mark));
        }

        #[test]
        fn anything_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = BackupRow::decode(&bytes);
            let _ = DataMark::decode(&bytes);
        }
    }
}
