"""Alerts: rules held against runs as they change, and what they raise sent to receivers."""
