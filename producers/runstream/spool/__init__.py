"""The spool: mapped files that keep what a process records, their writing and their reading."""
