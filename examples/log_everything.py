"""Every kind of thing a run can hold, logged once, and read back.

    python examples/log_everything.py

Needs numpy only.
"""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path

import numpy as np

from runstream.core import Experiment, Run, Workspace


def numbers(run: Run) -> None:
    """Single values, series, whole vectors."""
    run.log("answer", 42)
    run.log("optimizer", "adam")
    run.log("converged", True)
    run.log("not a number", math.nan)
    for step in range(0, 100, 10):
        run.log(
            "loss", math.exp(-step / 30), step=step
        )  # a place in the series; else they are numbered 0, 1 ...
        run.log_metrics({"train/accuracy": 1 - math.exp(-step / 30), "lr": 0.1}, step=step)
    run.log_list("fibonacci", [1, 1, 2, 3, 5, 8])
    run.log_array("sine", np.sin(np.linspace(0, 6.28, 1000)))  # no Python step a point


def tables(run: Run) -> None:
    """Rows, one by one or many at once."""
    for angle in range(0, 360, 45):
        run.log_row("cosine", angle=angle, value=math.cos(math.radians(angle)))
    run.log_table("squares", {"x": [1, 2, 3], "x squared": [1, 4, 9]})


def pictures(run: Run) -> None:
    """Images, from an array here; a matplotlib figure, a PIL image or a file do as well."""
    x, y = np.meshgrid(np.linspace(-2, 2, 64), np.linspace(-2, 2, 64))
    bell = np.exp(-(x**2) - y**2)
    run.log_image("bell", plot=np.uint8(255 * bell))


def reports(run: Run) -> None:
    """Documents the run page draws as charts of their own."""
    matrix = {"class_labels": ["cat", "dog"], "matrix": [[40, 3], [5, 52]]}
    run.log_confusion_matrix(
        "confusion", {"schema_type": "confusion_matrix", "schema_version": "1.0.0", "data": matrix}
    )
    bins = {"bin_edges": [-2.0, -1.0, 0.0, 1.0, 2.0], "bin_counts": [3, 20, 22, 2]}
    run.log_residuals("residuals", {"schema_type": "residuals", "schema_version": "1.0.0", "data": bins})
    averages = {
        "bin_edges": [0.0, 1.0, 2.0],
        "bin_averages": [0.4, 1.6],
        "bin_errors": [0.1, 0.2],
        "bin_counts": [10, 12],
    }
    run.log_predictions(
        "predictions", {"schema_type": "predictions", "schema_version": "1.0.0", "data": averages}
    )
    points = [
        [[9, 1, 8, 2], [7, 0, 9, 4], [0, 0, 9, 11]]
    ]  # true and false positives, true and false negatives
    curves = {
        "class_labels": ["cat"],
        "probability_tables": points,
        "percentile_tables": points,
        "probability_thresholds": [0.0, 0.5, 1.0],
        "percentile_thresholds": [0.0, 0.5, 1.0],
    }
    run.log_accuracy_table(
        "accuracy", {"schema_type": "accuracy_table", "schema_version": "1.0.1", "data": curves}
    )


def labels_and_files(run: Run) -> None:
    """Tags may change, properties may not; files have names of their own."""
    run.tag("stage", "draft")
    run.tag("worth another look")  # no value
    run.set_tags({"stage": "done"})
    run.add_properties({"author": "runstream-user"})
    run.description = "One run with *everything*."
    run.upload_file("notes/hello.txt", BytesIO(b"hello\n"))
    Path("outputs", "model.txt").write_text("weights\n")  # ./outputs is stored when the run ends


def main() -> None:
    """Run the example."""
    run = Experiment(Workspace.from_config(), "log-everything").start_logging(display_name="everything")
    for part in (numbers, tables, pictures, reports, labels_and_files):
        part(run)
    run.complete()

    for name, value in run.get_metrics().items():
        text = repr(value)
        print(f"{name}: {text if len(text) <= 60 else text[:59] + '…'}")
    print("tags:", run.get_tags())
    print("files:", *run.get_file_names())
    print("page:", run.get_portal_url())


if __name__ == "__main__":
    main()
