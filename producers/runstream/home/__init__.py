"""The home of the embedded mode, its places, and the service started there on first need."""
