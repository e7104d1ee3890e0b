//! The Python module `hipgw._esp_core`: with its folder, the only part that knows PyO3.

mod answers;
mod arguments;
mod engine;
mod errors;
mod spinat;
mod spinat_path;

use std::time::{Duration, Instant};

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyTuple},
};

use crate::{
    drops::DropReason,
    error::Error,
    events::ENGINE_EVENTS,
    puzzle::{HashName, PuzzleBits, Solver},
    suite::Suite,
};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

/// A cancellable search for J (RFC 7401 §6.3).
#[pyclass(frozen, module = "hipgw._esp_core")]
pub(crate) struct PuzzleSolver(Solver);

#[pymethods]
impl PuzzleSolver {
    #[new]
    #[pyo3(signature = (hash_name, prefix, length, difficulty, start, bits = "lowest"))]
    fn new(
        hash_name: &str,
        prefix: &[u8],
        length: usize,
        difficulty: u32,
        start: &[u8],
        bits: &str,
    ) -> PyResult<Self> {
        let hash = HashName::from_name(hash_name)
            .ok_or_else(|| PyValueError::new_err(format!("unknown hash {hash_name:?}")))?;
        let bits = PuzzleBits::from_name(bits)
            .ok_or_else(|| PyValueError::new_err(format!("unknown rule {bits:?}")))?;
        let solver = Solver::new(hash, prefix, length, difficulty, start)?;
        Ok(Self(solver.with_bits(bits)?))
    }

    /// Search with the GIL released; None when cancelled or out of time.
    fn run<'py>(&self, py: Python<'py>, timeout_s: f64) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|error| PyValueError::new_err(format!("timeout_s: {error}")))?;
        let now = Instant::now();
        // A time beyond what the clock can tell is as good as a year.
        let deadline = now
            .checked_add(timeout)
            .unwrap_or(now + Duration::from_secs(31_536_000));
        let found = py.detach(|| self.0.run(deadline));
        Ok(found.map(|j| PyBytes::new(py, &j)))
    }

    /// End the search, from any thread; a later `run` ends at once.
    fn cancel(&self) {
        self.0.cancel();
    }
}

/// Suite id -> (name, octets of encryption key with salt, octets of authentication key).
fn esp_suites(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let suites = PyDict::new(py);
    for suite in Suite::ALL {
        let entry = (
            suite.name(),
            suite.encryption_key_len(),
            suite.authentication_key_len(),
        );
        suites.set_item(suite.id(), entry)?;
    }
    Ok(suites)
}

/// ESP data plane of hipgw.
#[pymodule(gil_used = false)]
pub(crate) mod _esp_core {
    use super::*;

    #[pymodule_export]
    use super::{
        engine::{capabilities, Engine},
        spinat::{Spinat, SpinatBatch},
        spinat_path::SpinatPath,
        PuzzleSolver,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("ESP_SUITES", esp_suites(module.py())?)?;
        module.add("ENGINE_EVENTS", ENGINE_EVENTS)?;
        let reasons = DropReason::ALL.iter().map(|reason| reason.name());
        module.add("DROP_REASONS", PyTuple::new(module.py(), reasons)?)
    }
}
