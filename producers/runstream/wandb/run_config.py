"""The config of a run: what it is made with, recorded as its parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..exceptions import UserErrorException
from .errors import ConfigError
from .json_values import config_value

Record = Callable[[dict[str, Any]], None]


class Config:
    """A dictionary whose keys are attributes, too. A key is set once, but for `update(..., allow_val_change=True)`."""

    def __init__(self, record: Record = lambda values: None, allow_val_change: bool = False) -> None:
        self.__dict__["_items"] = {}
        self.__dict__["_record"] = record
        self.__dict__["_allow"] = allow_val_change
        self.__dict__["_locked"] = set()

    def update(self, d: Any, allow_val_change: bool | None = None) -> None:
        """Set several keys.

        Args:
            d: a dictionary, namespace, the path of a YAML file, or flags of absl.
            allow_val_change: keys that have another value take this one.

        Raises:
            ConfigError: a key has another value; then none is set.
        """
        self._take(config_of(d), bool(allow_val_change))

    def setdefaults(self, d: Any) -> None:
        """Set the keys that are not there yet."""
        self._take(
            {key: value for key, value in config_of(d).items() if key.strip("-") not in self._items}, False
        )

    def update_locked(self, d: Any, user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """Set keys that keep these values from now on, such as those of a sweep."""
        values = config_of(d)
        self._locked.difference_update(values)
        self._take(values, True)
        self._locked.update(values)

    def _take(self, given: Mapping[str, Any], allow: bool) -> None:
        values: dict[str, Any] = {}
        for name, value in given.items():
            key = str(name).strip("-")
            if key in self._locked:
                continue
            if type(value).__module__.startswith("runstream.wandb.") and hasattr(value, "_type"):
                raise TypeError("WBValue objects cannot be added to the run config; use log()")
            converted = config_value(value)
            if not (allow or self._allow) and key in self._items and self._items[key] != converted:
                raise ConfigError(
                    f'Attempted to change value of key "{key}" from {self._items[key]} to {converted}\n'
                    "If you really want to do this, pass allow_val_change=True to config.update()"
                )
            values[key] = converted
        self._items.update(values)
        self._record(values)

    def keys(self) -> list[str]:
        """The keys, but for W&B's own."""
        return [key for key in self._items if not key.startswith("_")]

    def items(self) -> list[tuple[str, Any]]:
        """Keys and values, but for W&B's own."""
        return [(key, value) for key, value in self._items.items() if not key.startswith("_")]

    def values(self) -> list[Any]:
        """The values of `keys`."""
        return [value for _, value in self.items()]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or another one."""
        return self._items.get(key, default)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self.items())

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._take({key: value}, False)

    __setattr__ = __setitem__

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_items"][key]
        except KeyError:
            raise AttributeError(
                f"the config has no key {key!r}; it has {', '.join(self.keys()) or 'none'}"
            ) from None

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return str(self.as_dict())


def config_of(given: Any) -> dict[str, Any]:
    """A config as somebody gave it: a dictionary, namespace, YAML file, flags of absl, or None.

    Raises:
        UserErrorException: something else, or a file that is no such document.
    """
    if given is None:
        return {}
    if isinstance(given, Config):
        return given.as_dict()
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}
    if isinstance(given, (str, Path)):
        return _of_file(Path(given))
    if hasattr(given, "flag_values_dict"):
        return dict(given.flag_values_dict())
    if hasattr(given, "__dict__"):
        return dict(vars(given))
    try:
        return dict(given)
    except (TypeError, ValueError):
        raise UserErrorException(
            f"config: expected a dictionary, namespace or YAML file, got {type(given).__name__}"
        ) from None


def _of_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserErrorException(
            f"config {path}: cannot be read as YAML ({error}); name a file that is"
        ) from None
    if not isinstance(document, dict):
        raise UserErrorException(f"config {path}: expected names and values; write `name: value` lines")
    return {
        str(key): value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in document.items()
        if key not in ("wandb_version", "_wandb")
    }
