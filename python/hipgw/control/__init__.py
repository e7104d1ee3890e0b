"""The Unix socket that commands, console, lab and tests talk to the daemon by."""
