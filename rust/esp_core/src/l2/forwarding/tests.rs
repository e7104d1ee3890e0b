use proptest::prelude::*;

use super::*;
use crate::l2::ownership::{OwnershipParameters, StaticPeer};

const HERE: Address = [192, 168, 50, 1];
const THERE: Address = [192, 168, 50, 2];
const THIRD: Address = [192, 168, 50, 3];
const STRANGER: Address = [192, 168, 50, 77];
const BROADCAST: Mac = [0xff; 6];
const HOST: Mac = [2, 0, 0, 0, 0, 9];
const FIRST: OwnerId = 0;
const SECOND: OwnerId = 1;

fn parameters() -> OwnershipParameters {
    let peer = |n, address| StaticPeer {
        hits: vec![[n; 16]],
        addresses: vec![address],
        default: false,
    };
    OwnershipParameters {
        local: vec![HERE],
        peers: vec![peer(2, THERE), peer(3, THIRD)],
        filter: true,
        ..OwnershipParameters::default()
    }
}

fn lan(change: impl FnOnce(&mut OwnershipParameters)) -> Ownership {
    let mut parameters = parameters();
    change(&mut parameters);
    Ownership::new(parameters).unwrap()
}

fn frame(destination: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &HOST, &ethertype.to_be_bytes(), payload].concat()
}

fn ipv4(destination: Mac, source: Address, target: Address) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&target);
    frame(destination, TYPE_IPV4, &packet)
}

fn arp(source: Address, target: Address) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[14..18].copy_from_slice(&source);
    packet[24..28].copy_from_slice(&target);
    frame(BROADCAST, TYPE_ARP, &packet)
}

fn out(lan: &Ownership, frame: &[u8]) -> Result<Outbound, DropReason> {
    lan.outbound(frame, &Header::parse(frame).unwrap())
}

fn admit(lan: &Ownership, from: Standing, frame: &[u8]) -> Result<Option<Kind>, DropReason> {
    lan.admit(from, frame, &Header::parse(frame).unwrap())
}

fn learned_only(reason: DropReason) -> Result<Outbound, DropReason> {
    Ok(Outbound::Learned(Static::None(reason)))
}

#[test]
fn unicast_and_arp_go_to_the_owner_only() {
    let lan = lan(|_| ());
    assert_eq!(
        out(&lan, &ipv4(HOST, HERE, THERE)),
        Ok(Outbound::Owner(FIRST))
    );
    assert_eq!(out(&lan, &arp(HERE, THIRD)), Ok(Outbound::Owner(SECOND)));
    // Whatever the frame says: an owned address is asked for at its owner.
    assert_eq!(
        out(&lan, &ipv4(BROADCAST, HERE, THERE)),
        Ok(Outbound::Owner(FIRST))
    );
    // Who looks for a duplicate has no address yet.
    assert_eq!(
        out(&lan, &arp(UNSPECIFIED, THERE)),
        Ok(Outbound::Owner(FIRST))
    );
}

#[test]
fn a_source_that_is_not_here_reaches_no_owner() {
    let lan = lan(|_| ());
    for source in [THERE, THIRD, STRANGER] {
        assert_eq!(
            out(&lan, &ipv4(HOST, source, THERE)),
            Err(DropReason::SourceNotOwned)
        );
        assert_eq!(
            out(&lan, &ipv4(BROADCAST, source, [224, 0, 0, 251])),
            learned_only(DropReason::SourceNotOwned)
        );
    }
}

#[test]
fn who_was_not_told_what_is_here_sends_for_strangers() {
    let lan = lan(|lan| lan.local.clear());
    assert_eq!(
        out(&lan, &ipv4(HOST, STRANGER, THERE)),
        Ok(Outbound::Owner(FIRST))
    );
    assert_eq!(
        out(&lan, &ipv4(HOST, THIRD, THERE)),
        Err(DropReason::SourceNotOwned)
    );
}

#[test]
fn what_is_for_several_goes_to_all() {
    let lan = lan(|_| ());
    let all = Ok(Outbound::Learned(Static::All));
    let multicast = ipv4([1, 0, 0x5e, 0, 0, 251], HERE, [224, 0, 0, 251]);
    assert_eq!(out(&lan, &multicast), all);
    assert_eq!(out(&lan, &ipv4(BROADCAST, HERE, [192, 168, 50, 255])), all);
    assert_eq!(out(&lan, &ipv4(BROADCAST, HERE, [255; 4])), all);
    // OpenHIP looks at the last octet alone.
    assert_eq!(out(&lan, &ipv4(HOST, HERE, [192, 168, 50, 255])), all);
}

#[test]
fn an_owned_255_is_no_broadcast() {
    let owned = [10, 1, 1, 255];
    let lan = lan(|lan| lan.peers[1].addresses.push(owned));
    assert_eq!(
        out(&lan, &ipv4(HOST, HERE, owned)),
        Ok(Outbound::Owner(SECOND))
    );
}

#[test]
fn multicast_goes_to_the_group_if_there_is_one() {
    let lan = lan(|lan| lan.group = Some([9; 16]));
    let multicast = ipv4([1, 0, 0x5e, 0, 0, 251], HERE, [224, 0, 0, 251]);
    assert_eq!(out(&lan, &multicast), Ok(Outbound::Learned(Static::Group)));
    let broadcast = ipv4(BROADCAST, HERE, [192, 168, 50, 255]);
    assert_eq!(out(&lan, &broadcast), Ok(Outbound::Learned(Static::All)));
}

#[test]
fn what_nobody_owns_goes_to_the_default_endbox() {
    let lan_without = lan(|_| ());
    assert_eq!(
        out(&lan_without, &ipv4(HOST, HERE, [8, 8, 8, 8])),
        learned_only(DropReason::TargetNotOwned)
    );
    let lan = lan(|lan| lan.peers[0].default = true);
    assert_eq!(
        out(&lan, &ipv4(HOST, HERE, [8, 8, 8, 8])),
        Ok(Outbound::Learned(Static::Default(FIRST)))
    );
    assert_eq!(
        out(&lan, &arp(HERE, STRANGER)),
        Ok(Outbound::Learned(Static::Default(FIRST)))
    );
}

#[test]
fn the_default_endbox_sends_for_strangers() {
    let lan = lan(|lan| lan.local_default = true);
    assert_eq!(
        out(&lan, &ipv4(HOST, [8, 8, 8, 8], THERE)),
        Ok(Outbound::Owner(FIRST))
    );
    assert_eq!(
        out(&lan, &ipv4(HOST, HERE, [8, 8, 8, 8])),
        learned_only(DropReason::TargetNotOwned)
    );
}

#[test]
fn only_learning_peers_get_anything_else() {
    let lan = lan(|_| ());
    let reason = DropReason::NotIpv4OrArp;
    let mut vlan = ipv4(HOST, HERE, THERE);
    vlan.splice(12..12, [0x81, 0, 0, 7]);
    let mut short = arp(HERE, THERE);
    short.truncate(30);
    for other in [frame(HOST, 0x86dd, &[0x60; 60]), vlan, short] {
        assert_eq!(out(&lan, &other), learned_only(reason));
        assert_eq!(admit(&lan, Standing::Learning, &other), Ok(None));
        assert_eq!(admit(&lan, Standing::Static(FIRST), &other), Err(reason));
    }
}

#[test]
fn an_address_of_this_lan_stays_among_those_who_learn() {
    let lan = lan(|_| ());
    assert_eq!(
        out(&lan, &arp(HERE, HERE)),
        learned_only(DropReason::TargetNotOwned)
    );
}

#[test]
fn peers_may_send_from_their_own_addresses_only() {
    let lan = lan(|_| ());
    let no = Err(DropReason::SourceNotOwned);
    let first = Standing::Static(FIRST);
    assert_eq!(
        admit(&lan, first, &ipv4(HOST, THERE, HERE)),
        Ok(Some(Kind::Unicast))
    );
    assert_eq!(admit(&lan, first, &arp(THERE, HERE)), Ok(Some(Kind::Arp)));
    assert_eq!(
        admit(&lan, first, &arp(UNSPECIFIED, HERE)),
        Ok(Some(Kind::Arp))
    );
    assert_eq!(
        admit(&lan, first, &ipv4(BROADCAST, THERE, [255; 4])),
        Ok(Some(Kind::Broadcast))
    );
    for source in [HERE, THIRD, STRANGER] {
        assert_eq!(admit(&lan, first, &ipv4(HOST, source, HERE)), no);
        assert_eq!(admit(&lan, first, &arp(source, HERE)), no);
    }
    // Who learns has what nobody owns.
    assert_eq!(
        admit(&lan, Standing::Learning, &ipv4(HOST, STRANGER, HERE)),
        Ok(Some(Kind::Unicast))
    );
    for source in [HERE, THERE] {
        assert_eq!(admit(&lan, Standing::Learning, &arp(source, HERE)), no);
    }
}

#[test]
fn the_filter_can_be_off() {
    let lan = lan(|lan| lan.filter = false);
    let spoofed = ipv4(HOST, THIRD, HERE);
    for from in [Standing::Static(FIRST), Standing::Learning] {
        assert_eq!(admit(&lan, from, &spoofed), Ok(Some(Kind::Unicast)));
    }
}

#[test]
fn the_group_carries_multicast_of_static_peers() {
    let lan = lan(|lan| lan.group = Some([9; 16]));
    let target = [224, 0, 0, 251];
    let good = ipv4([1, 0, 0x5e, 0, 0, 251], THERE, target);
    assert_eq!(
        admit(&lan, Standing::Group, &good),
        Ok(Some(Kind::Multicast))
    );
    for source in [HERE, STRANGER] {
        let bad = ipv4([1, 0, 0x5e, 0, 0, 251], source, target);
        assert_eq!(
            admit(&lan, Standing::Group, &bad),
            Err(DropReason::SourceNotOwned)
        );
    }
    let mut options = good.clone();
    options[HEADER_LEN] = 0x46;
    for bad in [options, arp(THERE, HERE), ipv4(HOST, THERE, HERE)] {
        assert_eq!(
            admit(&lan, Standing::Group, &bad),
            Err(DropReason::NotIpv4OrArp)
        );
    }
}

prop_compose! {
    fn any_address()(n in 0u8..6) -> Address {
        [HERE, THERE, THIRD, STRANGER, [224, 0, 0, 1], [192, 168, 50, 255]][usize::from(n)]
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 14..100)) {
        let lan = lan(|lan| lan.all_static = true);
        let _ = out(&lan, &bytes);
        for from in [Standing::Learning, Standing::Static(7), Standing::Group] {
            let _ = admit(&lan, from, &bytes);
        }
    }

    /// What one endbox sends to the owner, the owner's own filter lets in; and never to two.
    #[test]
    fn both_ends_agree(source in any_address(), target in any_address(), is_arp in any::<bool>()) {
        let here = lan(|_| ());
        let there = lan(|lan| {
            lan.local = vec![THERE];
            lan.peers[0] = StaticPeer { hits: vec![[1; 16]], addresses: vec![HERE], default: false };
        });
        let frame = if is_arp { arp(source, target) } else { ipv4(HOST, source, target) };
        let sent = match out(&here, &frame) {
            Ok(Outbound::Owner(FIRST)) => target == THERE,
            Ok(Outbound::Learned(Static::All)) => true,
            _ => false,
        };
        if sent {
            prop_assert_eq!(source, HERE);
            prop_assert!(admit(&there, Standing::Static(0), &frame).is_ok());
        }
    }
}
