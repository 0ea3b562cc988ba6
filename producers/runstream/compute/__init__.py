"""Compute targets: where submitted runs run, and the queue in front of each.

A run is submitted into the `queue`; the `runner`, one process a home, hands it over to its target's `backend` (`local`, or
one of an installed package) when a place is free.
"""
