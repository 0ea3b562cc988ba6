"""Addresses: where a service is, and what is put into the address of one of its pages or records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..exceptions import UserErrorException

# urllib.parse is imported where it is used: it takes longer to load than all the rest a script needs to log.


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is.

    Attributes:
        url: without a trailing slash.
        token: it wants; '' for none.
        needs_ticket: it is one's own, and a browser is let in to its pages with a ticket only.
    """

    url: str
    token: str
    needs_ticket: bool = False


def with_ticket(url: str, path: str, ticket: str) -> str:
    """Address of a page that lets this browser in, with a ticket; '': one that needs none."""
    from urllib.parse import urlencode

    return f"{url}/login?{urlencode({'ticket': ticket, 'next': path})}" if ticket else url + path


def quoted(part: str) -> str:
    """A path segment or a path of files, quoted for a URL; slashes stay.

    Raises:
        UserErrorException: it is not valid unicode.
    """
    from urllib.parse import quote

    try:
        return quote(part, safe="/")
    except UnicodeEncodeError:
        raise not_unicode(part) from None


BYTES_OF_VALUES = 20_000
"""Of an address, spent on the values of one parameter: servers and proxies have a limit for the whole."""


def portions(values: Iterable[str], most: int) -> Iterator[list[str]]:
    """Values of a parameter in portions, each for a request of its own.

    Args:
        most: values of a portion.

    Raises:
        UserErrorException: one is not valid unicode.
    """
    portion: list[str] = []
    size = 0
    for value in values:
        more = len(quoted(value)) + value.count("/") * 2  # in a query slashes are quoted, too
        if portion and (len(portion) >= most or size + more > BYTES_OF_VALUES):
            yield portion
            portion, size = [], 0
        portion.append(value)
        size += more
    if portion:
        yield portion


def not_unicode(text: object) -> UserErrorException:
    """The error of a text that no address can hold."""
    return UserErrorException(
        f"{text!r:.100} is not valid unicode, so nothing can have that name; remove lone surrogates"
    )
