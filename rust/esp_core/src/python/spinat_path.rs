//! `hipgw._esp_core.SpinatPath`.

use std::{net::SocketAddr, os::fd::RawFd};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList},
};

use super::{
    arguments::{address, hit},
    spinat::{flow, id, number, target},
};
use crate::mobile_router::{
    ebpf::Ebpf, events::Sender, Exit, FastPath, HipPacket, MobileRouter, PathOptions, Usage,
};

fn open_ebpf(wanted: bool, capacity: usize) -> Result<Box<dyn FastPath>, String> {
    if !wanted {
        return Err("it is turned off".into());
    }
    let capacity = u32::try_from(capacity).map_err(|_| "too many ways".to_owned())?;
    Ok(Box::new(Ebpf::open(capacity)?))
}

/// What takes a mobile router's packets from the kernel, and sends them on rewritten.
#[pyclass(frozen, module = "hipgw._esp_core")]
pub(crate) struct SpinatPath {
    path: MobileRouter,
    /// Why there is no fast path.
    without: Option<String>,
}

#[pymethods]
impl SpinatPath {
    #[new]
    #[pyo3(signature = (*, queue, capacity, batch = 64, ebpf = true, udp_port = 10500))]
    fn new(queue: u16, capacity: usize, batch: usize, ebpf: bool, udp_port: u16) -> PyResult<Self> {
        let options = PathOptions {
            queue,
            capacity,
            batch,
            udp_port,
        };
        let (fast, without) = match open_ebpf(ebpf, capacity) {
            Ok(fast) => (Some(fast), None),
            Err(why) => (None, Some(why)),
        };
        Ok(Self {
            path: MobileRouter::new(&options, fast)?,
            without,
        })
    }

    #[getter]
    fn ebpf(&self) -> Option<String> {
        match self.path.fast_trouble() {
            Some(trouble) => trouble,
            None => self.without.clone(),
        }
    }

    fn start(&self) -> PyResult<()> {
        Ok(self.path.start()?)
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.path.stop());
    }

    fn fileno(&self) -> RawFd {
        self.path.fileno()
    }

    fn events<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = PyList::empty(py);
        for packet in self.path.events()? {
            events.append(event(py, &packet))?;
        }
        Ok(events)
    }

    #[allow(clippy::needless_pass_by_value)]
    fn own(&self, hits: Vec<Vec<u8>>, addresses: Vec<Vec<u8>>) -> PyResult<()> {
        let hits = hits.iter().map(|octets| hit(octets));
        let addresses = addresses.iter().map(|octets| address(octets));
        self.path.own(
            hits.collect::<PyResult<_>>()?,
            addresses.collect::<PyResult<_>>()?,
        );
        Ok(())
    }

    #[allow(clippy::needless_pass_by_value)]
    fn outside(&self, py: Python<'_>, ifindexes: Vec<u32>) {
        py.detach(|| self.path.outside(&ifindexes));
    }

    fn __len__(&self) -> usize {
        self.path.len()
    }

    #[pyo3(signature = (
        *, spi, correspondent = None, client = None, source, destination, source_port = 0,
        destination_port = 0, new_spi, ifindex = 0, mtu = 0
    ))]
    #[allow(clippy::too_many_arguments)]
    fn insert(
        &self,
        spi: u32,
        correspondent: Option<&[u8]>,
        client: Option<&[u8]>,
        source: &[u8],
        destination: &[u8],
        source_port: u16,
        destination_port: u16,
        new_spi: u32,
        ifindex: u32,
        mtu: u32,
    ) -> PyResult<u64> {
        let target = target(
            (source, source_port),
            (destination, destination_port),
            new_spi,
        )?;
        let flow = flow(spi, correspondent, client)?;
        let id = self.path.insert(flow, &target, Exit { ifindex, mtu })?;
        Ok(number(id))
    }

    #[pyo3(signature = (
        way, *, source, destination, source_port = 0, destination_port = 0, new_spi, ifindex = 0,
        mtu = 0
    ))]
    #[allow(clippy::too_many_arguments)]
    fn aim(
        &self,
        way: u64,
        source: &[u8],
        destination: &[u8],
        source_port: u16,
        destination_port: u16,
        new_spi: u32,
        ifindex: u32,
        mtu: u32,
    ) -> PyResult<bool> {
        let target = target(
            (source, source_port),
            (destination, destination_port),
            new_spi,
        )?;
        Ok(self.path.aim(id(way), &target, Exit { ifindex, mtu })?)
    }

    /// (packets, octets of ESP, seconds since the last one) of a way that is forgotten.
    fn remove(&self, way: u64) -> Option<(u64, u64, f64)> {
        self.path.remove(id(way)).map(usage)
    }

    fn counts(&self, way: u64) -> Option<(u64, u64, f64)> {
        self.path.counts(id(way)).map(usage)
    }

    fn used(&self, py: Python<'_>, since_s: f64) -> Vec<u64> {
        let since_s = since_s.clamp(0.0, f64::from(u32::MAX)) as u32;
        let used = py.detach(|| self.path.used(since_s));
        used.into_iter().map(number).collect()
    }

    fn send_hip(
        &self,
        data: &[u8],
        source: &[u8],
        source_port: u16,
        destination: &[u8],
        destination_port: u16,
    ) -> PyResult<()> {
        let source = SocketAddr::new(address(source)?, source_port);
        let destination = SocketAddr::new(address(destination)?, destination_port);
        Ok(self.path.send_hip(data, source, destination)?)
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, count) in self.path.statistics() {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }
}

type Event<'py> = (
    &'static str,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    u16,
    Bound<'py, PyBytes>,
    u16,
    bool,
    u32,
);

fn event<'py>(py: Python<'py>, packet: &HipPacket) -> Event<'py> {
    let octets = |end: SocketAddr| match end.ip() {
        std::net::IpAddr::V4(ip) => PyBytes::new(py, &ip.octets()),
        std::net::IpAddr::V6(ip) => PyBytes::new(py, &ip.octets()),
    };
    (
        "hip",
        PyBytes::new(py, &packet.data),
        octets(packet.source),
        packet.source.port(),
        octets(packet.destination),
        packet.destination.port(),
        packet.sender == Sender::Inside,
        packet.interface,
    )
}

fn usage(usage: Usage) -> (u64, u64, f64) {
    (usage.packets, usage.octets, f64::from(usage.idle_s))
}
