"""The contract between the parts: events and their codec, limits, settings, Arrow and SQL schemas."""
