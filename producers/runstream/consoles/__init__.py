"""What runs print: captured in the run's process without a thread, folded, bounded, and sent by the node's service."""
