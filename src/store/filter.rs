//! Binary fuse filters over tags, as bytes: about nine bits a tag, no false "no", 0.4 % false
//! "maybe" (Graf and Lemire, Binary Fuse Filters, 2022).

use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter, FilterRef};

/// Stands for a filter that could not be built.
const MAYBE: &[u8] = &[1];

/// A filter over the keys, which are sorted and made distinct here. No keys, no bytes.
pub fn build(keys: &mut Vec<u64>) -> Vec<u8> {
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Vec::new();
    }
    // It fails only on equal keys, of which there are none. Should it fail all the same, the filter
    // says "maybe" to everything rather than a wrong "no".
    let Ok(filter) = BinaryFuse8::try_from(keys.as_slice()) else { return MAYBE.to_vec() };
    let mut out = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut out);
    out.extend_from_slice(filter.dma_fingerprints());
    out
}

/// Whether the bytes are a filter that [`build`] could have made: `seed (8) ‖ segment length ‖ mask
/// ‖ segment count length` and as many prints as they ask for. A probe of anything else could run
/// past the prints.
pub fn is_sound(filter: &[u8]) -> bool {
    if filter.is_empty() || filter == MAYBE {
        return true;
    }
    let Some((descriptor, prints)) = filter.split_at_checked(BinaryFuse8::DESCRIPTOR_LEN) else {
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

/// Whether the key may be among those the filter was built from; `false` is certain.
pub fn may_hold(filter: &[u8], key: u64) -> bool {
    if filter == MAYBE {
        return true;
    }
    filter.split_at_checked(BinaryFuse8::DESCRIPTOR_LEN).is_some_and(|(descriptor, prints)| {
        BinaryFuse8Ref::from_dma(descriptor, prints).contains(&key)
    })
}
