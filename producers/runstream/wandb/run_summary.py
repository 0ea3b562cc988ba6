"""The summary of a run: the last value of each metric, or what `define_metric` and the script say instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class SummaryTree:
    """A dictionary whose keys are attributes, too; dictionaries within it are such objects, too."""

    def __init__(self, tree: dict[str, Any], convert: Callable[[str, Any], Any]) -> None:
        self.__dict__["_tree"] = tree
        self.__dict__["_convert"] = convert

    def update(self, d: Mapping[str, Any]) -> None:
        """Set several keys."""
        for key, value in d.items():
            self._tree[key] = self._convert(key, value)

    def keys(self) -> list[str]:
        """The keys, but for W&B's own."""
        return [key for key in self._tree if key != "_wandb"]

    def items(self) -> list[tuple[str, Any]]:
        """Keys and values."""
        return [(key, self[key]) for key in self.keys()]

    def values(self) -> list[Any]:
        """The values of `keys`."""
        return [self[key] for key in self.keys()]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or another one."""
        return self[key] if key in self._tree else default

    def __getitem__(self, key: str) -> Any:
        value = self._tree[key]
        return SummaryTree(value, self._convert) if isinstance(value, dict) else value

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    __setattr__ = __setitem__

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(
                f"the summary has no {key!r}; it has {', '.join(self.keys()) or 'nothing'}"
            ) from None

    def __delitem__(self, key: str) -> None:
        del self._tree[key]

    __delattr__ = __delitem__

    def __contains__(self, key: object) -> bool:
        return key in self._tree

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __eq__(self, other: object) -> bool:
        return dict(self._tree) == (other._tree if isinstance(other, SummaryTree) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._tree)
