"""For those who come from OpenHIP: its files in and out, and its commands."""
