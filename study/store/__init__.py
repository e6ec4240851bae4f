"""Where a run lies: directories, publishing, leases, events, items."""
