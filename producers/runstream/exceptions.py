"""Exceptions of the reproduced API, under the names scripts catch.

AzureMLException
├── UserErrorException                 the call cannot be right as it stands
│   ├── LimitExceeded                  a name, text or integer that cannot be held (also a ValueError)
│   └── AuthenticationException
├── ExperimentExecutionException       a submission, or watching it, failed
├── SnapshotException                  a folder cannot be captured
├── RunEnvironmentException            no run to be found in this process's environment
├── ActivityFailedException            a run that was waited for has failed
├── RunConfigurationException
├── WebserviceException                a model's name or version is refused
├── ModelPathNotFoundException
├── ModelNotFoundException
├── WorkspaceException
├── ProjectSystemException
├── TrainingException
├── ComputeTargetException
├── ParallelRunException               these four are never raised here: scripts may catch them
├── DatasetTimestampMissingError
├── DiscoveryUrlNotFoundException
├── WorkspacePrivateEndpointException
└── AzureMLAggregatedException         several failures of one call
ServiceException                       the service answered with an error, or is away (deliberately not an AzureMLException)

Both roots are also `runstream_schemas.errors.RunstreamError`, so that one `except` catches all of runstream.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from runstream_schemas import errors
from runstream_schemas.errors import RunstreamError, ServiceError

__all__ = [
    "ActivityFailedException",
    "AuthenticationException",
    "AzureMLAggregatedException",
    "AzureMLException",
    "ComputeTargetException",
    "DatasetTimestampMissingError",
    "DiscoveryUrlNotFoundException",
    "ExperimentExecutionException",
    "LimitExceeded",
    "ModelNotFoundException",
    "ModelPathNotFoundException",
    "ParallelRunException",
    "ProjectSystemException",
    "RunConfigurationException",
    "RunEnvironmentException",
    "ServiceException",
    "SnapshotException",
    "TrainingException",
    "UserErrorException",
    "WebserviceException",
    "WorkspaceException",
    "WorkspacePrivateEndpointException",
]


class AzureMLException(RunstreamError):
    """Base of the API's exceptions.

    Args:
        exception_message: what happened, as plain text.
        inner_exception: the exception this one stands for.
        target: what the error is about, e.g. the name of an argument.
        details: bodies of further errors.

    Attributes:
        message: the plain text; `str(error)` has the class and a JSON body around it.
    """

    error_code: ClassVar[str] = "SystemError"

    def __init__(
        self,
        exception_message: str = "",
        inner_exception: BaseException | None = None,
        target: str | None = None,
        details: Sequence[Any] | None = None,
        **_: Any,
    ) -> None:
        super().__init__(exception_message)
        self.message = exception_message
        self.inner_exception = inner_exception
        self.target = target
        self.details = list(details or ())

    def error_body(self) -> dict[str, Any]:
        """The error as the service would have written it: `{"error": {"code", "message", ...}}`."""
        body: dict[str, Any] = {"code": self.error_code, "message": self.message}
        if self.inner_exception is not None:
            body["inner_error"] = {"code": type(self.inner_exception).__name__}
        if self.target:
            body["target"] = self.target
        if self.details:
            body["details"] = [str(detail) for detail in self.details]
        return {"error": body}

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}:\n\tMessage: {self.message}\n\tInnerException {self.inner_exception}\n"
            f"\tErrorResponse \n{json.dumps(self.error_body(), indent=4, ensure_ascii=False)}"
        )

    def __repr__(self) -> str:
        return str(self)


class UserErrorException(AzureMLException):
    """The call cannot be right as it stands: a bad argument, name, file or state."""

    error_code = "UserError"


class LimitExceeded(UserErrorException, errors.LimitExceeded):
    """A name, text or integer is larger than the format holds, or not valid unicode; also a `ValueError`."""


class AuthenticationException(UserErrorException):
    """The server refused the token."""


class ExperimentExecutionException(AzureMLException):
    """A submission, or watching it, failed."""


class SnapshotException(AzureMLException):
    """A folder cannot be captured: too large, too many files, or captured before."""


class RunEnvironmentException(AzureMLException):
    """No run to be found in this process's environment."""


class ActivityFailedException(AzureMLException):
    """A run that was waited for has failed; the message carries its error."""

    def __init__(
        self, error_details: str = "", inner_exception: BaseException | None = None, **kwargs: Any
    ) -> None:
        super().__init__(f"Activity Failed:\n{error_details}", inner_exception, **kwargs)


class RunConfigurationException(AzureMLException):
    """A run configuration that cannot be used."""


class WebserviceException(AzureMLException):
    """A model's name or version is refused."""


class ModelPathNotFoundException(AzureMLException):
    """A model's file is not among the run's files."""


class ModelNotFoundException(AzureMLException):
    """No model of that name or version."""


class WorkspaceException(AzureMLException):
    """A workspace that exists already, or does not."""


class ProjectSystemException(AzureMLException):
    """An attached folder that cannot be used."""


class TrainingException(AzureMLException):
    """A training that cannot be started."""


class ComputeTargetException(AzureMLException):
    """A compute target that cannot be used."""


class ParallelRunException(AzureMLException):
    """Never raised: runs over batches of data are a service of Azure."""


class DatasetTimestampMissingError(AzureMLException):
    """Never raised: datasets have no columns of time here."""


class DiscoveryUrlNotFoundException(AzureMLException):
    """Never raised: services are found by `RUNSTREAM_URL` or in the home."""


class WorkspacePrivateEndpointException(AzureMLException):
    """Never raised: private addresses are a service of Azure."""


class AzureMLAggregatedException(AzureMLException):
    """Several failures of one call, or one that the original reports this way (a file name taken already)."""

    def __init__(self, exception_message: str | Sequence[str | BaseException] = "", **kwargs: Any) -> None:
        failures = (
            [exception_message]
            if isinstance(exception_message, str)
            else [str(part) for part in exception_message]
        )
        super().__init__("\n".join(failures), **kwargs)


class ServiceException(ServiceError):
    """The service answered with an error, or did not answer within the time a call may take.

    Attributes:
        status_code: HTTP status; 503 when the service is away.
        message: plain text.
        details: the problem document the service sent, if any.
    """

    def __init__(self, message: str, status_code: int = 500, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.details = details or {}

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}:\n\tCode: {self.status_code}\n"
            f"\tMessage: {self.message}\n\tDetails: {self.details or None}"
        )
