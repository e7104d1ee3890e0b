//! ESP data plane of hipgw.

#[cfg(feature = "python")]
#[pyo3::pymodule]
mod _esp_core {}
