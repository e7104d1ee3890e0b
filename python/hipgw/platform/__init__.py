"""What Linux lends: links, addresses, routes, bridges, sockets, namespaces and privileges.

Everything here is synchronous and short (a netlink round trip takes well under a millisecond), so
the daemon may call it from its event loop. Errors are `hipgw.errors.PlatformError` with a hint.
"""
