//! How many connections each peer has, so that one of them cannot take all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits of an IPv6 address that name a network; whoever has one has all addresses in it.
const NETWORK_BITS: u32 = 64;

/// The connections of each peer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Peers {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    each_max: usize,
}

impl Peers {
    /// Nobody yet, and so many connections each.
    pub fn new(each_max: usize) -> Self {
        Self { open: Arc::default(), each_max }
    }

    /// Counts a connection of a peer until the mark is dropped; `None` where it has too many.
    pub fn admit(&self, peer: IpAddr) -> Option<Admitted> {
        let peer = network(peer);
        let mut open = self.lock();
        let count = open.entry(peer).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Admitted { peers: self.clone(), peer })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one peer: an address of IPv4, a network of IPv6.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// A counted connection.
#[derive(Debug)]
pub struct Admitted {
    peers: Peers,
    peer: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_cap_and_leaves_nothing_behind() {
        let peers = Peers::new(2);
        let peer = |text: &str| text.parse().unwrap();
        let held: Vec<_> = (0..2).map(|_| peers.admit(peer("192.0.2.1")).unwrap()).collect();
        assert!(peers.admit(peer("192.0.2.1")).is_none());
        assert!(peers.admit(peer("::ffff:192.0.2.1")).is_none(), "the same in another spelling");
        assert!(peers.admit(peer("192.0.2.2")).is_some());
        let six = peers.admit(peer("2001:db8::1"));
        let same = peers.admit(peer("2001:db8::ffff"));
        assert!(six.is_some() && same.is_some());
        assert!(peers.admit(peer("2001:db8::2")).is_none(), "the same network");
        assert!(peers.admit(peer("2001:db8:0:1::1")).is_some());
        drop((held, six, same));
        assert!(peers.admit(peer("192.0.2.1")).is_some());
        assert!(peers.lock().is_empty());
    }
}
