"""Versions: runstream's own, and that of the API it reproduces."""

from __future__ import annotations

__version__ = "0.1.0"
VERSION = "1.61.0"
"""Version of the API that is reproduced; scripts compare it."""
