"""Exceptions of HyperDrive, under the names scripts catch.

HyperDriveException                                an AzureMLException
├── HyperDriveServiceException                     never raised here: scripts may catch it
├── HyperDriveConfigException                      a configuration that makes no sense
│   └── HyperDriveScenarioNotSupportedException    one of a kind that is not offered
│       └── HyperDriveNotImplementedException      a call runs of HyperDrive do not have
└── HyperDriveRehydrateException                   a run without a configuration of HyperDrive
"""

from __future__ import annotations

from ...exceptions import AzureMLException

__all__ = [
    "HyperDriveConfigException",
    "HyperDriveException",
    "HyperDriveNotImplementedException",
    "HyperDriveRehydrateException",
    "HyperDriveScenarioNotSupportedException",
    "HyperDriveServiceException",
]


class HyperDriveException(AzureMLException):
    """Base of HyperDrive's exceptions."""


class HyperDriveServiceException(HyperDriveException):
    """Never raised here: there is no service of HyperDrive."""


class HyperDriveConfigException(HyperDriveException):
    """A configuration that makes no sense: a bound, a policy, a sampling or a number."""

    error_code = "UserError"


class HyperDriveScenarioNotSupportedException(HyperDriveConfigException):
    """A configuration of a kind that is not offered."""


class HyperDriveNotImplementedException(HyperDriveScenarioNotSupportedException):
    """A call that runs of HyperDrive do not have."""


class HyperDriveRehydrateException(HyperDriveException):
    """A run that does not hold a configuration of HyperDrive."""

    error_code = "UserError"
