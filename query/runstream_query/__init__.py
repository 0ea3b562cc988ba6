"""From tables to readers: vectors, tables, runs, SQL and the HTTP API over both tiers."""
