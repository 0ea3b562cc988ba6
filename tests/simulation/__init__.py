"""Simulation of the protocol between spool, broker, database and store: its steps in any order, killed anywhere."""
