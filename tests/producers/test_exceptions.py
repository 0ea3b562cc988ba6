"""The tree of exceptions, and what they print."""

from __future__ import annotations

import pytest

from runstream import exceptions
from runstream.exceptions import AzureMLException, ServiceException, UserErrorException
from runstream_schemas.errors import RunstreamError


@pytest.mark.parametrize("name", [name for name in exceptions.__all__ if name != "ServiceException"])
def test_all_but_one_are_azure_ml_exceptions(name: str) -> None:
    kind = getattr(exceptions, name)
    error = kind("it broke")
    assert isinstance(error, AzureMLException)
    assert isinstance(error, RunstreamError)
    assert "it broke" in error.message
    assert str(error).startswith(f"{name}:\n\tMessage: ")


def test_service_exception_is_none_of_them() -> None:
    error = ServiceException("away", 503, {"title": "away"})
    assert not isinstance(error, AzureMLException)
    assert (error.status_code, error.message, error.details) == (503, "away", {"title": "away"})
    assert "away" in str(error)


def test_text_has_the_class_the_message_and_a_json_body() -> None:
    error = UserErrorException("no such file", inner_exception=OSError("gone"))
    assert str(error) == (
        "UserErrorException:\n\tMessage: no such file\n\tInnerException gone\n\tErrorResponse \n"
        '{\n    "error": {\n        "code": "UserError",\n        "message": "no such file",\n'
        '        "inner_error": {\n            "code": "OSError"\n        }\n    }\n}'
    )
