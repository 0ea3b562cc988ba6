"""Submitting: a script run into the queue of a target, the environment it needs, and other kinds of configuration."""
