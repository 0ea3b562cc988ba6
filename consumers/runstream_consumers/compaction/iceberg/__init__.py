"""The manifest as Iceberg tables, for engines that know nothing of runstream."""
