"""The HIP machine, sans-IO: bytes and the time go in, effects come out."""
