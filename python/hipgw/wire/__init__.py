"""HIP control packets to and from bytes: pure functions and values, no I/O, no clock, no keys."""
