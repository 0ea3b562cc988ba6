"""The HTTP API: who may do what, the endpoints, the pages."""
