//! What lies sealed on the disk, opened as only this test does: the rows of every block, inflated,
//! and the batches of the journal. What hides inside of a sealed value is not found in a file.

use blindtally::crypto::seal::key_id;
use blindtally::engine::fold::{BlockPlace, open_block_key, rows_of};
use blindtally::engine::journal;
use blindtally::keys::{self, KeyRing};
use blindtally::store::{self, Store, Table, batch};

use super::ids::DEVICE_KINDS;
use super::plant::{DROPPED, IDENTIFYING};
use super::search::Canary;
use crate::support::Place;

/// Whether nothing may be left of a canary anywhere. What only describes (a model, a content id) is
/// kept as it came.
pub fn identifies(canary: &Canary) -> bool {
    let name = canary.name.as_str();
    let lists = [IDENTIFYING, DROPPED, &DEVICE_KINDS];
    lists.iter().any(|list| list.contains(&name))
}

/// Every plain row of a server that has ended, with its place: rows of blocks, batches of the
/// journal.
pub fn plain(place: &Place) -> (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>)>) {
    let settings = store::Settings { data: place.data(), block_cache_bytes: 1 << 20 };
    let store = Store::open(&settings).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(place.keys())).unwrap();
    let mut blocks = Vec::new();
    for table in store.tables() {
        let Table::BlockKeys(class, _) = table else { continue };
        for row in store.scan(table, &[], None).unwrap() {
            let (key, wrapped) = row.unwrap();
            let at = BlockPlace::from_key(class, &key).unwrap();
            let bucket = ring.by_id(key_id(&wrapped).unwrap()).unwrap();
            let key = open_block_key(at, &bucket, &wrapped).unwrap();
            for row in rows_of(&store, at, &key).unwrap() {
                blocks.push((format!("a row of {}", table.name()), row.details));
            }
        }
    }
    let mut batches = Vec::new();
    for group in journal::stored(&store, 0, u64::MAX).unwrap() {
        let group = group.unwrap();
        let opened = journal::decode_group(group.number, &group.row, &|id| ring.by_id(id)).unwrap();
        for one in &opened.batches {
            batches.push((format!("a batch of group {}", group.number), batch::encode(one)));
        }
    }
    (blocks, batches)
}
