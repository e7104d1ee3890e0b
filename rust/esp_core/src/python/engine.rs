//! `hipgw._esp_core.Engine`.

use std::{os::fd::RawFd, time::Duration};

use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};

use super::{
    answers,
    arguments::{address, hit, lsi, owned, parse_direction, path, permission, PeerOfLan},
    errors::refuse,
};
use crate::{
    ecn::MarkPolicy,
    engine::{
        self, ElectionParameters, PacketForm, SaParameters, SaPath, TapParameters, ThreadOptions,
        TunParameters, UdpOffloads,
    },
    l2::{
        framing::Framing,
        hello::Extent,
        ownership::{OwnershipParameters, StaticPeer},
    },
    layout::Format,
};

/// Threads, queues and tables of the data plane.
#[pyclass(frozen, module = "hipgw._esp_core")]
pub(crate) struct Engine(engine::Engine);

#[pymethods]
impl Engine {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self(engine::Engine::new()?))
    }

    fn fileno(&self) -> RawFd {
        self.0.events().fileno()
    }

    fn drain_events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = PyList::empty(py);
        for event in self.0.events().drain() {
            events.append(answers::event(py, event)?)?;
        }
        Ok(events)
    }

    #[pyo3(signature = (fd, *, gso = true, gro = true))]
    fn add_udp_socket(&self, fd: RawFd, gso: bool, gro: bool) -> PyResult<()> {
        let offloads = UdpOffloads { gso, gro };
        Ok(self.0.add_udp_socket_with(fd, offloads)?)
    }

    fn add_relay_socket(&self, fd: RawFd) -> PyResult<()> {
        Ok(self.0.add_relay_socket(fd)?)
    }

    #[pyo3(signature = (*, v6, port, octets_per_s = 0))]
    fn open_relay_port(&self, v6: bool, port: u16, octets_per_s: u64) -> PyResult<()> {
        Ok(self.0.open_relay_port((v6, port), octets_per_s)?)
    }

    #[pyo3(signature = (*, v6, port))]
    fn close_relay_port(&self, v6: bool, port: u16) -> PyResult<()> {
        Ok(self.0.close_relay_port((v6, port))?)
    }

    #[pyo3(signature = (
        *, port, local, client, client_port, peer, peer_port, outbound_spi, inbound_spi
    ))]
    #[allow(clippy::too_many_arguments)]
    fn permit_peer(
        &self,
        port: u16,
        local: &[u8],
        client: &[u8],
        client_port: u16,
        peer: &[u8],
        peer_port: u16,
        outbound_spi: u32,
        inbound_spi: u32,
    ) -> PyResult<()> {
        let spis = (outbound_spi, inbound_spi);
        let ends = ((client, client_port), (peer, peer_port));
        Ok(self.0.permit_peer(&permission(port, local, ends, spis)?)?)
    }

    #[pyo3(signature = (
        *, port, local, client, client_port, peer, peer_port, outbound_spi, inbound_spi
    ))]
    #[allow(clippy::too_many_arguments)]
    fn revoke_peer(
        &self,
        port: u16,
        local: &[u8],
        client: &[u8],
        client_port: u16,
        peer: &[u8],
        peer_port: u16,
        outbound_spi: u32,
        inbound_spi: u32,
    ) -> PyResult<()> {
        let spis = (outbound_spi, inbound_spi);
        let ends = ((client, client_port), (peer, peer_port));
        self.0.revoke_peer(&permission(port, local, ends, spis)?);
        Ok(())
    }

    #[pyo3(signature = (*, per_source, per_client))]
    fn set_rendezvous(&self, per_source: u32, per_client: u32) -> PyResult<()> {
        let limits = engine::RendezvousLimits {
            per_source,
            per_client,
        };
        Ok(self.0.set_rendezvous(limits)?)
    }

    #[pyo3(signature = (
        *, hit, local, local_port, remote, remote_port, mac, key, tells_ports, remaining_ms
    ))]
    #[allow(clippy::too_many_arguments)]
    fn add_rendezvous_client(
        &self,
        hit: &[u8],
        local: &[u8],
        local_port: u16,
        remote: &[u8],
        remote_port: u16,
        mac: &str,
        key: &[u8],
        tells_ports: bool,
        remaining_ms: u64,
    ) -> PyResult<()> {
        let mac = match mac {
            "sha1" => engine::RendezvousMac::Sha1,
            "sha256" => engine::RendezvousMac::Sha256,
            "sha384" => engine::RendezvousMac::Sha384,
            _ => return refuse(format!("no MAC is made with {mac} here")),
        };
        Ok(self.0.add_rendezvous_client(&engine::RendezvousClient {
            hit: self::hit(hit)?,
            local: (address(local)?, local_port).into(),
            remote: (address(remote)?, remote_port).into(),
            mac,
            key,
            tells_ports,
            remaining_ms,
        })?)
    }

    fn remove_rendezvous_client(&self, hit: &[u8]) -> PyResult<()> {
        self.0.remove_rendezvous_client(&self::hit(hit)?);
        Ok(())
    }

    fn add_esp_socket(&self, fd: RawFd) -> PyResult<()> {
        Ok(self.0.add_esp_socket(fd)?)
    }

    #[pyo3(signature = (
        fd, *, mtu, local_hit, local_lsi, vnet_hdr, copy_dscp = true, ecn = true, second_hit = None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn set_tun(
        &self,
        fd: RawFd,
        mtu: usize,
        local_hit: &[u8],
        local_lsi: &[u8],
        vnet_hdr: bool,
        copy_dscp: bool,
        ecn: bool,
        second_hit: Option<&[u8]>,
    ) -> PyResult<()> {
        Ok(self.0.set_tun(&TunParameters {
            fd,
            mtu,
            local_hit: hit(local_hit)?,
            second_hit: second_hit.map(hit).transpose()?,
            local_lsi: lsi(local_lsi)?,
            vnet_hdr,
            marks: MarkPolicy {
                dscp: copy_dscp,
                ecn,
            },
        })?)
    }

    #[pyo3(signature = (
        fd, *, segment, mtu, mss_clamp, vnet_hdr, mac_limit = 65536, mac_age_s = 300.0,
        copy_dscp = true, ecn = true
    ))]
    #[allow(clippy::too_many_arguments)]
    fn add_tap(
        &self,
        fd: RawFd,
        segment: u32,
        mtu: usize,
        mss_clamp: bool,
        vnet_hdr: bool,
        mac_limit: usize,
        mac_age_s: f64,
        copy_dscp: bool,
        ecn: bool,
    ) -> PyResult<()> {
        Ok(self.0.add_tap(&TapParameters {
            fd,
            segment,
            mtu,
            mss_clamp,
            vnet_hdr,
            mac_limit,
            mac_age_s: mac_age_s.clamp(1.0, f64::from(u32::MAX)) as u32,
            marks: MarkPolicy {
                dscp: copy_dscp,
                ecn,
            },
        })?)
    }

    #[pyo3(signature = (
        segment, *, local, local_default, peers, all_static, source_filter, group = None,
        hello_hit = None, hello_s = 0, mac = None, standby = false
    ))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
    fn set_lan(
        &self,
        segment: u32,
        local: Vec<Vec<u8>>,
        local_default: bool,
        peers: Vec<PeerOfLan>,
        all_static: bool,
        source_filter: bool,
        group: Option<&[u8]>,
        hello_hit: Option<&[u8]>,
        hello_s: u32,
        mac: Option<&[u8]>,
        standby: bool,
    ) -> PyResult<()> {
        let peers = peers.iter().map(|(hits, addresses, default)| {
            Ok(StaticPeer {
                hits: hits
                    .iter()
                    .map(|hit| self::hit(hit))
                    .collect::<PyResult<_>>()?,
                addresses: owned(addresses)?,
                default: *default,
            })
        });
        let ownership = OwnershipParameters {
            local: owned(&local)?,
            local_default,
            peers: peers.collect::<PyResult<_>>()?,
            all_static,
            filter: source_filter,
            group: group.map(hit).transpose()?,
        };
        let election = match (hello_hit, mac) {
            (Some(hit), Some(mac)) if hello_s > 0 => Some(ElectionParameters {
                hit: self::hit(hit)?,
                interval_s: hello_s,
                mac: mac.try_into().or_else(|_| {
                    refuse(format!("a MAC address has 6 octets, not {}", mac.len()))
                })?,
                extent: if standby {
                    Extent::Everything
                } else {
                    Extent::Multicast
                },
            }),
            _ => None,
        };
        Ok(self.0.set_lan(segment, ownership, election)?)
    }

    fn say_hello(&self, segment: u32) -> PyResult<()> {
        Ok(self.0.say_hello(segment)?)
    }

    fn announce_macs(&self, segment: u32) -> PyResult<usize> {
        Ok(self.0.announce_macs(segment)?)
    }

    fn election<'py>(&self, py: Python<'py>, segment: u32) -> PyResult<Bound<'py, PyDict>> {
        answers::election_line(py, &self.0.election(segment)?)
    }

    fn pulse(&self) -> (bool, bool) {
        self.0.pulse()
    }

    #[pyo3(signature = (*, busy_poll_us = 0, realtime = false))]
    fn start(&self, busy_poll_us: u64, realtime: bool) -> PyResult<()> {
        Ok(self.0.start(ThreadOptions {
            busy_poll: Duration::from_micros(busy_poll_us),
            realtime,
        })?)
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }

    #[pyo3(signature = (
        *, direction, spi, suite, encryption_key, authentication_key, local_hit, peer_hit, local,
        remote, udp, local_port, remote_port, segment = 0, path_mtu = 1500, replay_window = 8192,
        interface = 0, verified = true, wire_spi = 0, esn = true, icv_length = None,
        null_iv = false, alignment = None, frames = "etherip-fragments", replay = true,
        begins_by_lsi = false
    ))]
    #[allow(clippy::too_many_arguments)]
    fn add_sa(
        &self,
        direction: &str,
        spi: u32,
        suite: u16,
        encryption_key: &[u8],
        authentication_key: &[u8],
        local_hit: &[u8],
        peer_hit: &[u8],
        local: Option<&[u8]>,
        remote: &[u8],
        udp: bool,
        local_port: u16,
        remote_port: u16,
        segment: u32,
        path_mtu: usize,
        replay_window: u32,
        interface: u32,
        verified: bool,
        wire_spi: u32,
        esn: bool,
        icv_length: Option<usize>,
        null_iv: bool,
        alignment: Option<usize>,
        frames: &str,
        replay: bool,
        begins_by_lsi: bool,
    ) -> PyResult<()> {
        let path = SaPath {
            interface,
            verified,
            wire_spi,
            ..path(local, remote, udp, (local_port, remote_port), path_mtu)?
        };
        let Some(framing) = Framing::from_name(frames) else {
            return refuse(format!("there is no frame format {frames:?}"));
        };
        Ok(self.0.add_sa(&SaParameters {
            direction: parse_direction(direction)?,
            spi,
            suite,
            encryption_key,
            authentication_key,
            local_hit: hit(local_hit)?,
            peer_hit: hit(peer_hit)?,
            path,
            segment,
            replay_window,
            form: PacketForm {
                format: Format {
                    esn,
                    icv_len: icv_length,
                    null_iv,
                    alignment,
                },
                framing,
                replay,
                begins_by_lsi,
            },
        })?)
    }

    #[pyo3(signature = (
        *, spi, peer_hit, local, remote, udp, local_port, remote_port, path_mtu = 1500,
        interface = 0, verified = true, wire_spi = 0
    ))]
    #[allow(clippy::too_many_arguments)]
    fn move_sa(
        &self,
        spi: u32,
        peer_hit: &[u8],
        local: Option<&[u8]>,
        remote: &[u8],
        udp: bool,
        local_port: u16,
        remote_port: u16,
        path_mtu: usize,
        interface: u32,
        verified: bool,
        wire_spi: u32,
    ) -> PyResult<()> {
        let path = SaPath {
            interface,
            verified,
            wire_spi,
            ..path(local, remote, udp, (local_port, remote_port), path_mtu)?
        };
        Ok(self.0.move_sa(spi, hit(peer_hit)?, &path)?)
    }

    #[pyo3(signature = (*, direction, spi, peer_hit))]
    fn remove_sa(&self, direction: &str, spi: u32, peer_hit: &[u8]) -> PyResult<()> {
        self.0
            .remove_sa(parse_direction(direction)?, spi, hit(peer_hit)?);
        Ok(())
    }

    #[pyo3(name = "set_lsi", signature = (lsi, peer_hit))]
    fn name_by_lsi(&self, lsi: &[u8], peer_hit: &[u8]) -> PyResult<()> {
        Ok(self.0.set_lsi(self::lsi(lsi)?, hit(peer_hit)?)?)
    }

    #[pyo3(signature = (lsi))]
    fn remove_lsi(&self, lsi: &[u8]) -> PyResult<()> {
        self.0.remove_lsi(self::lsi(lsi)?);
        Ok(())
    }

    fn drop_held(&self, destination: &[u8]) -> PyResult<usize> {
        Ok(self.0.drop_held(address(destination)?))
    }

    fn security_associations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        for line in self.0.security_associations() {
            lines.append(answers::sa_line(py, &line)?)?;
        }
        Ok(lines)
    }

    fn mac_table<'py>(&self, py: Python<'py>, segment: u32) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        for line in self.0.mac_table(segment)? {
            lines.append(answers::mac_line(py, &line)?)?;
        }
        Ok(lines)
    }

    #[pyo3(signature = (segment, peer_hit = None))]
    fn flush_macs(&self, segment: u32, peer_hit: Option<&[u8]>) -> PyResult<usize> {
        let peer_hit = peer_hit.map(hit).transpose()?;
        Ok(self.0.flush_macs(segment, peer_hit)?)
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        answers::statistics(py, &self.0)
    }
}

/// What this kernel and CPU offer, by name.
#[pyfunction]
pub(crate) fn capabilities(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let capabilities = PyDict::new(py);
    for (name, available) in engine::capabilities() {
        capabilities.set_item(name, available)?;
    }
    Ok(capabilities)
}
