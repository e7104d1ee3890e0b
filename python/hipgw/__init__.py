"""Host Identity Protocol gateway for Linux."""
