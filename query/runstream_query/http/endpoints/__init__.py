"""The endpoints, a module a subject, each declared as `http/endpoint.py` says. `http/openapi.py` has the list of all."""
