"""From topics to tables: sources, the writer and its fence, compaction, and the servers of the embedded mode."""
