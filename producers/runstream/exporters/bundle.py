"""A run as Parquet files and the files it has, for any program: nothing of it needs runstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from runstream_schemas.series import FIRST_CLASSES, SeriesClass

from ..client.logged_media import logged_media
from .exporting import file_name
from .run_contents import RunContents


def write_bundle(run: RunContents, folder: Path) -> None:
    """Write `params.json`, `metrics.parquet`, `histograms.parquet`, `media.json`, `tables/NAME.parquet`, `figures.json` and
    `files/`, each if the run has it. The Parquet files are made by the server and go straight to the disk, of any size."""
    if run.params:
        _write_json(folder / "params.json", run.params)
    if run.names(SeriesClass.METRIC):
        _fetch(run, folder / "metrics.parquet", "/api/v1/export/points")
    if run.names(SeriesClass.HISTOGRAM):
        _fetch(run, folder / "histograms.parquet", "/api/v1/export/histograms")
    if run.names(SeriesClass.MEDIA):
        _write_json(folder / "media.json", list(_media(run)))
    if figures := list(_figures(run)):
        _write_json(folder / "figures.json", figures)
    for name in run.names(SeriesClass.TABLE):
        (folder / "tables").mkdir(exist_ok=True)
        _fetch(run, folder / "tables" / f"{file_name(name)}.parquet", "/api/v1/export/table", name)
    run.save_files(folder / "files")


def _fetch(run: RunContents, path: Path, address: str, name: str | None = None) -> None:
    asked = [("run", run.run_id), ("format", "parquet"), *([("name", name)] if name is not None else [])]
    with path.open("w+b") as stream:
        run.client.download(f"{address}?{urlencode(asked)}", stream)


def _media(run: RunContents) -> Iterator[dict[str, Any]]:
    for (series,) in run.series(SeriesClass.MEDIA):
        for medium in logged_media(run.client, run.run_id, series):
            shown = {name: getattr(medium, name) for name in _MEDIUM}
            yield {"name": series.name, **shown, "path": f"files/{medium.path}"}


_MEDIUM = ("step", "time", "type", "content_type", "size", "sha256", "place", "caption", "file_name")


def _figures(run: RunContents) -> Iterator[dict[str, Any]]:
    """What `log_image`, `log_confusion_matrix` and the like logged: files of the run, by the name they were logged under."""
    for cls in _FIGURES:
        for (series,) in run.series(cls):
            for step, time, value in zip(series.steps, series.times, series.values, strict=True):
                yield {
                    "class": cls.name.lower(),
                    "name": series.name,
                    "step": step,
                    "time": time,
                    "value": value,
                }


_FIGURES = tuple(SeriesClass(cls) for cls in FIRST_CLASSES if cls > SeriesClass.TABLE)


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
