"""Files of runs and snapshots of their sources."""
