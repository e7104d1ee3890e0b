"""Rendezvous: hosts that move are found by servers that stay (RFC 8004, RFC 5204)."""
