"""Authentication classes of migrated scripts: accepted wherever `auth=` is, and ignored.

The embedded service is reached by a token file only its user can read, another server by `RUNSTREAM_TOKEN`.
"""

from __future__ import annotations

from typing import Any


class AbstractAuthentication:
    """Base of the accepted authentication classes; takes any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs

    def get_authentication_header(self) -> dict[str, str]:
        """Headers a script may add to requests of its own: none are needed."""
        return {}


class InteractiveLoginAuthentication(AbstractAuthentication):
    """Accepted and ignored."""


class AzureCliAuthentication(AbstractAuthentication):
    """Accepted and ignored."""


class ServicePrincipalAuthentication(AbstractAuthentication):
    """Accepted and ignored."""


class MsiAuthentication(AbstractAuthentication):
    """Accepted and ignored."""


class TokenAuthentication(AbstractAuthentication):
    """Accepted and ignored."""
