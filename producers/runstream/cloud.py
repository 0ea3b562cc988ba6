"""Names of services only Azure has: they can be imported and named, and say at their first use what takes their place.

So a migrated script fails where it needs the cloud, with a remedy, and not in its import statements.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .exceptions import UserErrorException


def refusal(what: str, instead: str) -> UserErrorException:
    """The error of a call that only Azure can answer.

    Args:
        what: the class or method.
        instead: what to do here, as a sentence without its capital and full stop.
    """
    return UserErrorException(
        f"{what} is a service of Azure, which runstream does without: {instead}", target=what
    )


class CloudCall:
    """A method or function that only Azure can answer; with any arguments it raises `UserErrorException`.

    Args:
        instead: what to do here.
        what: its name; of a method, filled in from the class.
    """

    def __init__(self, instead: str, what: str = "") -> None:
        self.instead, self.what = instead, what

    def __set_name__(self, owner: type, name: str) -> None:
        self.what = name

    def __get__(self, instance: object, owner: type) -> CloudCall:
        # A subclass is named by its own name.
        return CloudCall(self.instead, f"{owner.__name__}.{self.what}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse.

        Raises:
            UserErrorException: always; it names the remedy.
        """
        raise refusal(self.what, self.instead)


class CloudOnly:
    """Base of classes only Azure has; making one raises `UserErrorException`. `class X(CloudOnly, instead="..."): ...`"""

    _instead: ClassVar[str] = "there is nothing to use in its place"

    def __init_subclass__(cls, instead: str | None = None) -> None:
        if instead is not None:
            cls._instead = instead

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise refusal(type(self).__name__, self._instead)
