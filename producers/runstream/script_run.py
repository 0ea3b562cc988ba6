"""Submitted runs, seen from where they were submitted or looked up."""

from __future__ import annotations

from .run import Run


class ScriptRun(Run):
    """A run of a script, carried out by a process of its own.

    `Experiment.submit` and `Run.submit_child` start one; lists and `Run.get` give one for every run of this type.

    Source: `azureml.core.ScriptRun`.
    """
