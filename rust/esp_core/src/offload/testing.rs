//! Packets for the tests of this module.

use proptest::prelude::*;

use super::{GsoKind, VnetHeader};
use crate::packet::{
    checksum,
    ip::{self, Header, TCP_ACK, TCP_CHECKSUM, UDP_CHECKSUM, UDP_HEADER_LEN, V4, V6},
    protocol, put16, put32,
};

/// What headers a packet has.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) tcp: bool,
    pub(crate) v6: bool,
    /// None for a TUN.
    pub(crate) vlan_tags: Option<usize>,
    /// TCP only.
    pub(crate) timestamps: bool,
    pub(crate) port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            tcp: true,
            v6: false,
            vlan_tags: Some(0),
            timestamps: true,
            port: 40000,
            sequence: 0,
            acknowledged: 77,
            flags: TCP_ACK,
        }
    }
}

impl Shape {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        (
            any::<bool>(),
            any::<bool>(),
            prop::option::of(0usize..=2),
            any::<bool>(),
        )
            .prop_map(|(tcp, v6, vlan_tags, timestamps)| Self {
                tcp,
                v6,
                vlan_tags,
                timestamps,
                ..Self::default()
            })
    }

    pub(crate) fn link_len(&self) -> usize {
        self.vlan_tags.map_or(0, |tags| 14 + 4 * tags)
    }

    pub(crate) fn transport(&self) -> usize {
        self.link_len() + if self.v6 { 40 } else { 20 }
    }

    pub(crate) fn headers_len(&self) -> usize {
        let transport = match (self.tcp, self.timestamps) {
            (true, true) => 32,
            (true, false) => 20,
            (false, _) => UDP_HEADER_LEN,
        };
        self.transport() + transport
    }

    /// A packet as the kernel hands it over: the checksum is left to us.
    pub(crate) fn super_packet(&self, payload: &[u8], segment_size: u16) -> (Vec<u8>, VnetHeader) {
        let mut packet = vec![0; self.headers_len()];
        self.emit_link(&mut packet);
        let transport_len = self.headers_len() - self.transport() + payload.len();
        let protocol = if self.tcp {
            protocol::TCP
        } else {
            protocol::UDP
        };
        let at = self.link_len();
        if self.v6 {
            V6 {
                traffic_class: 0,
                next_header: protocol,
                hop_limit: 64,
                source: [1; 16],
                destination: [2; 16],
                payload_len: transport_len,
            }
            .emit(&mut packet[at..]);
        } else {
            V4 {
                traffic_class: 0,
                identification: 0xfffe,
                fragment: V4::DONT_FRAGMENT,
                hop_limit: 64,
                protocol,
                source: [1; 4],
                destination: [2; 4],
                payload_len: transport_len,
            }
            .emit(&mut packet[at..], &[]);
        }
        let checksum_offset = self.emit_transport(&mut packet, transport_len);
        packet.extend_from_slice(payload);
        let header = Header::parse(&packet[at..]).unwrap();
        let (source, destination) = header.addresses(&packet[at..]);
        let sum = checksum::pseudo_header(source, destination, protocol, transport_len);
        checksum::store_partial(&mut packet, self.transport() + checksum_offset, sum);
        let kind = match (self.tcp, self.v6) {
            (true, false) => GsoKind::TcpV4,
            (true, true) => GsoKind::TcpV6,
            (false, _) => GsoKind::Udp,
        };
        let vnet = VnetHeader {
            needs_checksum: true,
            kind,
            header_len: self.headers_len() as u16,
            segment_size,
            checksum_start: self.transport() as u16,
            checksum_offset: checksum_offset as u16,
        };
        (packet, vnet)
    }

    /// A packet as it travels.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let (mut packet, vnet) = self.super_packet(payload, 1);
        vnet.complete_checksum(&mut packet).unwrap();
        packet
    }

    fn emit_link(&self, packet: &mut [u8]) {
        let Some(tags) = self.vlan_tags else {
            return;
        };
        packet[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        for tag in 0..tags {
            put16(packet, 12 + 4 * tag, 0x8100);
            put16(packet, 14 + 4 * tag, 100);
        }
        let ethertype = if self.v6 { 0x86dd } else { 0x0800 };
        put16(packet, 12 + 4 * tags, ethertype);
    }

    fn emit_transport(&self, packet: &mut [u8], transport_len: usize) -> usize {
        let header = &mut packet[self.transport()..];
        put16(header, 0, self.port);
        put16(header, 2, 80);
        if !self.tcp {
            put16(header, 4, transport_len as u16);
            return UDP_CHECKSUM;
        }
        let header_len = header.len();
        put32(header, 4, self.sequence);
        put32(header, 8, self.acknowledged);
        header[12] = ((header_len / 4) << 4) as u8;
        header[13] = self.flags;
        put16(header, 14, 500);
        if self.timestamps {
            header[20..24].copy_from_slice(&[1, 1, 8, 10]);
        }
        TCP_CHECKSUM
    }
}

/// Whether the checksums of a packet (TCP or UDP without extension headers) hold.
pub(crate) fn checksum_holds(packet: &[u8], ip: usize) -> bool {
    let header = Header::parse(&packet[ip..]).unwrap();
    let (source, destination) = header.addresses(&packet[ip..]);
    let transport = &packet[ip + header.len..ip + header.total];
    let sum = checksum::pseudo_header(source, destination, header.protocol, transport.len());
    let v4 = header.version == ip::Version::V4;
    let header_sum = checksum::add(0, &packet[ip..ip + header.len]);
    checksum::fold(checksum::add(sum, transport)) == 0xffff
        && (!v4 || checksum::fold(header_sum) == 0xffff)
}
