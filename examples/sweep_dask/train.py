"""One trial: fits a ridge regression with the `--alpha` it is given."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from runstream.core import Run

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, required=True)
alpha = parser.parse_args().alpha

run = Run.get_context()
rng = np.random.default_rng(0)
x = rng.normal(size=(60, 40))
y = x @ rng.normal(size=40) + 3 * rng.normal(size=60)
(x_train, x_test), (y_train, y_test) = np.split(x, 2), np.split(y, 2)
weights = np.linalg.solve(x_train.T @ x_train + alpha * np.eye(40), x_train.T @ y_train)
mse = float(np.mean((x_test @ weights - y_test) ** 2))
run.log("mse", mse)
Path("outputs/model.json").write_text(json.dumps({"alpha": alpha, "weights": weights.tolist()}))
print(f"alpha {alpha}: mse {mse:.1f}")
