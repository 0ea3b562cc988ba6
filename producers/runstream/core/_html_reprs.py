"""How notebooks show a workspace, an experiment and a run: a table of one row, with a link to its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from ..exceptions import AzureMLException, ServiceException

_PATIENCE = 2.0  # seconds a notebook may stand still for a link


def one_row(cells: Mapping[str, object], links: Mapping[str, tuple[str, str | None]]) -> str:
    """A table of one row.

    Args:
        cells: text by heading.
        links: text and address by heading; without an address just the text.
    """
    row = [escape("" if value is None else str(value)) for value in cells.values()]
    for text, address in links.values():
        opening = f'<a href="{escape(address)}" target="_blank" rel="noopener">' if address else ""
        row.append(f"{opening}{escape(text)}{'</a>' if address else ''}")
    headings = "".join(f"<th>{escape(name)}</th>" for name in (*cells, *links))
    return f"<table><tr>{headings}</tr><tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr></table>"


def page_or_none(find_service: Callable[[float], object], page: Callable[[], str]) -> str | None:
    """A page's address; None while the service is away: showing an object neither fails nor waits for long."""
    try:
        find_service(_PATIENCE)
        return page()
    except (AzureMLException, ServiceException):
        return None
