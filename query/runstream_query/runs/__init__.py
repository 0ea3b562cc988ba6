"""Runs, experiments and what is registered: lists, search, edits, deletion."""
