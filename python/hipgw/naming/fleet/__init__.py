"""The directory of a fleet: who belongs to it, signed by its operator."""
