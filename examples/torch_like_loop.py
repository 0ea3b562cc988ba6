"""A training loop as those of PyTorch are: epochs, batches, validation, checkpoints, the best model kept.

    python examples/torch_like_loop.py [--epochs N] [--submit]

The network is a few lines of numpy, so that nothing needs to be installed; the calls of `run` are those a PyTorch script
makes. With --submit the same file runs in the background, as a submitted script.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runstream.core import Environment, Experiment, Run, ScriptRunConfig, Workspace

Array = NDArray[np.float64]


class Network:
    """Two layers, trained by stochastic gradient descent."""

    def __init__(self, inputs: int, hidden: int, rng: np.random.Generator) -> None:
        self.first: Array = rng.normal(0, inputs**-0.5, (inputs, hidden))
        self.second: Array = rng.normal(0, hidden**-0.5, (hidden, 1))

    def __call__(self, x: Array) -> Array:
        self._x, self._hidden = x, np.tanh(x @ self.first)
        return self._hidden @ self.second

    def step(self, error: Array, lr: float) -> float:
        """Backward pass and update; returns the gradient's norm."""
        back = 2 * error / len(error)
        second = self._hidden.T @ back
        first = self._x.T @ ((back @ self.second.T) * (1 - self._hidden**2))
        self.first -= lr * first
        self.second -= lr * second
        return float(np.sqrt((first**2).sum() + (second**2).sum()))

    def save(self, path: Path) -> None:
        """What `torch.save(model.state_dict(), path)` would do."""
        np.savez(path, first=self.first, second=self.second)


def train(run: Any, epochs: int, batch_size: int, lr: float) -> float:
    """Train and log to a run; the best validation loss."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 8))
    y = np.sin(x[:, :1]) + 0.5 * x[:, 1:2] * x[:, 2:3] + 0.05 * rng.normal(size=(2000, 1))
    train_x, train_y, test_x, test_y = x[:1600], y[:1600], x[1600:], y[1600:]
    model = Network(8, 32, rng)
    outputs = Path("outputs")
    outputs.mkdir(exist_ok=True)  # stored with the run when it ends
    best, step = float("inf"), 0
    for epoch in range(epochs):
        order = rng.permutation(len(train_x))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            error = model(train_x[batch]) - train_y[batch]
            norm = model.step(error, lr)
            # Less than a microsecond, so every batch is logged: no throttling, no averaging.
            run.log("train/loss", float((error**2).mean()), step=step)
            run.log("train/gradient norm", norm, step=step)
            step += 1
        loss = float(((model(test_x) - test_y) ** 2).mean())
        run.log("validation/loss", loss, step=step)
        run.log("lr", lr, step=step)
        print(f"epoch {epoch}: validation loss {loss:.4f}", flush=True)
        if loss < best:
            best = loss
            model.save(outputs / "best.npz")
        lr *= 0.95
    run.log("best validation loss", best)
    run.tag("best", f"{best:.3f}")
    return best


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--submit", action="store_true", help="run this file in the background, and follow it"
    )
    options = parser.parse_args()
    context = Run.get_context()
    if not context.id.startswith("OfflineRun"):  # this is the submitted script
        train(context, options.epochs, 32, 0.05)
        return
    experiment = Experiment(Workspace.from_config(), "torch-like")
    if options.submit:
        environment = Environment("this one")
        environment.python.user_managed_dependencies = True
        run: Run = experiment.submit(
            ScriptRunConfig(
                str(Path(__file__).parent),
                Path(__file__).name,
                ["--epochs", options.epochs],
                environment=environment,
            )
        )
        run.wait_for_completion(show_output=True)
    else:
        with experiment.start_logging(tags={"framework": "numpy"}) as run:
            train(run, options.epochs, 32, 0.05)
    losses = run.get_metrics("train/loss")["train/loss"]
    print(f"{len(losses)} batches, best validation loss {run.get_tags()['best']}")
    print("files:", *run.get_file_names())


if __name__ == "__main__":
    main()
