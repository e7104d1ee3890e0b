//! What goes wrong in the data plane becomes `hipgw.errors.DataPlaneError`.

use pyo3::{import_exception, prelude::*};

use crate::{engine::EngineError, mobile_router::PathError, spinat::Refused};

import_exception!(hipgw.errors, DataPlaneError);

impl From<EngineError> for PyErr {
    fn from(error: EngineError) -> Self {
        DataPlaneError::new_err(error.to_string())
    }
}

impl From<PathError> for PyErr {
    fn from(error: PathError) -> Self {
        DataPlaneError::new_err(error.to_string())
    }
}

impl From<Refused> for PyErr {
    fn from(refused: Refused) -> Self {
        DataPlaneError::new_err(refused.to_string())
    }
}

pub(super) fn refuse<T>(what: impl Into<String>) -> PyResult<T> {
    Err(DataPlaneError::new_err(what.into()))
}
