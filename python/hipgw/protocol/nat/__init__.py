"""NAT traversal: relays, candidates and connectivity checks (RFC 9028, RFC 5770)."""
