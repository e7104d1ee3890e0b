"""Names and addresses in a distributed hash table (RFC 6537): as a client, and as a gateway."""
