"""The `hipgw` command. Every answer about a running daemon comes from its control socket."""
