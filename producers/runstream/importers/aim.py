"""Reads a repository of Aim through Aim's own package: runs, their parameters, series, media and artifacts."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream_schemas.series import SeriesClass
from runstream_schemas.values.media import MAX_CAPTION

from .. import media
from ..client.git_facts import without_password
from ..exceptions import UserErrorException
from ..spool.binning import histogram_text
from .foreign_runs import ForeignFile, ForeignRun, Points, Shown
from .local_artifacts import opened

_SYSTEM_PARAMS = "__system_params"
_NUMBERS = ("float", "float64", "int", "number")
_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "aim.text": lambda text: text.data,
    "aim.log_line": lambda line: line.data,
    "aim.log_record": lambda record: f"{logging.getLevelName(record.level)} {record.message}",
}
_SHOWN: Mapping[str, tuple[SeriesClass, Callable[[str, Any], Any]]] = {
    "aim.image": (SeriesClass.MEDIA, lambda name, image: media.Image(_bytes(image), _caption(image))),
    "aim.audio": (SeriesClass.MEDIA, lambda name, sound: media.Audio(_bytes(sound), _caption(sound))),
    "aim.figure": (SeriesClass.MEDIA, lambda name, figure: media.Plotly(json.loads(_bytes(figure)))),
    "aim.distribution": (SeriesClass.HISTOGRAM, lambda name, values: histogram_text(name, (values.weights, values.ranges))),
}  # fmt: skip


class AimRepository:
    """A repository of Aim.

    Args:
        root: the folder that holds `.aim`, or `.aim` itself.

    Attributes:
        tool, place: as of any store.

    Raises:
        UserErrorException: there is no repository, Aim cannot be imported, or cannot open it.
    """

    tool = "Aim"

    def __init__(self, root: Path) -> None:
        folder = root.parent if root.name == ".aim" else root
        if not (folder / ".aim").is_dir():
            raise UserErrorException(
                f"{root}: there is no .aim in it; name the folder that `aim init` was called in"
            )
        try:
            from aim import Repo
        except ImportError as error:
            raise UserErrorException(
                f"Aim's repositories are read by Aim itself, which cannot be imported ({error}); `pip install aim` "
                "brings it for Python 3.11 and 3.12 (for newer ones it has no wheels: make an environment of one of "
                "these with `pip install 'runstream[server]' aim`, and call `runstream import aim` there)"
            ) from None
        self.place = str(folder.resolve())
        try:
            self._repo = Repo.from_path(self.place)
        except (OSError, RuntimeError) as error:
            raise UserErrorException(
                f"{self.place}: Aim cannot open this repository ({error}); see whether `aim runs --repo "
                f"{self.place} ls` can"
            ) from None

    def total(self) -> int:
        """Not known without reading."""
        return 0

    def close(self) -> None:
        """Close the repository."""
        self._repo.close()

    def runs(self) -> Iterator[ForeignRun]:
        """The runs, by the time they were created at.

        Raises:
            UserErrorException: Aim cannot read one.
        """
        hashes = self._repo.list_all_runs()
        known = {run_hash: self._repo.structured_db.find_run(run_hash) for run_hash in hashes}
        for run_hash in sorted(hashes, key=lambda each: (getattr(known[each], "creation_time", 0.0), each)):
            try:
                yield _run(self._opened(run_hash))
            except RuntimeError as error:
                raise UserErrorException(
                    f"{self.place}: Aim cannot read its run {run_hash} ({error}); see `aim runs` and `aim storage`, "
                    "or move that run out of .aim"
                ) from None

    def _opened(self, run_hash: str) -> Any:
        """A run read from its own chunk: Aim's index is made by its server, and misses what is not in it yet."""
        from aim import Run

        run = Run(run_hash, repo=self._repo, read_only=True)
        run.meta_tree = self._repo.request_tree("meta", run_hash, read_only=True).subtree("meta")
        run.meta_run_tree = run.meta_tree.subtree("chunks").subtree(run_hash)
        run.meta_attrs_tree = run.meta_tree.subtree("attrs")
        run.meta_run_attrs_tree = run.meta_run_tree.subtree("attrs")
        run._tracker.meta_tree = run.meta_tree
        return run


def _run(run: Any) -> ForeignRun:
    left_out: Counter[str] = Counter()
    try:
        params = run.meta_run_attrs_tree.collect()
    except KeyError:  # it has none
        params = {}
    system = params.pop(_SYSTEM_PARAMS, None)
    notes = [str(note["content"]) for note in getattr(run.props, "notes", None) or ()]
    description = "\n\n".join(text for text in (run.description, *notes) if text)
    return ForeignRun(
        run_id=run.hash,
        experiment=run.experiment or "default",
        name=run.name or run.hash,
        started=run.creation_time,
        ended=run.end_time,
        ending="complete" if run.end_time else None,
        description=description or None,
        params=params,
        tags={str(tag): None for tag in run.tags},
        properties=_properties(system, left_out),
        points=partial(_points, run, left_out),
        shown=partial(_shown, run),
        files=partial(_files, run, left_out),
        archived=bool(run.archived),
        left_out=left_out,
    )


def _properties(system: Any, left_out: Counter[str]) -> dict[str, str]:
    """What `log_system_params` has kept; the environment's variables stay where they are: they may hold secrets."""
    if not isinstance(system, Mapping):
        return {}
    git = system.get("git_info") or {}
    facts = {
        "aim.executable": system.get("executable"),
        "aim.arguments": system.get("arguments"),
        "aim.packages": system.get("packages"),
        "azureml.git.branch": git.get("branch"),
        "azureml.git.commit": (git.get("commit") or {}).get("hash"),
        "azureml.git.repository_uri": without_password(git.get("remote_origin_url") or ""),
    }
    left_out["variables of the environment, which may hold secrets"] += len(system.get("env_variables") or ())
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in facts.items()
        if value
    }


def series_name(name: str, context: Mapping[str, Any]) -> str:
    """The name of a series: Aim's, and behind it the context, by the names of its keys."""
    if not context:
        return name
    return f"{name} {{{', '.join(f'{key}={_plain(value)}' for key, value in sorted(context.items()))}}}"


def _plain(value: Any) -> str:
    """A value of a context; a text that would be read as something else is in quotes."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)


def _series(run: Any) -> Iterator[tuple[str, str, Any]]:
    """Each series by our name, with the type of what one value holds, and itself."""
    from aim.sdk.sequence import Sequence

    for index, series in run.meta_run_tree.get("traces", {}).items():
        context = run.idx_to_ctx(index)
        for name, facts in series.items():
            kind = str(facts.get("dtype", "float")).removeprefix("list(").removesuffix(")")
            yield series_name(name, context.to_dict()), kind, Sequence(name, context, run)


def _points(run: Any, left_out: Counter[str]) -> Iterator[Points]:
    for name, kind, sequence in _series(run):
        if kind in _NUMBERS:
            steps, (values, _, times) = sequence.data.numpy()
            yield Points(name, steps.astype(np.int64), _micros(times, run), values.astype(np.float64))
        elif kind in _TEXTS:
            rows = [
                (step, time, _TEXTS[kind](each)) for step, values, time in _steps(sequence) for each in values
            ]
            if rows:
                at, times, texts = zip(*rows, strict=True)
                yield Points(name, np.array(at, np.int64), _micros(times, run), list(texts))
        elif kind not in _SHOWN:
            left_out[f"values of the type {kind}"] += sum(1 for _ in sequence.timestamps.values())


def _shown(run: Any) -> Iterator[Shown]:
    for name, kind, sequence in _series(run):
        if kind not in _SHOWN:
            continue
        cls, read = _SHOWN[kind]
        for step, values, time in _steps(sequence):
            yield Shown(
                cls, name, step, int(_micros([time], run)[0]), len(values), partial(_read, read, name, values)
            )


def _read(read: Callable[[str, Any], Any], name: str, values: list[Any], place: int) -> Any:
    return read(name, values[place])


def _steps(sequence: Any) -> Iterator[tuple[int, list[Any], Any]]:
    """The steps of a series of objects, with what each holds, be it one or several, and its time."""
    steps, (held, _, times) = sequence.data.items_list()
    for step, value, time in zip(steps, held, times, strict=True):
        yield int(step), list(value) if isinstance(value, (list, tuple)) else [value], time


def _micros(times: Any, run: Any) -> NDArray[np.int64]:
    """Seconds as microseconds; what has no time has that of the run's start."""
    seconds = np.array(times, np.float64)
    return np.round(np.where(np.isfinite(seconds), seconds, run.creation_time) * 1e6).astype(np.int64)


def _bytes(value: Any) -> bytes:
    """What a value of Aim's holds; it is read now."""
    data = value.storage["data"].load()
    return data.encode() if isinstance(data, str) else bytes(data)


def _caption(value: Any) -> str | None:
    caption = value.storage.get("caption", None)
    return str(caption).replace("\0", "")[:MAX_CAPTION] if caption else None


def _files(run: Any, left_out: Counter[str]) -> Iterator[ForeignFile]:
    for name, artifact in run.artifacts.items():
        path = Path(artifact.uri.removeprefix("file://"))
        if not artifact.uri.startswith("file://"):
            left_out[f"files: {artifact.uri.partition('://')[0]}:// is not read; fetch them with Aim"] += 1
        elif not path.is_file():
            left_out["files: artifacts that are not on this machine"] += 1
        else:
            yield ForeignFile(name, path.stat().st_size, partial(opened, path))
