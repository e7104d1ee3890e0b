"""Host Identities and everything that is computed from them. Pure: no I/O but key files, no clock.

Randomness is handed in, or comes from the cryptographic library itself where a key or a signature
is made.
"""
