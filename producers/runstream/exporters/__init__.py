"""Copies of runs in formats that other tools read: event files, MLflow's file store, Parquet with the files beside it."""
