"""Registered models: files under a name and a version, kept apart from the run they come from."""

from __future__ import annotations

import builtins
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client.addresses import quoted
from ..client.arguments import path_argument, texts_argument
from ..client.records import as_texts
from ..cloud import CloudCall
from ..exceptions import ModelNotFoundException, UserErrorException, WebserviceException
from ..spool.values import check_text
from ._cloud_services import InferenceConfig
from ._models.lookup import ModelFilter, find_models
from ._models.registration import PATH, register_files
from .workspace import Workspace

if TYPE_CHECKING:
    from .run import Run

__all__ = ["InferenceConfig", "Model"]

_SERVE = "Model.download gets the files of a registered model; serve them with the tool of your choice"


class Model:
    """A registered model.

    Args:
        workspace: the workspace it is registered in.
        name: its name; the newest version unless `version` says another.
        id: `name:version`, instead of `name`.
        tags: only one with these: a name, a dictionary of names and values, or a list of names and `[name, value]` pairs.
        properties: the same for properties.
        version: its version.
        run_id: only one that comes from this run.

    Raises:
        UserErrorException: neither name nor id.
        ModelNotFoundException: there is no such model.
        ServiceException: the service is away.

    Source: `azureml.core.Model`.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str | None = None,
        id: str | None = None,
        tags: ModelFilter = None,
        properties: ModelFilter = None,
        version: int | None = None,
        run_id: str | None = None,
        model_framework: str | None = None,
        expand: bool = True,
        **kwargs: Any,
    ) -> None:
        del expand, kwargs
        if id is not None:
            name, _, number = check_text("model id", id).rpartition(":")
            if not name or not number.isdecimal():
                raise UserErrorException(f"model id {id!r:.80}: expected NAME:VERSION")
            version = int(number)
        if not name:
            raise UserErrorException("Model: give a name or an id")
        records = find_models(workspace, name, version, run_id, tags, properties, model_framework)
        if not records:
            what = f"{name}:{version}" if version is not None else name
            raise ModelNotFoundException(
                f"ModelNotFound: no model {what} in workspace {workspace.name}; Model.list() names those there are"
            )
        self._workspace, self._record = workspace, records[0]

    @classmethod
    def _of(cls, workspace: Workspace, record: dict[str, Any]) -> Model:
        model = cls.__new__(cls)
        model._workspace, model._record = workspace, record
        return model

    @property
    def workspace(self) -> Workspace:
        """The workspace it is registered in."""
        return self._workspace

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._record["name"])

    @property
    def version(self) -> int:
        """Its version, counted from 1 for each name; one that was deleted is not given out again."""
        return int(self._record["version"])

    @property
    def id(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"

    @property
    def url(self) -> str:
        """A name of it that no other model has, to be written down; nothing answers at it."""
        return f"aml://asset/{self._workspace.name}/{self.id}"

    @property
    def run_id(self) -> str | None:
        """The run it comes from, or None."""
        run_id: str | None = self._record["run_id"]
        return run_id

    @property
    def experiment_name(self) -> str | None:
        """The experiment of that run."""
        experiment: str | None = self._record["experiment"]
        return experiment

    @property
    def description(self) -> str | None:
        """Free text."""
        description: str | None = self._record["description"]
        return description

    @property
    def tags(self) -> dict[str, str | None]:
        """Its tags as last fetched."""
        return dict(self._record["tags"])

    @property
    def properties(self) -> dict[str, str | None]:
        """Its properties, which do not change."""
        return dict(self._record["properties"])

    @property
    def model_framework(self) -> str | None:
        """The framework given at registration."""
        framework: str | None = self._record["details"].get("model_framework")
        return framework

    @property
    def model_framework_version(self) -> str | None:
        """The framework's version given at registration."""
        version: str | None = self._record["details"].get("model_framework_version")
        return version

    @property
    def run(self) -> Run | None:
        """The run it comes from, or None.

        Raises:
            ServiceException: the service is away.
        """
        from .run import Run

        return Run.get(self._workspace, self.run_id) if self.run_id else None

    @property
    def created_time(self) -> str:
        """When it was registered, ISO 8601 UTC."""
        return str(self._record["created_utc"])

    @staticmethod
    def register(
        workspace: Workspace,
        model_path: str | os.PathLike[str],
        model_name: str,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        description: str | None = None,
        datasets: Any = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        child_paths: Sequence[str] | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
    ) -> Model:
        """Register a file or folder of this machine as the next version of a model.

        Args:
            workspace: where to.
            model_path: the file or folder.
            model_name: letters, digits, `-`, `.` and `_`, at most 255, the first a letter or digit.
            child_paths: where the model is a folder, only these files below it.

        Raises:
            WebserviceException: the name is not of that form.
            ModelPathNotFoundException: there is no such file or folder.
            ServiceException: the service is away.
        """
        del datasets, sample_input_dataset, sample_output_dataset, resource_configuration
        record = register_files(
            workspace,
            model_path,
            model_name,
            child_paths,
            tags,
            properties,
            description,
            model_framework,
            model_framework_version,
        )
        return Model._of(workspace, record)

    @staticmethod
    def list(
        workspace: Workspace,
        name: str | None = None,
        tags: ModelFilter = None,
        properties: ModelFilter = None,
        run_id: str | None = None,
        latest: bool = False,
        dataset_id: str | None = None,
        expand: bool = True,
        page_count: int = 255,
        model_framework: str | None = None,
    ) -> builtins.list[Model]:
        """Models of a workspace, the newest first.

        Args:
            name: only of this name.
            tags: a name, a dictionary of names and values, or a list of names and `[name, value]` pairs; all must match.
            properties: the same for properties.
            run_id: only from this run.
            latest: only the newest version of each name.
            model_framework: only of this framework.

        Raises:
            ValueError: a filter of another type.
            ServiceException: the service is away.
        """
        del dataset_id, expand, page_count
        records = find_models(workspace, name, None, run_id, tags, properties, model_framework, latest)
        return [Model._of(workspace, record) for record in records]

    def download(
        self, target_dir: str | os.PathLike[str] = ".", exist_ok: bool = False, exists_ok: bool | None = None
    ) -> str:
        """Fetch the model's files.

        Args:
            target_dir: where to; made if need be.
            exist_ok: replace what is there.
            exists_ok: an older name of `exist_ok`.

        Returns:
            Path of the file or folder.

        Raises:
            WebserviceException: it is there already and `exist_ok` is False.
            ServiceException: the service is away.
        """
        from ..client.files import inside

        target = path_argument("target_dir", target_dir)
        names = [str(file["path"]) for file in self._record["files"]]
        top = target / names[0].split("/", 1)[0]
        if top.exists() and not (exist_ok if exists_ok is None else exists_ok):
            raise WebserviceException(
                f"File already exists. {top} is there; pass exist_ok=True to replace it"
            )
        for name in names:
            place = inside(target, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{place.name[:100]}.{uuid.uuid4().hex}")
            path = f"{self._address()}/files/{quoted(name)}?workspace={quoted(self._workspace.name)}"
            try:
                with part.open("wb") as stream:
                    self._workspace._client.download(path, stream)
                os.replace(part, place)
            finally:
                part.unlink(missing_ok=True)
        return str(top)

    @staticmethod
    def get_model_path(
        model_name: str, version: int | None = None, _workspace: Workspace | None = None
    ) -> str:
        """Path of a model's files on this machine; fetched to `azureml-models/<name>/<version>` when they are not there.

        Args:
            model_name: its name.
            version: its version; default the newest.
            _workspace: default `Workspace.from_config()`.

        Raises:
            ModelNotFoundException: there is no such model.
            ServiceException: the service is away.
        """
        model = Model(_workspace or Workspace.from_config(), model_name, version=version)
        folder = Path("azureml-models", model.name, str(model.version))
        kept = next(iter(folder.iterdir()), None) if folder.is_dir() else None
        return str(kept) if kept is not None else model.download(folder)

    def update(
        self,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
    ) -> None:
        """Replace tags or description where they are given.

        Args:
            tags: the new tags, all of them.
            description: free text.

        Raises:
            ServiceException: the service is away.
        """
        del sample_input_dataset, sample_output_dataset, resource_configuration
        changes: dict[str, Any] = {} if description is None else {"description": description}
        if tags is not None:
            texts = as_texts("tag", tags)
            changes |= {"tags": texts, "remove_tags": [key for key in self.tags if key not in texts]}
        self._change(changes)

    def update_tags_properties(
        self,
        add_tags: Mapping[str, Any] | None = None,
        remove_tags: Sequence[str] | None = None,
        add_properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Add and remove tags, and add properties, in one request.

        Raises:
            ServiceException: a property has another value already (status_code 400), or the service is away.
        """
        added = as_texts("tag", add_tags or {})
        properties = as_texts("property", add_properties or {})
        self._change(
            {
                "tags": added,
                "remove_tags": texts_argument("remove_tags", remove_tags or ()),
                "properties": properties,
            }
        )

    def serialize(self) -> dict[str, Any]:
        """The model's record as JSON can hold it."""
        return {**self._record, "id": self.id}

    deploy = CloudCall(_SERVE)
    package = CloudCall(_SERVE)
    profile = CloudCall(_SERVE)
    print_configuration = CloudCall(_SERVE)

    def add_tags(self, tags: Mapping[str, Any]) -> None:
        """Add or change tags.

        Raises:
            ServiceException: the service is away.
        """
        self._change({"tags": as_texts("tag", tags)})

    def remove_tags(self, tags: Sequence[str]) -> None:
        """Remove tags; names it does not have are ignored.

        Raises:
            ServiceException: the service is away.
        """
        self._change({"remove_tags": texts_argument("tags", tags)})

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties.

        Raises:
            ServiceException: one has another value already (status_code 400), or the service is away.
        """
        self._change({"properties": as_texts("property", properties)})

    def delete(self) -> None:
        """Delete this version; it is not given out again.

        Raises:
            ServiceException: the service is away.
        """
        self._workspace._client.request("DELETE", self._address(), [("workspace", self._workspace.name)])

    def _change(self, change: Mapping[str, Any]) -> None:
        self._record = self._workspace._send_json("PATCH", self._address(), change)

    def _address(self) -> str:
        return f"{PATH}/{quoted(self.name)}/{self.version}"

    def __repr__(self) -> str:
        return (
            f"Model(workspace={self._workspace!r}, name={self.name}, id={self.id}, version={self.version}, "
            f"tags={self.tags}, properties={self.properties})"
        )
