"""OpenHIP's files: read, written, and turned into hipgw.toml and back.

`hip.conf`, `known_host_identities.xml` and `my_host_identities.xml` are XML, with private keys in
the last one. What OpenHIP 0.9 reads is read; what hipgw has no use for is kept and named.
"""
