"""What hatchling runs before it packs: the dashboard is built from its sources into the wheel, which gets its list of parts.

An archive without the sources (dashboard/) packs what lies in query/runstream_query/web, built or not. An editable
installation goes on without a dashboard when it cannot be built (no network); `make dashboard` makes up for it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DashboardHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds the dashboard."""

    def dependencies(self) -> list[str]:
        """Node, from a wheel, where there is none."""
        wanted = self._has_sources() and not (shutil.which("node") and shutil.which("npm"))
        return [self._builder().NODE_WHEEL] if wanted else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel ("standard") or an editable installation ("editable") is packed."""
        if self.target_name != "wheel":
            return
        if version != "editable":
            self._made = tempfile.TemporaryDirectory()
            sbom = _load("runstream_sbom", Path(self.root) / "sbom.py")
            bill = Path(self._made.name) / sbom.NAME
            bill.write_text(json.dumps(sbom.document(Path(self.root)), indent=2) + "\n", encoding="utf-8")
            build_data["sbom_files"].append(str(bill))
        if not self._has_sources() or os.environ.get("RUNSTREAM_NO_DASHBOARD"):
            return
        builder = self._builder()
        try:
            builder.build()
        except builder.BuildError as error:
            if version != "editable":
                raise
            print(f"note: the dashboard was not built: {error}", file=sys.stderr)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when it is packed."""
        if hasattr(self, "_made"):
            self._made.cleanup()

    def _has_sources(self) -> bool:
        return (Path(self.root) / "dashboard" / "package.json").is_file()

    def _builder(self) -> ModuleType:
        return _load("dashboard_build", Path(self.root) / "dashboard" / "build.py")


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
