"""The script of a run of HyperDrive, which drives the sweep: `python -m runstream.train.hyperdrive._driver`.

Killed, it leaves the trials at work; the run, submitted again, resumes them. Asked to end it cancels them.
"""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path
from typing import Any

from ... import sweep
from ...compute.job import run_directory
from ...core.run import Run
from ._search import CONFIG_FILE
from .runconfig import HyperDriveConfig

_DYING_SECONDS = 1.0
"""A killed process dies thread by thread: we are told once the one that started us has, and still have our parent."""


def end_when_asked(wrapper: int, canceled: Path) -> None:
    """Have SIGTERM raise KeyboardInterrupt, which cancels the trials, but where it only tells that our parent was killed.

    Args:
        wrapper: the process that looks after our run.
        canceled: is there when the run is to be canceled.
    """

    def end(*_: Any) -> None:
        deadline = time.monotonic() + _DYING_SECONDS
        while not canceled.exists() and time.monotonic() < deadline:
            if os.getppid() != wrapper:  # nobody asked for the end of the trials
                os._exit(1)
            time.sleep(0.01)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def main() -> int:
    """Drive the sweep of this process's run until all trials have ended.

    Raises:
        RuntimeError: all of them failed.
    """
    run = Run.get_context(allow_offline=False)
    directory = run_directory(run._settings, run.id)
    end_when_asked(os.getppid(), directory / "cancel")
    config: HyperDriveConfig = pickle.loads((directory / CONFIG_FILE).read_bytes())  # noqa: S301 - only its owner writes there
    script = config.run_config
    assert script is not None, "it was submitted with one"
    script.source_directory = str(directory / "code")  # as it was when the run was submitted
    goal = config._primary_metric_config
    try:
        outcome = sweep.run(
            run,
            script,
            config._sampling.space(),
            metric=goal["name"],
            goal="minimize" if goal["goal"] == "minimize" else "maximize",
            method=config._sampling.METHOD,
            trials=config._max_total_runs,
            concurrency=config._max_concurrent_runs,
            stop=config._policy.rule(),
            scope="best",
            show_output=True,
        )
    except KeyboardInterrupt:
        return 1
    trials = outcome.trials
    if trials and all(trial.status == "Failed" for trial in trials):
        raise RuntimeError(f"all {len(trials)} trials failed; the last one: {trials[-1].error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
