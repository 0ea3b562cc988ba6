"""Everything in one spool directory, made into events: whose turn it is, who has died, what is left over."""
