"""What a node does beside its runs: it samples what their processes use of the machine."""
