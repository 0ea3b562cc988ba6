"""From a batch of events to rows, in one transaction."""
