"""What people do meanwhile, as harms of a trial: runs are deleted, tags changed from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .api import Away, Refused, ask

if TYPE_CHECKING:
    from .trial import Trial

OUTSIDE = "outside"
"""The tag that is changed."""


@dataclass(slots=True)
class OutsideTag:
    """What a run's tag may be.

    Attributes:
        last: what it was set to last, as was answered.
        unsure: what it was to be set to, and nobody answered; that may have been done, later too.
    """

    last: str | None = None
    unsure: set[str] = field(default_factory=set)

    def allows(self, value: str | None) -> bool:
        """Whether it may be this."""
        return value == self.last or value in self.unsure


def delete_run(trial: Trial) -> None:
    """Delete a run with its children, one that is still being logged too. The last trainers' are left alone."""
    begun = sorted(path.stem for path in trial.home.glob("run-*.progress") if path.stem not in trial.deleting)
    if len(begun) < 4:
        return
    run_id = trial.chance.choice(begun)
    trial.deleting.add(run_id)
    (trial.home / f"{run_id}.deleting").touch()
    try:
        ask(trial.home, f"/api/v1/runs/{run_id}", {"force": "1"}, method="DELETE")
    except (Away, Refused) as error:
        if isinstance(error, Refused) and error.status != 404:
            raise
        trial.note(f"delete {run_id}: {error}")
        return
    (trial.home / f"{run_id}.deleted").touch()
    trial.deleted.add(run_id)
    trial.note(f"deleted {run_id}")


def change_tag(trial: Trial) -> None:
    """Set a tag of a run from outside."""
    begun = sorted(path.stem for path in trial.home.glob("run-*.progress") if path.stem not in trial.deleting)
    if not begun:
        return
    run_id = trial.chance.choice(begun)
    tag = trial.outside.setdefault(run_id, OutsideTag())
    trial.edits += 1
    value = str(trial.edits)
    try:
        body = {"tags": {"set": {OUTSIDE: value}}}
        ask(trial.home, f"/api/v1/runs/{run_id}", method="PATCH", body=body)
    except Refused as error:
        if error.status != 404:  # its first record may not have been stored
            raise
    except Away as error:
        tag.unsure.add(value)
        trial.note(f"tag of {run_id}: {error}")
    else:
        tag.last = value
        trial.note(f"tag of {run_id} is {value}")
