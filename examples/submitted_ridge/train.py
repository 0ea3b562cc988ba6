"""The submitted script: ridge regressions over a range of alphas. Run by submit.py; also runs by itself, offline."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

from alphas import evenly_spaced  # a module beside this script: the whole folder is copied
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from runstream.core import Run

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--alphas", type=int, default=10, help="how many to try")
parser.add_argument("--most", type=float, default=1.0, help="the largest")
options = parser.parse_args()

run = Run.get_context()
features, target = load_diabetes(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(features, target, test_size=0.2, random_state=0)

outputs = Path("outputs")
outputs.mkdir(exist_ok=True)  # what lies here when the script ends is stored with the run
for alpha in evenly_spaced(options.alphas, options.most):
    model = Ridge(alpha=alpha).fit(train_x, train_y)
    mse = mean_squared_error(test_y, model.predict(test_x))
    run.log("alpha", alpha)
    run.log("mse", mse)
    (outputs / f"ridge_{alpha:.2f}.pkl").write_bytes(pickle.dumps(model))
    print(f"alpha {alpha:.2f}: mean squared error {mse:.1f}")
