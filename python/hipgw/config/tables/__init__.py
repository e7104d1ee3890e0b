"""The tables of hipgw.toml, one file for each subject."""
