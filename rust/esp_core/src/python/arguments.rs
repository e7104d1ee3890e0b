//! Octets and words from Python become addresses, HITs and paths, or are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pyo3::prelude::*;

use super::errors::refuse;
use crate::{
    beet::{Hit, Lsi},
    engine::{self, Direction, SaPath},
};

pub(super) fn parse_direction(name: &str) -> PyResult<Direction> {
    match name {
        "in" => Ok(Direction::In),
        "out" => Ok(Direction::Out),
        _ => refuse(format!("direction is \"in\" or \"out\", not {name:?}")),
    }
}

pub(super) fn path(
    local: Option<&[u8]>,
    remote: &[u8],
    udp: bool,
    (local_port, remote_port): (u16, u16),
    mtu: usize,
) -> PyResult<SaPath> {
    Ok(SaPath {
        local: local.map(address).transpose()?,
        remote: address(remote)?,
        udp,
        local_port,
        remote_port,
        mtu,
        interface: 0,
        verified: true,
        wire_spi: 0,
    })
}

/// Octets of an address, and a port.
pub(super) type Place<'a> = (&'a [u8], u16);

/// A peer's HITs, its stations' addresses, and whether it gets what is nobody's.
pub(super) type PeerOfLan = (Vec<Vec<u8>>, Vec<Vec<u8>>, bool);

pub(super) fn permission(
    port: u16,
    local: &[u8],
    (client, peer): (Place<'_>, Place<'_>),
    (outbound_spi, inbound_spi): (u32, u32),
) -> PyResult<engine::Permission> {
    let local = address(local)?;
    Ok(engine::Permission {
        port: (local.is_ipv6(), port),
        local,
        client: (address(client.0)?, client.1).into(),
        peer: (address(peer.0)?, peer.1).into(),
        outbound_spi,
        inbound_spi,
    })
}

pub(super) fn hit(octets: &[u8]) -> PyResult<Hit> {
    octets
        .try_into()
        .or_else(|_| refuse(format!("a HIT has 16 octets, not {}", octets.len())))
}

pub(super) fn owned(addresses: &[Vec<u8>]) -> PyResult<Vec<[u8; 4]>> {
    let addresses = addresses.iter().map(|octets| match octets[..] {
        [a, b, c, d] => Ok([a, b, c, d]),
        _ => refuse("only IPv4 addresses are owned"),
    });
    addresses.collect()
}

pub(super) fn lsi(octets: &[u8]) -> PyResult<Lsi> {
    octets
        .try_into()
        .or_else(|_| refuse(format!("an LSI has 4 octets, not {}", octets.len())))
}

pub(super) fn address(octets: &[u8]) -> PyResult<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Ok(Ipv4Addr::from(v4).into());
    }
    if let Ok(v6) = <[u8; 16]>::try_from(octets) {
        return Ok(Ipv6Addr::from(v6).into());
    }
    refuse(format!(
        "an address has 4 or 16 octets, not {}",
        octets.len()
    ))
}
