"""Which parameters matter for a metric."""
