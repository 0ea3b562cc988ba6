"""SQL over everything, by DuckDB in a process of its own."""
