"""Clusters that migrated scripts describe and create: here a queue of their own on this machine, under their name."""

from __future__ import annotations

import logging
from typing import Any

from ..cloud import CloudCall
from .compute import AttachConfiguration, ComputeTarget

_log = logging.getLogger("runstream")
_MACHINES = "runs of the target take place on this machine; `RUNSTREAM_LOCAL_RUNS` and `max_nodes` bound how many at once"


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
            max_nodes: runs carried out at once; default: as many as the target `local`.
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
