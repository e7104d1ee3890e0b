"""A mobile router, its clients and their correspondents: SPINAT and delegated UPDATEs."""
