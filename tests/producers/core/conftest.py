"""What the tests of submitted scripts share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runstream.core import ScriptRunConfig


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., ScriptRunConfig]:
    """Writes `train.py` to a project and returns a configuration for it."""

    def write(code: str, *arguments: object, **options: object) -> ScriptRunConfig:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text("from runstream.core import Run\nrun = Run.get_context()\n" + code)
        return ScriptRunConfig(str(folder), "train.py", list(arguments), **options)  # type: ignore[arg-type]

    return write
