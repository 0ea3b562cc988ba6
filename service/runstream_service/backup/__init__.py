"""A consistent copy of database and store, taken while everything runs: `runstream backup` and `runstream restore`.

The rows are copied in one snapshot of the database. They say which files of the store belong to the backup; a hold in
the database keeps these from being deleted until they are copied. A backup counts once its `manifest.json` is in place.
"""
