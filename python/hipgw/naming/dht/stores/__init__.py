"""Where a gateway keeps records: on this machine, or in a ring of OpenDHT nodes."""
