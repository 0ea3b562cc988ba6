"""Authentication classes of migrated scripts: accepted wherever `auth=` is, and ignored.

The embedded service is reached by a token file only its user can read, another server by `RUNSTREAM_TOKEN`.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

__all__ = [
    "AbstractAuthentication",
    "ArmTokenAuthentication",
    "Audience",
    "AzureCliAuthentication",
    "AzureMLTokenAuthentication",
    "InteractiveLoginAuthentication",
    "MsiAuthentication",
    "ServicePrincipalAuthentication",
    "TokenAuthentication",
]


class Audience(Enum):
    """What a token is for: kept, not used."""

    ARM = "ARM"
    AZUREML = "AZUREML"


class AbstractAuthentication:
    """Base of the accepted authentication classes.

    Args:
        cloud: ignored, as all arguments of these classes.
    """

    def __init__(self, cloud: Any = None) -> None:
        del cloud

    def get_authentication_header(self) -> dict[str, str]:
        """Headers a script may add to requests of its own: none are needed."""
        return {}

    def get_token(self, *scopes: Any, **kwargs: Any) -> str:
        """A token: empty, none is needed."""
        del scopes, kwargs
        return ""


class InteractiveLoginAuthentication(AbstractAuthentication):
    """Accepted and ignored."""

    def __init__(self, force: bool = False, tenant_id: str | None = None, cloud: Any = None) -> None:
        super().__init__(cloud)


class AzureCliAuthentication(AbstractAuthentication):
    """Accepted and ignored."""


class ServicePrincipalAuthentication(AbstractAuthentication):
    """Accepted and ignored; the password is not kept."""

    def __init__(
        self,
        tenant_id: str,
        service_principal_id: str,
        service_principal_password: str,
        cloud: Any = "AzureCloud",
        _enable_caching: bool = True,
    ) -> None:
        super().__init__(cloud)


class MsiAuthentication(AbstractAuthentication):
    """Accepted and ignored."""

    def __init__(self, cloud: Any = None, **kwargs: Any) -> None:
        super().__init__(cloud)


class TokenAuthentication(AbstractAuthentication):
    """Accepted and ignored; the function is not called."""

    def __init__(self, get_token_for_audience: Any, cloud: Any = None) -> None:
        super().__init__(cloud)


class ArmTokenAuthentication(AbstractAuthentication):
    """Accepted and ignored; the token is not kept."""

    def __init__(self, arm_access_token: str, cloud: Any = "None") -> None:
        super().__init__(cloud)

    def update_arm_access_token(self, new_arm_access_token: str) -> None:
        """Accepted and ignored."""


class AzureMLTokenAuthentication(AbstractAuthentication):
    """Accepted and ignored; the token is not kept."""

    def __init__(self, azureml_access_token: str, *args: Any, **kwargs: Any) -> None:
        super().__init__()
