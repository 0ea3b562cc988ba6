"""`watch`: the gradients and parameters of a torch module as histograms, every so many batches."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from .data_types import Histogram

_log = logging.getLogger("runstream")
_KINDS = ("gradients", "parameters", "all", None)

Log = Callable[..., None]


class Watching:
    """The hooks of one run. Histograms join the row that the script commits next, as W&B has it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._hooks: dict[int, list[Any]] = {}
        self._counts: dict[str, int] = {}

    def watch(self, models: Any, log: str | None, log_freq: int, idx: int | None) -> None:
        """Hook modules.

        Raises:
            ValueError: a kind of values that is none of W&B's, or a frequency below 1.
            TypeError: something that is no module of torch.
        """
        if log not in _KINDS:
            raise ValueError(f"log must be one of {_KINDS}, got {log!r:.80}")
        if log_freq < 1:
            raise ValueError(f"log_freq {log_freq}: expected batches between two records, 1 or more")
        torch = sys.modules.get("torch")
        modules = list(models) if isinstance(models, (list, tuple)) else [models]
        for number, module in enumerate(modules, start=idx or 0):
            if torch is None or not isinstance(module, torch.nn.Module):
                raise TypeError(
                    f"Expected a pytorch model (torch.nn.Module). Received {type(module)}; pass a module"
                )
            prefix = f"graph_{number}" if number else ""
            hooks = self._hooks.setdefault(id(module), [])
            if log in ("parameters", "all"):
                hooks.append(module.register_forward_hook(self._parameters(prefix, log_freq)))
            if log in ("gradients", "all"):
                hooks += [
                    parameter.register_hook(self._gradient(f"gradients/{prefix}{name}", log_freq))
                    for name, parameter in module.named_parameters()
                    if parameter.requires_grad
                ]

    def unwatch(self, models: Any = None) -> None:
        """Remove the hooks of modules; None: all."""
        modules = None if models is None else models if isinstance(models, (list, tuple)) else [models]
        for key in list(self._hooks) if modules is None else [id(module) for module in modules]:
            for hook in self._hooks.pop(key, []):
                hook.remove()

    def _due(self, name: str, log_freq: int) -> bool:
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._counts[name] % log_freq == 0

    def _parameters(self, prefix: str, log_freq: int) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            if self._due(f"parameters/{prefix}", log_freq):
                for name, parameter in module.named_parameters():
                    self._record(f"parameters/{prefix}{name}", parameter)

        return hook

    def _gradient(self, name: str, log_freq: int) -> Callable[[Any], None]:
        def hook(gradient: Any) -> None:
            if self._due(name, log_freq):
                self._record(name, gradient)

        return hook

    def _record(self, name: str, tensor: Any) -> None:
        import numpy as np

        values = tensor.detach()
        values = (values.to_dense() if values.is_sparse else values).float().cpu().numpy().reshape(-1)
        values = values[np.isfinite(values)]
        if not len(values):
            return
        least, most = float(values.min()), float(values.max())
        counts, edges = (
            np.histogram(values, bins=64)
            if most > least
            else (np.array([len(values)]), np.array([least, most]))
        )
        self._log({name: Histogram(np_histogram=(counts, edges))}, commit=False)
