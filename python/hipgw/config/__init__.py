"""The typed configuration: `schema` says what may stand in hipgw.toml, `load` reads it."""
