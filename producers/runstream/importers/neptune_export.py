"""Reads what Neptune's exporter has written: Parquet files of attributes, some a run, and the files beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..exceptions import UserErrorException
from .foreign_runs import ForeignFile, ForeignRun, Points
from .local_artifacts import files_below, opened

_PART = "_part_"
_ROWS = 100_000
_COLUMNS = [
    "project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "int_value", "float_value",
    "string_value", "bool_value", "datetime_value", "string_set_value", "file_value",
]  # fmt: skip
_PLAIN = ("int", "float", "string", "bool", "datetime", "string_set")
_SERIES = ("float_series", "string_series", "histogram_series")
_SYSTEM = "sys/"


class NeptuneExport:
    """A folder that Neptune's exporter has written.

    Args:
        root: the folder `exports`, or the one with the data in it.
        files: where the exporter put files; default: `files` beside the data.

    Attributes:
        tool, place: as of any store.

    Raises:
        UserErrorException: there is nothing of the exporter's, or pyarrow is not installed.
    """

    tool = "Neptune"

    def __init__(self, root: Path, files: Path | None = None) -> None:
        try:
            import pyarrow.parquet  # noqa: F401  # told here, and not in the middle
        except ImportError:
            raise UserErrorException(
                "Parquet is read by pyarrow, which is not installed; `pip install 'runstream[server]'` brings it"
            ) from None
        if not root.is_dir():
            raise UserErrorException(
                f"{root}: there is no such folder; give the one Neptune's exporter wrote"
            )
        data = root / "data" if (root / "data").is_dir() else root
        self.place = str(data.resolve())
        self._files = files or next(
            (each for each in (root / "files", data.parent / "files") if each.is_dir()), data.parent / "files"
        )
        parts: dict[str, list[Path]] = {}
        for path in data.rglob(f"*{_PART}*.parquet"):
            if not {"models", "model_versions"} & set(path.relative_to(data).parts[:-1]):
                parts.setdefault(f"{path.parent}/{path.stem.rpartition(_PART)[0]}", []).append(path)
        # A run is there as a whole once it has a part 0.
        self._parts = {
            run: sorted(paths, key=_number) for run, paths in parts.items() if min(map(_number, paths)) == 0
        }
        if not self._parts:
            raise UserErrorException(
                f"{root}: no run of Neptune's exporter lies here (PROJECT/RUN{_PART}0.parquet); name the folder exports"
            )

    def total(self) -> int:
        """How many rows there are; 0 where a file cannot be read, which reading it says."""
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import read_metadata

        with suppress(OSError, ArrowInvalid):
            return sum(read_metadata(path).num_rows for paths in self._parts.values() for path in paths)
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def runs(self) -> Iterator[ForeignRun]:
        """The runs, those that others were forked from first."""
        runs = [self._run(paths) for _, paths in sorted(self._parts.items())]
        yield from sorted(runs, key=lambda run: run.started)

    def _run(self, paths: list[Path]) -> ForeignRun:
        facts: dict[str, Any] = {}
        project = run_id = ""
        left_out: Counter[str] = Counter()
        for batch in _batches(paths, _PLAIN):
            for row in batch.to_pylist():
                project, run_id = row["project_id"] or project, row["run_id"] or run_id
                facts[row["attribute_path"]] = _plain(row)
        if not run_id:
            for batch in _batches(paths, None):
                project, run_id = batch["project_id"][0].as_py(), batch["run_id"][0].as_py()
                break
        own = {name.removeprefix(_SYSTEM): value for name, value in facts.items() if name.startswith(_SYSTEM)}
        started = _seconds(own.get("creation_time")) or 0.0
        running = own.get("running_time")
        ended = (
            started + running if isinstance(running, (int, float)) else _seconds(own.get("modification_time"))
        )
        parent = own.get("forking/parent")
        prefix = project.replace("/", ".")
        tags = {str(tag): None for key in ("tags", "group_tags") for tag in own.get(key) or ()}
        return ForeignRun(
            run_id=f"{prefix}.{run_id}",
            experiment=project.rpartition("/")[2] or "neptune",
            name=str(own.get("name") or own.get("experiment/name") or run_id),
            started=started,
            ended=max(started, ended or started),
            ending="fail" if own.get("failed") else "complete",
            parent=f"{prefix}.{parent}" if parent else None,
            description=str(own["description"]) if own.get("description") else None,
            params={name: value for name, value in facts.items() if not name.startswith(_SYSTEM)},
            tags=tags,
            properties={
                "neptune.project": project,
                "neptune.run_id": run_id,
                **{
                    f"neptune.{name}": str(own[name])
                    for name in ("id", "custom_run_id", "owner")
                    if own.get(name)
                },
            },
            points=partial(_points, paths, left_out),
            files=partial(self._files_of, paths, left_out),
            left_out=left_out,
        )

    def _files_of(self, paths: list[Path], left_out: Counter[str]) -> Iterator[ForeignFile]:
        for batch in _batches(paths, ("file", "artifact", "file_set", "file_series")):
            for row in batch.to_pylist():
                name, place = row["attribute_path"], (row["file_value"] or {}).get("path")
                path = (self._files / str(place)).resolve()
                if not place or not path.exists() or self._files.resolve() not in path.parents:
                    left_out["files that the exporter has not brought"] += 1
                elif path.is_dir():
                    for file in files_below(path, left_out):
                        yield ForeignFile(f"{name}/{file.path}", file.size, file.open)
                else:
                    if row["attribute_type"] == "file_series":
                        name = f"{name}/{row['step'].normalize():f}"
                    suffix = "" if name.endswith(path.suffix) else path.suffix
                    yield ForeignFile(f"{name}{suffix}", path.stat().st_size, partial(opened, path))


def _number(path: Path) -> int:
    number = path.stem.rpartition(_PART)[2]
    return int(number) if number.isdecimal() else 1 << 30


def _batches(paths: list[Path], kinds: tuple[str, ...] | None) -> Iterator[Any]:
    """Rows of attributes of some kinds, in batches."""
    for path in paths:
        with _opened(path) as file:
            for batch in file.iter_batches(_ROWS, columns=_COLUMNS):
                chosen = _of_kinds(batch, kinds) if kinds is not None else batch
                if chosen.num_rows:
                    yield chosen


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise UserErrorException(
            f"{path}: cannot be read as a file of Neptune's exporter ({error})"
        ) from None


def _of_kinds(rows: Any, kinds: tuple[str, ...]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.is_in(rows["attribute_type"], value_set=pa.array(kinds)))


def _plain(row: dict[str, Any]) -> Any:
    value = row[f"{row['attribute_type']}_value"]
    return value.isoformat() if isinstance(value, datetime) else value


def _points(paths: list[Path], left_out: Counter[str]) -> Iterator[Points]:
    """The series, each whole, whichever way the exporter's pages have mixed their rows."""
    import pyarrow as pa

    for names, groups in _bundles(paths):
        parts = (_rows_of(path, group, names) for path, group in groups)
        for rows in parts if len(names) == 1 else [pa.concat_tables(parts)]:
            places: dict[str, dict[str, list[int]]] = {}
            keys = zip(rows["attribute_path"].to_pylist(), rows["attribute_type"].to_pylist(), strict=True)
            for place, (name, kind) in enumerate(keys):
                places.setdefault(name, {}).setdefault(kind, []).append(place)
            for name, by_kind in places.items():
                left_out["histograms"] += len(by_kind.pop("histogram_series", ()))
                for kind, at in by_kind.items():
                    yield _series(name, rows.take(np.array(at)), kind == "string_series", left_out)


def _bundles(paths: list[Path]) -> Iterator[tuple[set[str], list[tuple[Path, int]]]]:
    """Names of series, as many as are read together, and the row groups that hold them."""
    rows: Counter[str] = Counter()
    groups: dict[str, dict[tuple[Path, int], None]] = {}
    for path in paths:
        with _opened(path) as file:
            for group in range(file.num_row_groups):
                table = _of_kinds(file.read_row_group(group, columns=_COLUMNS[2:4]), _SERIES)
                for counted in table["attribute_path"].value_counts().to_pylist():
                    rows[counted["values"]] += counted["counts"]
                    groups.setdefault(counted["values"], {})[path, group] = None
    names, together = list[str](), 0
    for name, n in rows.items():
        if names and together + n > _ROWS:
            yield set(names), sorted({place for each in names for place in groups[each]}, key=_place)
            names, together = [], 0
        names.append(name)
        together += n
    if names:
        yield set(names), sorted({place for each in names for place in groups[each]}, key=_place)


def _rows_of(path: Path, group: int, names: set[str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    with _opened(path) as file:
        table = _of_kinds(file.read_row_group(group, columns=_COLUMNS), _SERIES)
        return table.filter(pc.is_in(table["attribute_path"], value_set=pa.array(sorted(names))))


def _place(place: tuple[Path, int]) -> tuple[int, int]:
    return _number(place[0]), place[1]


def _series(name: str, rows: Any, texts: bool, left_out: Counter[str]) -> Points:
    steps = rows["step"].cast("float64").to_numpy(zero_copy_only=False)
    fractions = int(np.count_nonzero(steps != np.floor(steps)))
    if fractions:
        left_out["fractions of steps, which are whole numbers here"] += fractions
    times = rows["timestamp"].cast("int64").to_numpy(zero_copy_only=False) * 1000
    values = rows["string_value"].to_pylist() if texts else rows["float_value"].to_numpy(zero_copy_only=False)
    if texts:
        values = [value or "" for value in values]
    return Points(name, np.floor(np.nan_to_num(steps)).astype(np.int64), times.astype(np.int64), values)


def _seconds(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
