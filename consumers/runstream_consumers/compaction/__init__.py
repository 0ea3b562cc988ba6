"""From the hot tier to Parquet files, and what keeps the store in order."""
