"""A run: its record, its statuses and parameters, and how one is changed and deleted."""
