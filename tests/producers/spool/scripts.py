"""Scripts that log, as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_script(directory: Path, body: str, *more: str, **options: Any) -> subprocess.Popen[str]:
    code = (
        "import os, signal, sys, time\nfrom runstream.spool.writing import writer as spool\n"
        "from runstream_schemas.settings import Settings\n"
        f"writer = spool.RunWriter(Settings.load({{}}, spool={str(directory)!r}), 'run', owner=True)\n" + body
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.Popen(
        [*more, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, **options
    )
