"""Exceptions under W&B's names, for scripts that catch them. All are `UserErrorException`, too."""

from __future__ import annotations

from ..exceptions import UserErrorException


class Error(UserErrorException):
    """Base of W&B's exceptions."""


class UsageError(Error):
    """A call that cannot be right as it stands."""


class ConfigError(Error):
    """A value of the config would be changed without `allow_val_change`."""


class CommError(Error):
    """A run or artifact that is not there."""
