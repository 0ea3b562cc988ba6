"""What a sweep is: noted on its run when it begins, and compared when it is resumed."""

from __future__ import annotations

import json
import random
from typing import Any

from ..core.experiment import Experiment
from ..core.run import Run
from ..exceptions import ServiceException, UserErrorException
from .trial import GOAL, SPEC

PARENT_TYPE = "hyperdrive"
"""Type of a sweep's run: the reproduced API's word for it. Such a run is asked to cancel, and its driver answers."""


def check_known(experiment: Experiment, run_id: str, document: dict[str, Any], seed: int | None) -> None:
    """Refuse another sweep of the same id before the stored one is opened again."""
    try:
        run = Run.get(experiment.workspace, run_id)
    except ServiceException as error:
        if error.status_code == 404:
            return
        raise
    if (stored := run.properties.get(SPEC)) is not None:
        _seed_of(run_id, stored, document, seed)


def describe(parent: Run, document: dict[str, Any], seed: int | None, *, started: bool) -> int:
    """Note what the sweep is, or compare it with what is noted; returns its seed."""
    if started:
        parent._live().writer.set_field("type", PARENT_TYPE)
    properties = parent.get_properties()
    if (stored := properties.get(SPEC)) is None:
        seed = random.SystemRandom().getrandbits(32) if seed is None else seed
        goal = {"name": document["metric"], "goal": document["goal"]}
        parent._live().writer.add_property(SPEC, json.dumps({**document, "seed": seed}, ensure_ascii=False))
        parent._live().writer.add_property(GOAL, json.dumps(goal, ensure_ascii=False))
        return seed
    return _seed_of(parent.id, stored, document, seed)


def _seed_of(run_id: str, stored: str, document: dict[str, Any], seed: int | None) -> int:
    """The seed of a stored sweep, if it is the same one."""
    known = json.loads(stored)
    asked = {**document, "seed": known["seed"] if seed is None else seed}
    for key, value in asked.items():
        if known.get(key) != value:
            raise UserErrorException(
                f"run {run_id} is a sweep with {key} {known.get(key)!r:.200}, not {value!r:.200}; resume with the same, "
                "or choose another run_id"
            )
    return int(known["seed"])
