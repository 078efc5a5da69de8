//! The Merkle tree of RFC 6962: hashes, roots, proofs. Pure; where the hashes are kept is behind
//! [`Nodes`].
//!
//! Kept are the hashes of all *full* subtrees (2^level leaves from a multiple of 2^level on), in
//! the order in which they become known: after a leaf come its parents that it completes. So a leaf
//! adds its own hash and as many more as its number has trailing ones, two on average, and a hash's
//! place follows from its level and number alone. Any other subtree is folded from at most 64 full
//! ones.

use std::io;

use crate::crypto::sha256;

/// A hash of the tree: SHA-256.
pub type Hash = [u8; 32];

/// Most hashes in a proof: the height of a tree of 2^64 leaves, twice for consistency.
pub const PROOF_HASHES_MAX: usize = 130;

/// The hash of a leaf.
pub fn leaf(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// The hash of a node.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of the tree without leaves.
pub fn empty() -> Hash {
    sha256(&[])
}

/// The largest power of two below `size`, which is at least 2: where RFC 6962 splits a tree.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The right edge of a tree: all that appending needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the full subtrees that the binary digits of the size stand for, largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The edge of a tree of this size by the roots of its full subtrees, largest first; `None`
    /// when there are not as many as the size needs.
    pub fn of(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() as u64 == u64::from(size.count_ones())).then_some(Self { size, peaks })
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; pushes its hash and those of the subtrees that it completes onto `added`.
    pub fn push(&mut self, leaf: Hash, added: &mut Vec<Hash>) {
        let mut hash = leaf;
        added.push(hash);
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
                added.push(hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> Hash {
        let folded = self.peaks.iter().rev().copied().reduce(|right, left| node(&left, &right));
        folded.unwrap_or_else(empty)
    }
}

/// How many hashes are kept for a tree of this size.
pub fn kept(size: u64) -> u64 {
    2 * size - u64::from(size.count_ones())
}

/// The place, among the kept hashes, of the root of the full subtree of 2^level leaves with this
/// number at its level.
pub fn place(level: u32, number: u64) -> u64 {
    let last_leaf = ((number + 1) << level) - 1;
    kept(last_leaf) + u64::from(level)
}

/// The kept hashes.
pub trait Nodes {
    /// The hash at a [`place`].
    ///
    /// # Errors
    /// What the system says.
    fn node(&self, place: u64) -> io::Result<Hash>;
}

/// The hash of the leaves from `from` to `to`, a subtree of RFC 6962's recursion.
fn subtree(nodes: &dyn Nodes, from: u64, to: u64) -> io::Result<Hash> {
    let size = to - from;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return nodes.node(place(level, from >> level));
    }
    let middle = from + split(size);
    Ok(node(&subtree(nodes, from, middle)?, &subtree(nodes, middle, to)?))
}

/// The root of the first `size` leaves.
///
/// # Errors
/// When a hash cannot be read.
pub fn root(nodes: &dyn Nodes, size: u64) -> io::Result<Hash> {
    if size == 0 { Ok(empty()) } else { subtree(nodes, 0, size) }
}

/// The proof that leaf `index` is among the first `size` (RFC 6962, section 2.1.1); `index < size`.
///
/// # Errors
/// When a hash cannot be read.
pub fn inclusion(nodes: &dyn Nodes, index: u64, size: u64) -> io::Result<Vec<Hash>> {
    let mut hashes = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            hashes.push(subtree(nodes, middle, to)?);
            to = middle;
        } else {
            hashes.push(subtree(nodes, from, middle)?);
            from = middle;
        }
    }
    hashes.reverse();
    Ok(hashes)
}

/// The hashes of a proof that stand left of its leaf, largest first: the full subtrees of all
/// leaves before it. `None` for a proof of another length.
pub fn before_leaf(index: u64, size: u64, proof: &[Hash]) -> Option<Vec<Hash>> {
    let (mut from, mut to) = (0, size);
    let (mut hashes, mut left) = (proof.iter().rev(), Vec::new());
    if index >= size {
        return None;
    }
    while to - from > 1 {
        let (middle, hash) = (from + split(to - from), hashes.next()?);
        if index < middle {
            to = middle;
        } else {
            left.push(*hash);
            from = middle;
        }
    }
    hashes.next().is_none().then_some(left)
}

/// The proof that the tree of `old` leaves is the beginning of that of `size` (RFC 6962, section
/// 2.1.2); `old <= size`. Empty where there is nothing to prove.
///
/// # Errors
/// When a hash cannot be read.
pub fn consistency(nodes: &dyn Nodes, old: u64, size: u64) -> io::Result<Vec<Hash>> {
    let mut hashes = Vec::new();
    if old == 0 || old == size {
        return Ok(hashes);
    }
    let (mut from, mut to) = (0, size);
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            hashes.push(subtree(nodes, middle, to)?);
            to = middle;
        } else {
            hashes.push(subtree(nodes, from, middle)?);
            from = middle;
        }
    }
    // A subtree that begins at leaf 0 is the old root itself, which the verifier has.
    if from != 0 {
        hashes.push(subtree(nodes, from, to)?);
    }
    hashes.reverse();
    Ok(hashes)
}

/// The root that a proof of inclusion leads to (RFC 9162, section 2.1.3.2); `None` when the proof
/// has not the form of one for this place.
pub fn root_of_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut number, mut last) = (index, size - 1);
    let mut hash = leaf;
    for other in proof {
        if last == 0 {
            return None;
        }
        if number & 1 == 1 || number == last {
            hash = node(other, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, other);
        }
        number >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Whether a proof shows that the tree of `old` leaves and this root is the beginning of that of
/// `size` (RFC 9162, section 2.1.4.2).
pub fn verify_consistency(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    let ((old, old_root), (size, root)) = (old, new);
    if old > size || (old == size && old_root != root) {
        return false;
    }
    if old == 0 || old == size {
        return proof.is_empty() && (old != 0 || old_root == empty());
    }
    let mut rest = proof.iter().copied();
    // A full subtree at leaf 0 is the old root itself and stands in no proof.
    let first = if old.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut number, mut last) = (old - 1, size - 1);
    while number & 1 == 1 {
        number >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut hash) = (first, first);
    for other in rest {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            old_hash = node(&other, &old_hash);
            hash = node(&other, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, &other);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == old_root && hash == root
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    impl Nodes for Vec<Hash> {
        fn node(&self, place: u64) -> io::Result<Hash> {
            Ok(self[usize::try_from(place).unwrap()])
        }
    }

    fn data(number: u64) -> Vec<u8> {
        format!("leaf {number}").into_bytes()
    }

    fn grown(size: u64) -> (Frontier, Vec<Hash>) {
        let (mut frontier, mut nodes) = (Frontier::default(), Vec::new());
        (0..size).for_each(|number| frontier.push(leaf(&data(number)), &mut nodes));
        (frontier, nodes)
    }

    /// MTH of RFC 6962, section 2.1, as it is written there.
    fn mth(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [one] => sha256(&[&[0], one]),
            _ => {
                let mut k = 1;
                while 2 * k < leaves.len() {
                    k *= 2;
                }
                sha256(&[&[1], &mth(&leaves[..k]), &mth(&leaves[k..])])
            }
        }
    }

    /// PATH of section 2.1.1.
    fn path(m: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let mut k = 1;
        while 2 * k < leaves.len() {
            k *= 2;
        }
        let (left, right) = leaves.split_at(k);
        let (mut path, other) =
            if m < k { (path(m, left), mth(right)) } else { (path(m - k, right), mth(left)) };
        path.push(other);
        path
    }

    /// SUBPROOF of section 2.1.2.
    fn subproof(m: usize, leaves: &[Vec<u8>], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![mth(leaves)] };
        }
        let mut k = 1;
        while 2 * k < leaves.len() {
            k *= 2;
        }
        let (left, right) = leaves.split_at(k);
        let (mut proof, other) = if m <= k {
            (subproof(m, left, whole), mth(right))
        } else {
            (subproof(m - k, right, false), mth(left))
        };
        proof.push(other);
        proof
    }

    /// The leaves and roots that the implementations of Certificate Transparency test with.
    #[test]
    fn published_roots() {
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let (mut frontier, mut nodes) = (Frontier::default(), Vec::new());
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(HEXLOWER.encode(&frontier.root()), nothing);
        for (data, root) in leaves.iter().zip(roots) {
            frontier.push(leaf(&HEXLOWER.decode(data.as_bytes()).unwrap()), &mut nodes);
            assert_eq!(HEXLOWER.encode(&frontier.root()), root);
        }
    }

    #[test]
    fn agrees_with_the_text_of_the_rfc() {
        let leaves: Vec<_> = (0..70).map(data).collect();
        let (_, nodes) = grown(70);
        for size in 0..=70u64 {
            let now = &leaves[..size as usize];
            let (frontier, kept_now) = grown(size);
            assert_eq!(frontier.root(), mth(now));
            assert_eq!(kept_now.len() as u64, kept(size));
            assert_eq!(root(&nodes, size).unwrap(), mth(now));
            for index in 0..size {
                let proof = inclusion(&nodes, index, size).unwrap();
                assert_eq!(proof, path(index as usize, now));
                let leaf = leaf(&leaves[index as usize]);
                assert_eq!(root_of_inclusion(leaf, index, size, &proof), Some(mth(now)));
            }
            for old in 0..=size {
                let proof = consistency(&nodes, old, size).unwrap();
                let before = (old, mth(&leaves[..old as usize]));
                if old > 0 {
                    assert_eq!(proof, subproof(old as usize, now, true), "{old} {size}");
                }
                assert!(verify_consistency(before, (size, mth(now)), &proof), "{old} {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_changed_proof_proves_nothing(
            size in 2u64..200,
            index in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
            bit in 0usize..256,
        ) {
            let (frontier, nodes) = grown(size);
            let root = frontier.root();
            let index = index.index(size as usize) as u64;
            let leaf = leaf(&data(index));
            let good = inclusion(&nodes, index, size).unwrap();
            let leads = |index, proof: &[Hash]| root_of_inclusion(leaf, index, size, proof);
            let mut bad = good.clone();
            bad[place.index(good.len())][bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(leads(index, &bad), Some(root));
            prop_assert_ne!(leads(index, &good[1..]), Some(root));
            prop_assert_ne!(leads(index, &[good.as_slice(), &[root]].concat()), Some(root));
            prop_assert_ne!(leads((index + 1) % size, &good), Some(root));
            prop_assert_eq!(leads(size, &good), None);

            let old = index + 1;
            let before = (old, super::root(&nodes, old).unwrap());
            let proof = consistency(&nodes, old, size).unwrap();
            prop_assert!(verify_consistency(before, (size, root), &proof));
            let forked = (old, leaf);
            prop_assert!(old == 1 || !verify_consistency(forked, (size, root), &proof));
            let longer = [proof.as_slice(), &[root]].concat();
            prop_assert!(!verify_consistency(before, (size, root), &longer));
            if !proof.is_empty() {
                let mut bad = proof.clone();
                bad[place.index(proof.len())][bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!verify_consistency(before, (size, root), &bad));
                prop_assert!(!verify_consistency(before, (size, root), &proof[1..]));
            }
        }
    }
}
