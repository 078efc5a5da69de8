//! Binary fuse filters over tags, as bytes: about nine bits a tag, no false "no", 0.4 % false
//! "maybe" (Graf and Lemire, Binary Fuse Filters, 2022).

use std::sync::Arc;

use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter as _, FilterRef};

use super::spread;

/// Stands for a filter that could not be built.
const MAYBE: &[u8] = &[1];

/// A filter over the first 64 bits of tags. Its bytes are those that [`Filter::build`] could have
/// made: a probe of anything else could run past the prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Arc<[u8]>);

impl Filter {
    /// A filter over the keys, which are sorted and made distinct here. No keys, no bytes.
    pub fn build(keys: &mut Vec<u64>) -> Self {
        spread::sort(keys, |key| *key, |key| *key);
        keys.dedup();
        if keys.is_empty() {
            return Self(Arc::new([]));
        }
        // It fails only on equal keys, of which there are none. Should it fail all the same, the
        // filter says "maybe" to everything rather than a wrong "no".
        let Ok(filter) = BinaryFuse8::try_from(keys.as_slice()) else { return Self(MAYBE.into()) };
        let mut out = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut out);
        out.extend_from_slice(filter.dma_fingerprints());
        Self(out.into())
    }

    /// The filter of stored bytes; `None` when they are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        is_sound(bytes).then(|| Self(bytes.into()))
    }

    /// The bytes to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the key may be among those the filter was built from; `false` is certain.
    pub fn may_hold(&self, key: u64) -> bool {
        if *self.0 == *MAYBE {
            return true;
        }
        self.0.split_at_checked(BinaryFuse8::DESCRIPTOR_LEN).is_some_and(|(descriptor, prints)| {
            BinaryFuse8Ref::from_dma(descriptor, prints).contains(&key)
        })
    }
}

/// Whether the bytes are `seed (8) ‖ segment length ‖ mask ‖ segment count length` and as many
/// prints as they ask for.
fn is_sound(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes == MAYBE {
        return true;
    }
    let Some((descriptor, prints)) = bytes.split_at_checked(BinaryFuse8::DESCRIPTOR_LEN) else {
        return false;
    };
    let word = |at: usize| {
        let bytes = descriptor.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(bytes.map_or(0, u32::from_le_bytes))
    };
    let (length, mask, count) = (word(8), word(12), word(16));
    length.is_power_of_two()
        && mask == length - 1
        && count > 0
        && count % length == 0
        && prints.len() as u64 == count + 2 * length
}
