"""Calls about experiments, runs and metrics."""

from __future__ import annotations

from ...mlflow import experiments, histories, inputs, logging, run_search, runs
from ..tokens import Role
from .calls import call

ENDPOINTS = (
    call("POST experiments/create", Role.WRITE, experiments.create),
    call("GET experiments/get", Role.READ, experiments.get),
    call("GET experiments/get-by-name", Role.READ, experiments.get_by_name),
    call("POST experiments/search", Role.READ, experiments.search),
    call("GET experiments/search", Role.READ, experiments.search),
    call("POST experiments/update", Role.WRITE, experiments.update),
    call("POST experiments/delete", Role.WRITE, experiments.delete),
    call("POST experiments/restore", Role.WRITE, experiments.restore),
    call("POST experiments/set-experiment-tag", Role.WRITE, experiments.set_tag),
    call("POST experiments/delete-experiment-tag", Role.WRITE, experiments.delete_tag),
    call("POST experiments/search-datasets", Role.READ, inputs.search),
    call("POST runs/create", Role.WRITE, runs.create),
    call("GET runs/get", Role.READ, runs.get),
    call("POST runs/update", Role.WRITE, runs.update),
    call("POST runs/delete", Role.WRITE, runs.delete),
    call("POST runs/restore", Role.WRITE, runs.restore),
    call("POST runs/search", Role.READ, run_search.search),
    call("POST runs/log-metric", Role.WRITE, logging.log_metric),
    call("POST runs/log-parameter", Role.WRITE, logging.log_parameter),
    call("POST runs/log-batch", Role.WRITE, logging.log_batch),
    call("POST runs/set-tag", Role.WRITE, runs.set_tag),
    call("POST runs/delete-tag", Role.WRITE, runs.delete_tag),
    call("POST runs/log-inputs", Role.WRITE, runs.log_inputs),
    call("POST runs/log-model", Role.WRITE, runs.log_model),
    call("POST runs/outputs", Role.WRITE, runs.log_outputs),
    call("GET metrics/get-history", Role.READ, histories.get_history),
    call("GET metrics/get-history-bulk", Role.READ, histories.get_bulk),
    call("GET metrics/get-history-bulk-interval", Role.READ, histories.get_bulk_interval),
)
