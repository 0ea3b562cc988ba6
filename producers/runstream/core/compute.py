"""Compute targets as users see them: attach one to a workspace by name, then submit to it."""

from __future__ import annotations

import builtins
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runstream_schemas.errors import brief

from ..client.records import ACTIVE, Filter, RunRecord, check_filter, fits, list_records, run_params
from ..cloud import CloudCall
from ..compute import registry
from ..compute.queue import entries, wake
from ..exceptions import ComputeTargetException, UserErrorException
from ..printable import say
from ..workspace_type import Workspace
from ._cloud_services import (
    AdlaCompute,
    AksCompute,
    BatchCompute,
    ComputeInstance,
    DatabricksCompute,
    DataFactoryCompute,
    DsvmCompute,
    HDInsightCompute,
    KubernetesCompute,
    KustoCompute,
    RemoteCompute,
    SynapseCompute,
)

__all__ = [
    "AdlaCompute",
    "AksCompute",
    "AmlCompute",
    "AttachConfiguration",
    "BatchCompute",
    "ComputeInstance",
    "ComputeTarget",
    "DaskCompute",
    "DataFactoryCompute",
    "DatabricksCompute",
    "DsvmCompute",
    "HDInsightCompute",
    "KubernetesCompute",
    "KustoCompute",
    "LocalCompute",
    "RemoteCompute",
    "SynapseCompute",
]

_log = logging.getLogger("runstream")
_MACHINES = "runs of the target take place on this machine; `RUNSTREAM_LOCAL_RUNS` and `max_nodes` bound how many at once"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LEAVING_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class AttachConfiguration:
    """What a target is to be.

    Attributes:
        type: its kind: `local`, or one an installed package brings.
        options: what the kind needs to know.
        concurrency: runs executed at once; None: as many as the kind says.
    """

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None


class ComputeTarget:
    """A place runs are executed at. Every workspace has `local`: background processes of this machine.

    Args:
        workspace: the workspace.
        name: under which the target was attached.

    Raises:
        ComputeTargetException: the workspace has no target of that name.

    Source: `azureml.core.ComputeTarget`.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        known = registry.targets(workspace._settings, workspace.name)
        if name not in known:
            raise ComputeTargetException(
                f"ComputeTargetNotFound: workspace {workspace.name} has no compute target {name!r}; it has: "
                f"{', '.join(known)}. ComputeTarget.attach adds one"
            )
        self.workspace, self._record = workspace, known[name]

    @classmethod
    def attach(
        cls, workspace: Workspace, name: str, attach_configuration: AttachConfiguration
    ) -> ComputeTarget:
        """Add a target to a workspace, or change one; runs that are queued on it follow.

        Raises:
            ComputeTargetException: no installed package brings the kind, or its options are not of the kind.
            UserErrorException: a name or bound that cannot be.
        """
        config = attach_configuration
        if not _NAME.fullmatch(name):
            raise UserErrorException(
                f"compute target name {name!r:.80}: 1 to 64 letters, digits, dots, underscores or dashes, the first a "
                "letter or a digit"
            )
        if config.concurrency is not None and config.concurrency < 1:
            raise UserErrorException(
                f"compute target {name}: concurrency {config.concurrency} is less than 1; give 1 or more"
            )
        record = registry.TargetRecord(
            name,
            config.type,
            config.options,
            config.concurrency,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        registry.open_backend(record).close()  # its options are of its kind
        registry.attach(workspace._settings, workspace.name, record)
        wake(workspace._settings)
        return cls(workspace, name)

    @staticmethod
    def create(
        workspace: Workspace, name: str, provisioning_configuration: AttachConfiguration
    ) -> ComputeTarget:
        """As `attach`: there is nothing to be rented or set up.

        Raises:
            ComputeTargetException: no installed package brings the kind, or its options are not of the kind.
            UserErrorException: a name or bound that cannot be.
        """
        return ComputeTarget.attach(workspace, name, provisioning_configuration)

    @staticmethod
    def list(workspace: Workspace) -> builtins.list[ComputeTarget]:
        """A workspace's targets."""
        names = registry.targets(workspace._settings, workspace.name)
        return [ComputeTarget(workspace, name) for name in names]

    @property
    def name(self) -> str:
        """By which runs are submitted to it."""
        return self._record.name

    @property
    def type(self) -> str:
        """Its kind."""
        return self._record.type

    @property
    def concurrency(self) -> int | None:
        """Runs executed at once; None: as many as its kind says."""
        return self._record.concurrency

    @property
    def options(self) -> dict[str, Any]:
        """What it was attached with, such as the scheduler's `address`."""
        return dict(self._record.options)

    @property
    def provisioning_state(self) -> str:
        """`Succeeded`: an attached target is there."""
        return "Succeeded"

    def wait_for_completion(self, show_output: bool = False, **kwargs: Any) -> None:
        """Return at once: an attached target is there. Its own state shows in `get_active_runs`.

        Args:
            show_output: print so.
            kwargs: accepted.
        """
        if show_output:
            say(f"Compute target {self.name}: {self.provisioning_state}")

    def get_status(self) -> ComputeTarget:
        """The target itself, which has `serialize()` and `provisioning_state`, read again.

        Raises:
            ComputeTargetException: it was detached.
        """
        self.refresh_state()
        return self

    def refresh_state(self) -> None:
        """Read again how the target is attached.

        Raises:
            ComputeTargetException: it was detached.
        """
        self._record = ComputeTarget(self.workspace, self.name)._record

    def serialize(self) -> dict[str, Any]:
        """The target as a dictionary: `name`, `type`, `options`, `concurrency`, `attached`, `provisioningState`."""
        return {
            "name": self.name,
            "type": self.type,
            "options": self.options,
            "concurrency": self.concurrency,
            "attached": self._record.attached,
            "provisioningState": self.provisioning_state,
        }

    def get_active_runs(
        self,
        type: str | None = None,
        tags: Filter = None,
        properties: Filter = None,
        status: str | None = None,
    ) -> Iterator[RunRecord]:
        """The runs that are queued or at work there, of all experiments of the workspace, newest start first.

        Args:
            type: only of this type.
            tags: a tag's name, or a dictionary of names and values that must all match.
            properties: the same for properties.
            status: only in this status, one of those a run has before its end.

        Raises:
            UserErrorException: a status of runs that have ended.
            ValueError: a filter of another type.
            ServiceException: the service is away (when iterating).
        """
        check_filter("tags", tags)
        check_filter("properties", properties)
        if status is not None and status not in ACTIVE:
            raise UserErrorException(
                f"status {brief(status)} of an active run: expected one of {', '.join(ACTIVE)}"
            )
        place = [("workspace", self.workspace.name), ("target", self.name)]
        filters = run_params(tags, properties, type, status)
        statuses = [] if status else [("status", active) for active in ACTIVE]
        records = list_records(self.workspace._client, [*place, *filters, *statuses])
        return (record for record in records if fits(record, tags, properties, type, status))

    def detach(self) -> None:
        """Remove the target from its workspace.

        Raises:
            ComputeTargetException: runs are queued or running there, or it is the `local` every workspace has.
        """
        settings, place = self.workspace._settings, (self.workspace.name, self.name)
        # A run that has just ended leaves the queue a moment later.
        deadline = time.monotonic() + _LEAVING_SECONDS
        while busy := sum((entry.workspace, entry.target) == place for entry in entries(settings).values()):
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise ComputeTargetException(
                f"compute target {self.name} has {busy} runs that are queued or running; cancel them, or wait for them"
            )
        if not registry.detach(settings, self.workspace.name, self.name):
            raise ComputeTargetException(
                f"compute target {self.name} was not attached, and cannot be detached"
                "; ComputeTarget.list names those that were"
            )

    def delete(self) -> None:
        """As `detach`; no machine ends with it."""
        self.detach()

    def __repr__(self) -> str:
        return f"ComputeTarget(workspace={self.workspace.name!r}, name={self.name!r}, type={self.type!r})"


class LocalCompute:
    """Background processes of this machine, so many at once."""

    @staticmethod
    def attach_configuration(concurrency: int | None = None) -> AttachConfiguration:
        """A queue of its own on this machine, of `concurrency` runs at once."""
        return AttachConfiguration("local", concurrency=concurrency)


class DaskCompute:
    """An existing Dask cluster (extra `dask`): each run is a task of its scheduler."""

    @staticmethod
    def attach_configuration(
        address: str,
        concurrency: int | None = None,
        resources: Mapping[str, float] | None = None,
        *,
        tls_ca_file: str | None = None,
        tls_client_cert: str | None = None,
        tls_client_key: str | None = None,
    ) -> AttachConfiguration:
        """A cluster by its scheduler.

        Args:
            address: the address of the scheduler, such as `tcp://host:8786`.
            concurrency: runs executed at once; None: as many as the workers have threads.
            resources: what a run takes of its worker, by the names the workers were started with: `{"GPU": 1}`.
            tls_ca_file, tls_client_cert, tls_client_key: files (PEM) for an address that begins with `tls://`.
        """
        options: dict[str, Any] = {
            "address": address,
            "resources": dict(resources) if resources else None,
            "tls_ca_file": tls_ca_file,
            "tls_client_cert": tls_client_cert,
            "tls_client_key": tls_client_key,
        }
        given = {key: value for key, value in options.items() if value is not None}
        return AttachConfiguration("dask", given, concurrency)


class AmlCompute(ComputeTarget):
    """A cluster of Azure, for which a queue on this machine stands in: as many runs at once as the cluster had nodes.

    Source: `azureml.core.compute.AmlCompute`.
    """

    @staticmethod
    def provisioning_configuration(
        vm_size: str = "",
        vm_priority: str = "dedicated",
        min_nodes: int = 0,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: float | str | None = 1800,
        admin_username: str | None = None,
        admin_user_password: str | None = None,
        admin_user_ssh_key: str | None = None,
        vnet_resourcegroup_name: str | None = None,
        vnet_name: str | None = None,
        subnet_name: str | None = None,
        tags: Any = None,
        description: str | None = None,
        remote_login_port_public_access: str = "NotSpecified",
        identity_type: str | None = None,
        identity_id: Any = None,
        location: str | None = None,
        enable_node_public_ip: bool = True,
    ) -> AttachConfiguration:
        """What `ComputeTarget.create` takes. No machine is rented; only the number of nodes matters, the rest is accepted.

        Args:
            vm_size: kind of machine, named in the warning.
            max_nodes: runs executed at once; default: as many as the target `local`.
        """
        del vm_priority, min_nodes, idle_seconds_before_scaledown, admin_username, admin_user_password
        del admin_user_ssh_key, vnet_resourcegroup_name, vnet_name, subnet_name, tags, description, location
        del remote_login_port_public_access, identity_type, identity_id, enable_node_public_ip
        _log.warning(
            "no machine%s is rented: runs of the target take place on this machine, %s at once",
            f" {vm_size}" if vm_size else "",
            max_nodes or "as many as RUNSTREAM_LOCAL_RUNS says",
        )
        return AttachConfiguration("local", concurrency=max_nodes)

    add_identity = CloudCall(_MACHINES)
    remove_identity = CloudCall(_MACHINES)
    list_nodes = CloudCall(_MACHINES)
    list_quotas = CloudCall(_MACHINES)
    list_usages = CloudCall(_MACHINES)
    supported_vmsizes = CloudCall(_MACHINES)
    update = CloudCall(_MACHINES)
