//! Which endbox an IPv4 address of the LAN is behind, by configuration: what OpenHIP's endboxes
//! forward by, in place of MAC learning.

use crate::beet::Hit;

/// An IPv4 address in network byte order.
pub type Address = [u8; 4];

/// Most addresses that all endboxes together may own.
pub const MAX_OWNED: usize = 65_536;

/// A static peer: its index among those of the LAN.
pub type OwnerId = u32;

/// Who an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This endbox: the address is on the LAN here.
    Local,
    Peer(OwnerId),
}

/// How a peer takes part in the LAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is a port of a learning bridge.
    #[default]
    Learning,
    /// It has the addresses that are configured for it, and gets IPv4 and ARP only.
    Static(OwnerId),
    /// It is no peer but the group that all static ones have joined.
    Group,
}

/// A peer that is static, and what it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeer {
    /// One for each version of HIP that it may be associated in.
    pub hits: Vec<Hit>,
    pub addresses: Vec<Address>,
    /// It takes what is for addresses that nobody owns.
    pub default: bool,
}

/// What the LAN is told at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnershipParameters {
    pub local: Vec<Address>,
    /// This endbox takes what is for addresses that nobody owns.
    pub local_default: bool,
    pub peers: Vec<StaticPeer>,
    /// Every other peer is static as well, and owns nothing.
    pub all_static: bool,
    /// Refuse what comes from a peer with a source address that is not the peer's.
    pub filter: bool,
    /// Stands for the group of the static multicast security association.
    pub group: Option<Hit>,
}

/// Whom the addresses of a LAN belong to. Never changed once made, so any thread may read it.
#[derive(Debug, Default)]
pub struct Ownership {
    /// Sorted, each address once.
    owned: Box<[(u32, Owner)]>,
    /// Of each static peer.
    hits: Box<[Box<[Hit]>]>,
    /// Sorted by HIT, with the peer's index.
    by_hit: Box<[(Hit, OwnerId)]>,
    default: Option<Owner>,
    /// Anybody is static, or owns anything.
    active: bool,
    /// It was told what is here, be it nothing.
    has_local: bool,
    all_static: bool,
    filter: bool,
    group: Option<Hit>,
}

/// Owner id of static peers that own nothing and are not listed.
const UNLISTED: OwnerId = OwnerId::MAX;

impl Ownership {
    /// The error says what contradicts itself.
    pub fn new(parameters: OwnershipParameters) -> Result<Self, String> {
        let count: usize = parameters.local.len()
            + parameters
                .peers
                .iter()
                .map(|p| p.addresses.len())
                .sum::<usize>();
        if count > MAX_OWNED {
            return Err(format!(
                "{count} addresses are owned, and {MAX_OWNED} at most can be"
            ));
        }
        let mut owned: Vec<(u32, Owner)> = parameters
            .local
            .iter()
            .map(|address| (u32::from_be_bytes(*address), Owner::Local))
            .collect();
        let mut default = parameters.local_default.then_some(Owner::Local);
        let mut by_hit = Vec::with_capacity(parameters.peers.len());
        for (id, peer) in parameters.peers.iter().enumerate() {
            let id = id as OwnerId;
            by_hit.extend(peer.hits.iter().map(|hit| (*hit, id)));
            let addresses = peer.addresses.iter();
            owned.extend(addresses.map(|address| (u32::from_be_bytes(*address), Owner::Peer(id))));
            if peer.default {
                if default.is_some() {
                    return Err("there are two default endboxes".into());
                }
                default = Some(Owner::Peer(id));
            }
        }
        owned.sort_unstable_by_key(|(address, _)| *address);
        by_hit.sort_unstable();
        if let Some(twice) = owned.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let address = std::net::Ipv4Addr::from(twice[0].0);
            return Err(format!("{address} has two owners"));
        }
        if by_hit.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("a peer is listed twice".into());
        }
        Ok(Self {
            active: !owned.is_empty() || !parameters.peers.is_empty() || parameters.all_static,
            owned: owned.into(),
            hits: parameters
                .peers
                .into_iter()
                .map(|peer| peer.hits.into())
                .collect(),
            by_hit: by_hit.into(),
            default,
            has_local: !parameters.local.is_empty()
                || parameters.local_default
                || parameters.all_static,
            all_static: parameters.all_static,
            filter: parameters.filter,
            group: parameters.group,
        })
    }

    /// Whether every peer learns, and so nothing here has a say.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.active
    }

    /// How a peer takes part.
    #[must_use]
    pub fn standing(&self, hit: &Hit) -> Standing {
        if self.group.as_ref() == Some(hit) {
            return Standing::Group;
        }
        match self.by_hit.binary_search_by_key(&hit, |(hit, _)| hit) {
            Ok(index) => Standing::Static(self.by_hit[index].1),
            Err(_) if self.all_static => Standing::Static(UNLISTED),
            Err(_) => Standing::Learning,
        }
    }

    /// Whose an address is, if it is anybody's.
    #[must_use]
    pub fn owner(&self, address: Address) -> Option<Owner> {
        let address = u32::from_be_bytes(address);
        let found = self.owned.binary_search_by_key(&address, |(a, _)| *a);
        found.ok().map(|index| self.owned[index].1)
    }

    /// The endbox that takes what is for addresses that nobody owns.
    #[must_use]
    pub fn default_owner(&self) -> Option<Owner> {
        self.default
    }

    /// The HITs that a static peer may be associated by.
    #[must_use]
    pub fn hits(&self, id: OwnerId) -> &[Hit] {
        self.hits.get(id as usize).map_or(&[], |hits| hits)
    }

    /// The group that static peers have joined, if there is one.
    #[must_use]
    pub fn group(&self) -> Option<&Hit> {
        self.group.as_ref()
    }

    /// Whether what comes from peers is checked.
    #[must_use]
    pub fn filters(&self) -> bool {
        self.filter
    }

    /// Whether an address is one that an owner may send from.
    #[must_use]
    pub fn may_send(&self, who: Owner, source: Address) -> bool {
        match self.owner(source) {
            Some(owner) => owner == who,
            // An endbox that was not told what is behind it lets everything pass that is nobody's.
            None => self.default == Some(who) || (who == Owner::Local && !self.has_local),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8, addresses: &[Address]) -> StaticPeer {
        StaticPeer {
            hits: vec![[n; 16]],
            addresses: addresses.to_vec(),
            default: false,
        }
    }

    #[test]
    fn everybody_learns_unless_told_otherwise() {
        let none = Ownership::default();
        assert!(none.is_idle());
        assert_eq!(none.standing(&[1; 16]), Standing::Learning);
        let all = OwnershipParameters {
            all_static: true,
            ..OwnershipParameters::default()
        };
        let all = Ownership::new(all).unwrap();
        assert!(!all.is_idle());
        assert_eq!(all.standing(&[1; 16]), Standing::Static(UNLISTED));
        assert!(all.hits(UNLISTED).is_empty());
        assert!(
            !all.may_send(Owner::Local, [10, 0, 0, 1]),
            "all has to be listed"
        );
    }

    #[test]
    fn addresses_belong_to_one_endbox() {
        let parameters = OwnershipParameters {
            local: vec![[10, 0, 0, 1], [10, 0, 0, 9]],
            peers: vec![
                peer(2, &[[10, 0, 0, 2]]),
                peer(1, &[[10, 0, 0, 3], [9, 0, 0, 1]]),
            ],
            ..OwnershipParameters::default()
        };
        let owned = Ownership::new(parameters.clone()).unwrap();
        assert_eq!(owned.owner([10, 0, 0, 9]), Some(Owner::Local));
        assert_eq!(owned.owner([9, 0, 0, 1]), Some(Owner::Peer(1)));
        assert_eq!(owned.owner([10, 0, 0, 4]), None);
        assert_eq!(owned.standing(&[1; 16]), Standing::Static(1));
        assert_eq!(owned.standing(&[3; 16]), Standing::Learning);
        assert_eq!(owned.hits(0), &[[2; 16]]);
        assert!(owned.may_send(Owner::Peer(0), [10, 0, 0, 2]));
        assert!(!owned.may_send(Owner::Peer(0), [10, 0, 0, 3]));
        assert!(!owned.may_send(Owner::Local, [10, 0, 0, 4]));
        let mut twice = parameters;
        twice.peers.push(peer(4, &[[10, 0, 0, 9]]));
        assert_eq!(
            Ownership::new(twice).unwrap_err(),
            "10.0.0.9 has two owners"
        );
    }

    #[test]
    fn one_default_endbox_sends_for_strangers() {
        let mut parameters = OwnershipParameters {
            peers: vec![peer(1, &[]), peer(2, &[[10, 0, 0, 2]])],
            ..OwnershipParameters::default()
        };
        parameters.peers[0].default = true;
        let owned = Ownership::new(parameters.clone()).unwrap();
        assert_eq!(owned.default_owner(), Some(Owner::Peer(0)));
        assert!(owned.may_send(Owner::Peer(0), [8, 8, 8, 8]));
        assert!(!owned.may_send(Owner::Peer(0), [10, 0, 0, 2]));
        assert!(!owned.may_send(Owner::Peer(1), [8, 8, 8, 8]));
        assert!(
            owned.may_send(Owner::Local, [8, 8, 8, 8]),
            "it was told of nothing"
        );
        parameters.local_default = true;
        assert!(Ownership::new(parameters).is_err());
    }

    #[test]
    fn the_group_is_no_peer() {
        let parameters = OwnershipParameters {
            all_static: true,
            group: Some([9; 16]),
            ..OwnershipParameters::default()
        };
        let owned = Ownership::new(parameters).unwrap();
        assert_eq!(owned.standing(&[9; 16]), Standing::Group);
    }
}
