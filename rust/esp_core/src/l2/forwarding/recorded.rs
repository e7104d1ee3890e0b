//! The LANs behind two OpenHIP endboxes as they were recorded: what they forwarded is what this one
//! would forward. See tests/interop/recordings/openhip-lans/README.md.

use std::{collections::HashSet, fs, path::PathBuf};

use super::*;
use crate::l2::{
    hello::Hello,
    ownership::{OwnershipParameters, StaticPeer},
};

const HOSTS: [Address; 2] = [[192, 168, 50, 1], [192, 168, 50, 2]];
const OTHER: OwnerId = 0;

/// The frames of a capture file in the classic format.
fn frames(name: &str, side: usize) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/interop/recordings/openhip-lans");
    let data = fs::read(folder.join(format!("{name}-l{}.pcap", side + 1))).unwrap();
    assert_eq!(data[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    let mut rest = &data[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}

/// The endbox of a side; the group stands for a static multicast security association.
fn endbox(side: usize, group: bool) -> Ownership {
    Ownership::new(OwnershipParameters {
        local: vec![HOSTS[side]],
        peers: vec![StaticPeer {
            hits: vec![[2; 16]],
            addresses: vec![HOSTS[1 - side]],
            default: false,
        }],
        all_static: true,
        filter: true,
        group: group.then_some([9; 16]),
        ..OwnershipParameters::default()
    })
    .unwrap()
}

/// The MAC address of a side's host: only it sends from its IPv4 address there.
fn host_mac(frames: &[Vec<u8>], side: usize) -> Mac {
    let of_host = |frame: &&Vec<u8>| {
        Addresses::of(frame, &Header::parse(frame).unwrap())
            .is_some_and(|a| a.source == HOSTS[side] && a.kind != Kind::Arp)
    };
    Header::parse(frames.iter().find(of_host).unwrap())
        .unwrap()
        .source
}

#[test]
fn what_openhip_forwarded_is_forwarded() {
    for name in ["vpls-raw", "vpls-udp", "vpls-bcast", "vpls-static-mcast"] {
        for side in [0, 1] {
            let there = frames(name, 1 - side);
            // Without the MAC addresses: that of multicast was replaced, mostly.
            let arrived: HashSet<_> = there.iter().map(|frame| &frame[12..]).collect();
            let here = frames(name, side);
            let mac = host_mac(&here, side);
            let endbox = endbox(side, name == "vpls-static-mcast");
            let far = self::endbox(1 - side, name == "vpls-static-mcast");
            let mut forwarded = 0;
            let mut lost = Vec::new();
            for frame in here.iter().filter(|frame| frame[6..12] == mac) {
                let header = Header::parse(frame).unwrap();
                let decision = endbox.outbound(frame, &header);
                let from = match decision {
                    Ok(Outbound::Owner(OTHER) | Outbound::Learned(Static::All)) => {
                        Standing::Static(OTHER)
                    }
                    Ok(Outbound::Learned(Static::Group)) => Standing::Group,
                    other => {
                        assert!(
                            !arrived.contains(&frame[12..]),
                            "{name}: OpenHIP forwarded what is {other:?} here"
                        );
                        continue;
                    }
                };
                forwarded += 1;
                assert!(far.admit(from, frame, &header).is_ok(), "{name}");
                if !arrived.contains(&frame[12..]) {
                    lost.push(Addresses::of(frame, &header).unwrap().kind);
                }
            }
            assert!(forwarded >= 17, "{name}: {forwarded}");
            // The hosts asked on after the endboxes had ended.
            assert!(
                lost.is_empty() || (name == "vpls-udp" && lost == [Kind::Arp; 3]),
                "{name}, side {side}: {lost:?}"
            );
        }
    }
}

#[test]
fn hellos_are_read() {
    for (side, hit_end) in [(0, [0xa8, 0x6e]), (1, [0xe1, 0x25])] {
        let hellos: Vec<_> = frames("vpls-bcast", side)
            .iter()
            .filter_map(|frame| Hello::parse(frame, &Header::parse(frame)?))
            .collect();
        assert!(hellos.len() >= 2);
        for hello in &hellos {
            assert_eq!(hello.interval_s, 2);
            assert_eq!(hello.hit[14..], hit_end);
        }
    }
    // And made again as they were.
    let frames = frames("vpls-bcast", 0);
    let (frame, hello) = frames
        .iter()
        .find_map(|frame| Some((frame, Hello::parse(frame, &Header::parse(frame)?)?)))
        .unwrap();
    let mut mac = [0; 6];
    mac.copy_from_slice(&frame[6..12]);
    assert_eq!(hello.emit(&mac)[..], frame[..]);
}
