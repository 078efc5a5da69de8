//! Which partition owns what. Today one process owns all of them; the functions are fixed all the
//! same, because a month's partitions never change once its row is written.
//!
//! An event's owner decides about duplicates, sums and the record; a user's owner keeps the user
//! sets, a device's owner the device sets. Tags are random, so their top bits are the hash.

use crate::model::ids::ShortTag;

/// The partition that owns an event: by its seen tag, which is made of (site, producer, event id).
pub fn of_event(seen: ShortTag, partitions: u16) -> u16 {
    scaled(seen, partitions)
}

/// The partition that owns a user or a device in its set.
pub fn of_member(tag: ShortTag, partitions: u16) -> u16 {
    scaled(tag, partitions)
}

fn scaled(tag: ShortTag, partitions: u16) -> u16 {
    let at = (u128::from(tag.prefix()) * u128::from(partitions)) >> 64;
    u16::try_from(at).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cover_the_whole_range_in_order() {
        assert_eq!(of_event(ShortTag([0; 12]), 256), 0);
        assert_eq!(of_event(ShortTag([255; 12]), 256), 255);
        assert_eq!(of_member(ShortTag([128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 256), 128);
    }
}
