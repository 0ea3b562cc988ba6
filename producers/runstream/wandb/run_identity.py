"""What a run is: its id, name, tags, project and page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.run import Run as CoreRun
from ..exceptions import AzureMLException, ServiceException
from . import active
from .history import History
from .settings import Settings


class RunIdentity:
    """The part of `Run` that says what it is."""

    settings: Settings
    _core: CoreRun | None
    _folder: Path
    _history: History | None

    @property
    def id(self) -> str:
        """Its id."""
        return self._core.id if self._core else self.settings.run_id or "disabled"

    @property
    def name(self) -> str | None:
        """Its name; may be set."""
        return self._core.display_name if self._core else self.settings.run_name

    @name.setter
    def name(self, name: str) -> None:
        if self._core:
            self._core.display_name = name

    @property
    def notes(self) -> str | None:
        """Free text; may be set."""
        return self._core.description if self._core else self.settings.run_notes

    @notes.setter
    def notes(self, notes: str) -> None:
        if self._core:
            self._core.description = notes

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags; may be set, also by `run.tags += ("x",)`."""
        return tuple(self.settings.run_tags or ())

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        before, now = self.tags, tuple(dict.fromkeys(map(str, tags)))
        if self._core:
            self._core.remove_tags([tag for tag in before if tag not in now])
            self._core.set_tags({tag: None for tag in now if tag not in before})
        self.settings.run_tags = now

    @property
    def entity(self) -> str:
        """Whom it is of: kept as a property of the run, and meaning nothing here."""
        return self.settings.entity or ""

    @property
    def project(self) -> str:
        """Its project."""
        return self.settings.project or "uncategorized"

    @property
    def group(self) -> str:
        """The group it is of."""
        return self.settings.run_group or ""

    @property
    def job_type(self) -> str:
        """What it does: `train`, `eval` ..."""
        return self.settings.run_job_type or ""

    @property
    def sweep_id(self) -> str | None:
        """The sweep it is a trial of."""
        return active.trial.sweep_id if active.trial and self._core is active.trial.run else None

    @property
    def path(self) -> str:
        """Entity, project and id."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def dir(self) -> str:
        """A folder whose files are kept with the run when it finishes; made now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return str(self._folder)

    @property
    def step(self) -> int:
        """The step of the next row."""
        return self._history.step if self._history else 0

    @property
    def starting_step(self) -> int:
        """The step of the first row."""
        return int(self.settings.starting_step or 0)

    @property
    def disabled(self) -> bool:
        """Whether nothing is recorded."""
        return self._core is None

    @property
    def offline(self) -> bool:
        """False: what is recorded here goes to the service as soon as that is there."""
        return False

    @property
    def url(self) -> str | None:
        """Address of its page; None while the service is away."""
        try:
            return self._core.get_portal_url() if self._core else None
        except (ServiceException, AzureMLException):
            return None

    def get_url(self) -> str | None:
        """As `url`."""
        return self.url
