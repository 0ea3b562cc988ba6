"""What a workspace holds: experiments, runs, models, environments, data, and where scripts are submitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..client.session import Session
from ..workspace_type import Workspace

if TYPE_CHECKING:
    from ..data._datastore import Datastore
    from ..data.file_dataset import FileDataset
    from ..data.tabular_dataset import TabularDataset
    from .compute import ComputeTarget
    from .environment import Environment
    from .experiment import Experiment
    from .keyvault import Keyvault
    from .model import Model
    from .run import Run


class WorkspaceContents(Session):
    """The part of a `Workspace` that leads to what it holds."""

    @property
    def _workspace(self) -> Workspace:
        return cast(Workspace, self)

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The experiments by name, archived ones left out.

        Raises:
            ServiceException: the service is away.
        """
        from .experiment import Experiment

        return {experiment.name: experiment for experiment in Experiment.list(self._workspace)}

    @property
    def environments(self) -> dict[str, Environment]:
        """The newest version of every registered environment, by name.

        Raises:
            ServiceException: the service is away.
        """
        from .environment import Environment

        return Environment.list(self._workspace)

    @property
    def models(self) -> dict[str, Model]:
        """The newest version of every registered model, by name.

        Raises:
            ServiceException: the service is away.
        """
        from .model import Model

        return {model.name: model for model in Model.list(self._workspace, latest=True)}

    @property
    def compute_targets(self) -> dict[str, ComputeTarget]:
        """Where scripts can be submitted to, by name; `local` is always there."""
        from .compute import ComputeTarget

        return {target.name: target for target in ComputeTarget.list(self._workspace)}

    @property
    def datastores(self) -> dict[str, Datastore]:
        """The datastores by name."""
        from ..data._datastore import datastores

        return datastores(self._workspace)

    @property
    def datasets(self) -> dict[str, TabularDataset | FileDataset]:
        """The newest version of every registered dataset, by name."""
        from .dataset import Dataset

        return Dataset.get_all(self._workspace)

    @property
    def webservices(self) -> dict[str, Any]:
        """Models served in Azure: there are none."""
        return {}

    images = private_endpoints = linked_services = webservices

    def get_default_compute_target(self, type: str) -> ComputeTarget:
        """The target `local`, whatever the type asked for."""
        from .compute import ComputeTarget

        del type
        return ComputeTarget(self._workspace, "local")

    def get_default_datastore(self) -> Datastore:
        """The datastore scripts use when they name none."""
        from ..data._datastore import Datastore

        return Datastore(self._workspace)

    def set_default_datastore(self, name: str) -> None:
        """Make a datastore the default one.

        Raises:
            UserErrorException: there is none of that name.
        """
        from ..data._datastore import Datastore

        Datastore(self._workspace, name).set_as_default()

    def get_default_keyvault(self) -> Keyvault:
        """The workspace's secrets, in a file of this machine only its owner may read."""
        from .keyvault import Keyvault

        return Keyvault(self._workspace)

    def get_run(self, run_id: str) -> Run:
        """A run of this workspace, whatever its experiment.

        Raises:
            ServiceException: there is none of that id (status_code 404), or the service is away.
        """
        from .run import Run

        return Run.get(self._workspace, run_id)
