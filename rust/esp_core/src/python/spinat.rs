//! `hipgw._esp_core.Spinat` and `SpinatBatch`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};

use super::{
    arguments::{address, Place},
    errors::refuse,
};
use crate::spinat::{self, Direction, Flow, Packet, Target, Verdict, WayId, HEADROOM};

/// Packets that begin at lines of the CPU's caches.
const ALIGNMENT: usize = 64;

/// Packets in a row, with room in front of each.
struct Row {
    buffer: Vec<u8>,
    packets: Vec<Packet>,
}

/// IP packets that are rewritten together.
#[pyclass(frozen, module = "hipgw._esp_core")]
pub(crate) struct SpinatBatch {
    original: Vec<u8>,
    places: Vec<Packet>,
    row: Mutex<Row>,
}

impl SpinatBatch {
    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl SpinatBatch {
    #[new]
    fn new(packets: Vec<Vec<u8>>) -> Self {
        let mut original = Vec::new();
        let mut places = Vec::with_capacity(packets.len());
        for packet in packets {
            let start = (original.len() + HEADROOM).next_multiple_of(ALIGNMENT);
            original.resize(start, 0);
            original.extend_from_slice(&packet);
            places.push(Packet::new(start, original.len()));
        }
        let row = Row {
            buffer: original.clone(),
            packets: places.clone(),
        };
        Self {
            original,
            places,
            row: Mutex::new(row),
        }
    }

    /// Make the packets what they were at first.
    fn reset(&self) {
        let mut row = self.row();
        row.buffer.copy_from_slice(&self.original);
        row.packets.clone_from(&self.places);
    }

    fn packets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let row = self.row();
        let packets = row.packets.iter();
        PyList::new(
            py,
            packets.map(|packet| PyBytes::new(py, &row.buffer[packet.start..packet.end])),
        )
    }

    fn verdicts(&self) -> Vec<&'static str> {
        let row = self.row();
        row.packets
            .iter()
            .map(|packet| packet.verdict.name())
            .collect()
    }
}

/// The ways of a mobile router's ESP.
#[pyclass(frozen, module = "hipgw._esp_core")]
pub(crate) struct Spinat(Mutex<spinat::Spinat>);

impl Spinat {
    fn lock(&self) -> MutexGuard<'_, spinat::Spinat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Spinat {
    #[new]
    fn new(capacity: usize) -> PyResult<Self> {
        if capacity > spinat::MOST_WAYS {
            return refuse(format!("at most {} ways", spinat::MOST_WAYS));
        }
        Ok(Self(Mutex::new(spinat::Spinat::new(capacity))))
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }

    /// Octets set aside.
    fn memory(&self) -> usize {
        self.lock().memory()
    }

    #[pyo3(signature = (
        *, spi, correspondent = None, client = None, source, destination, source_port = 0,
        destination_port = 0, new_spi, now_s
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
        now_s: u32,
    ) -> PyResult<u64> {
        let flow = flow(spi, correspondent, client)?;
        let target = target(
            (source, source_port),
            (destination, destination_port),
            new_spi,
        )?;
        Ok(number(self.lock().insert(flow, &target, now_s)?))
    }

    #[pyo3(signature = (
        way, *, source, destination, source_port = 0, destination_port = 0, new_spi
    ))]
    fn aim(
        &self,
        way: u64,
        source: &[u8],
        destination: &[u8],
        source_port: u16,
        destination_port: u16,
        new_spi: u32,
    ) -> PyResult<bool> {
        let target = target(
            (source, source_port),
            (destination, destination_port),
            new_spi,
        )?;
        Ok(self.lock().aim(id(way), &target)?)
    }

    /// (packets, octets of ESP, when used) of a way that is forgotten.
    fn remove(&self, way: u64) -> Option<(u64, u64, u32)> {
        self.lock().remove(id(way)).map(counts)
    }

    fn counts(&self, way: u64) -> Option<(u64, u64, u32)> {
        self.lock().counts(id(way)).map(counts)
    }

    #[pyo3(signature = (*, now_s, idle_s))]
    fn idle(&self, now_s: u32, idle_s: u32) -> Vec<u64> {
        self.lock().idle(now_s, idle_s).map(number).collect()
    }

    /// Rewrite a batch; how many are to be sent.
    #[pyo3(signature = (batch, *, inward, now_s))]
    fn rewrite(&self, py: Python<'_>, batch: &SpinatBatch, inward: bool, now_s: u32) -> usize {
        let direction = if inward {
            Direction::Inward
        } else {
            Direction::Outward
        };
        py.detach(|| {
            let mut row = batch.row();
            let Row { buffer, packets } = &mut *row;
            self.lock().rewrite(direction, buffer, packets, now_s);
            packets
                .iter()
                .filter(|packet| packet.verdict == Verdict::Rewritten)
                .count()
        })
    }
}

/// What tells the packets of a way.
pub(super) fn flow(
    spi: u32,
    correspondent: Option<&[u8]>,
    client: Option<&[u8]>,
) -> PyResult<Flow> {
    let correspondent = correspondent.map(address).transpose()?;
    let client = client.map(address).transpose()?;
    Ok(match (client, correspondent) {
        (None, None) => Flow::Public { spi },
        (None, Some(correspondent)) => Flow::Plain { spi, correspondent },
        (Some(client), Some(correspondent)) => Flow::Client {
            spi,
            client,
            correspondent,
        },
        (Some(_), None) => return refuse("a client's packets are for a correspondent"),
    })
}

pub(super) fn number(id: WayId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.place)
}

pub(super) fn id(number: u64) -> WayId {
    WayId {
        place: number as u32,
        generation: (number >> 32) as u32,
    }
}

fn counts(counts: spinat::Counts) -> (u64, u64, u32) {
    (counts.packets, counts.octets, counts.used_s)
}

/// What packets of a way become; ports are 0 without UDP.
pub(crate) fn target(source: Place<'_>, destination: Place<'_>, spi: u32) -> PyResult<Target> {
    Ok(Target {
        source: (address(source.0)?, source.1).into(),
        destination: (address(destination.0)?, destination.1).into(),
        spi,
    })
}
