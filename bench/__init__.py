"""Measurements: each module measures one part and returns `Result`s; `python -m bench` runs them and prints the table."""
