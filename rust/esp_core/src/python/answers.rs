//! What the engine tells, as dictionaries.

use std::net::IpAddr;

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use crate::{
    drops::DropReason,
    engine::{Direction, ElectionLine, Engine, MacLine, SaLine},
    events::Event,
    stats::Counter,
};

pub(super) fn sa_line<'py>(py: Python<'py>, line: &SaLine) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("spi", line.spi)?;
    let direction = match line.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    dict.set_item("direction", direction)?;
    dict.set_item("suite", line.suite)?;
    dict.set_item("local_hit", PyBytes::new(py, &line.local_hit))?;
    dict.set_item("peer_hit", PyBytes::new(py, &line.peer_hit))?;
    let local = line.path.local.map(octets).unwrap_or_default();
    dict.set_item("local", PyBytes::new(py, &local))?;
    dict.set_item("remote", PyBytes::new(py, &octets(line.path.remote)))?;
    dict.set_item("local_port", line.path.local_port)?;
    dict.set_item("remote_port", line.path.remote_port)?;
    dict.set_item("udp", line.path.udp)?;
    dict.set_item("verified", line.path.verified)?;
    dict.set_item("packets", line.numbers.packets)?;
    dict.set_item("bytes", line.numbers.bytes)?;
    dict.set_item("sequence", line.numbers.sequence)?;
    dict.set_item("replayed", line.numbers.replayed)?;
    dict.set_item("auth_failed", line.numbers.auth_failed)?;
    dict.set_item("lost", line.numbers.lost)?;
    dict.set_item("last_used_s", line.last_used_s)?;
    Ok(dict)
}

pub(super) fn mac_line<'py>(py: Python<'py>, line: &MacLine) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("mac", PyBytes::new(py, &line.mac))?;
    dict.set_item("vlan", line.vlan)?;
    dict.set_item("peer_hit", PyBytes::new(py, &line.peer_hit))?;
    dict.set_item("age_s", f64::from(line.age_s))?;
    Ok(dict)
}

pub(super) fn election_line<'py>(
    py: Python<'py>,
    line: &ElectionLine,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("passive", line.passive)?;
    dict.set_item("winner", line.winner.map(|hit| PyBytes::new(py, &hit)))?;
    dict.set_item("heard", line.heard)?;
    Ok(dict)
}

/// Counters by name, and drops in the order of `DROP_REASONS`.
pub(super) fn statistics<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    let drops = DropReason::ALL
        .iter()
        .map(|reason| engine.drop_count(*reason));
    let counters = PyDict::new(py);
    for counter in Counter::ALL {
        counters.set_item(counter.name(), engine.counter(*counter))?;
    }
    #[cfg(feature = "stage-cycles")]
    for stage in crate::stages::Stage::ALL {
        let name = format!("stage_ns_{}", stage.name());
        counters.set_item(name, engine.stage_ns(*stage))?;
    }
    let statistics = PyDict::new(py);
    statistics.set_item("drops", drops.collect::<Vec<_>>())?;
    statistics.set_item("counters", counters)?;
    Ok(statistics)
}

pub(super) fn event(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    match event {
        Event::Control {
            data,
            local,
            remote,
            local_port,
            remote_port,
        } => {
            dict.set_item("kind", "control")?;
            set_datagram(&dict, &data, (local, local_port), (remote, remote_port))?;
        }
        Event::Stun {
            data,
            local,
            remote,
            local_port,
            remote_port,
        } => {
            dict.set_item("kind", "stun")?;
            set_datagram(&dict, &data, (local, local_port), (remote, remote_port))?;
        }
        Event::Acquire { destination } => {
            dict.set_item("kind", "acquire")?;
            dict.set_item("destination", PyBytes::new(py, &octets(destination)))?;
        }
        Event::FirstData { spi } => {
            dict.set_item("kind", "first_data")?;
            dict.set_item("spi", spi)?;
        }
        Event::UnknownSpi {
            spi,
            remote,
            remote_port,
        } => {
            dict.set_item("kind", "unknown_spi")?;
            dict.set_item("spi", spi)?;
            dict.set_item("remote", PyBytes::new(py, &octets(remote)))?;
            dict.set_item("remote_port", remote_port)?;
        }
        Event::SourceChanged {
            spi,
            local,
            local_port,
            remote,
            remote_port,
            udp,
        } => {
            dict.set_item("kind", "source_changed")?;
            dict.set_item("spi", spi)?;
            dict.set_item("local", PyBytes::new(py, &octets(local)))?;
            dict.set_item("local_port", local_port)?;
            dict.set_item("remote", PyBytes::new(py, &octets(remote)))?;
            dict.set_item("remote_port", remote_port)?;
            dict.set_item("udp", udp)?;
        }
        Event::Fatal { message } => {
            dict.set_item("kind", "fatal")?;
            dict.set_item("message", message)?;
        }
    }
    Ok(dict)
}

fn set_datagram(
    dict: &Bound<'_, PyDict>,
    data: &[u8],
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
) -> PyResult<()> {
    let py = dict.py();
    dict.set_item("data", PyBytes::new(py, data))?;
    dict.set_item("local", PyBytes::new(py, &octets(local.0)))?;
    dict.set_item("remote", PyBytes::new(py, &octets(remote.0)))?;
    dict.set_item("local_port", local.1)?;
    dict.set_item("remote_port", remote.1)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
