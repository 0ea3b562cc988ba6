"""What submits configurations of kinds that a script run's is not, such as a `HyperDriveConfig`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Submitter = Callable[..., Any]
_submitters: dict[type, Submitter] = {}


def register_submitter(kind: type, submitter: Submitter) -> None:
    """Have `Experiment.submit` and `Run.submit_child` take another kind of configuration.

    Args:
        kind: class of the configuration.
        submitter: called with the experiment, the configuration, tags, a run id or None and, for a child, `parent=`;
            returns the run.
    """
    _submitters[kind] = submitter


def submitter_of(config: object) -> Submitter | None:
    """What submits configurations of this kind; None: it is none of those registered."""
    return next((_submitters[kind] for kind in type(config).__mro__ if kind in _submitters), None)
