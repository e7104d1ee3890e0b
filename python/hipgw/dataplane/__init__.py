"""The Python face of the data plane: security associations, interfaces, events, statistics."""
