"""One trial: fits a ridge regression with the `--alpha` it is given."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

from runstream.core import Run

parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float, required=True)
alpha = parser.parse_args().alpha

run = Run.get_context()
x, y = load_diabetes(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0)
model = Ridge(alpha=alpha).fit(x_train, y_train)
mse = mean_squared_error(y_test, model.predict(x_test))
run.log("alpha", alpha)
run.log("mse", mse)
Path("outputs/model.json").write_text(json.dumps({"alpha": alpha, "coefficients": model.coef_.tolist()}))
print(f"alpha {alpha}: mse {mse:.1f}")
