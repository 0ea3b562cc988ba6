"""`Workspace` as a type, for what stands below it and gives it back to its users: `Datastore.workspace` and its like.

This is the one arrow up from here, and only a type checker follows it; all that these need to run is `session.Session`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client.session import Session

if TYPE_CHECKING:
    from .core.workspace import Workspace
else:
    Workspace = Session

__all__ = ["Workspace"]
