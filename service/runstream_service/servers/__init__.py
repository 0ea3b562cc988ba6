"""Servers runstream brings along: Postgres and Kafka."""
