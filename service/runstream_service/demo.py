"""`runstream demo`: a real hyperparameter sweep, and where its points can be found afterwards.

Ridge regressions on scikit-learn's diabetes data: 20 values of alpha, each a child run of one parent. A child logs, step by
step, how the errors develop as the training set grows, and stores its model as a file.
"""

from __future__ import annotations

import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstream.client.addresses import quoted
from runstream.core.experiment import Experiment
from runstream.core.workspace import Workspace
from runstream.exceptions import UserErrorException
from runstream.printable import text_table
from runstream_schemas.settings import Settings

if TYPE_CHECKING:
    from runstream.core.run import Run

EXPERIMENT = "demo-ridge-diabetes"
ALPHAS = tuple(
    round(10 ** (-3 + 4 * index / 19), 5) for index in range(20)
)  # 0.001 to 10, evenly in the exponent
_PARQUET_TIMEOUT = 60.0


def main(settings: Settings | None = None, parquet_timeout: float = _PARQUET_TIMEOUT) -> int:
    """Run the sweep and print what came of it.

    Args:
        settings: which service to ask; default: the environment's.
        parquet_timeout: seconds to wait until the sweep's points are in Parquet files.

    Returns:
        Exit status.

    Raises:
        UserErrorException: scikit-learn is missing.
        ServiceException: the service is away.
    """
    _check_sklearn()
    settings = settings or Settings.load()
    workspace = Workspace(workspace_name=settings.workspace, _settings=settings)
    began = time.perf_counter()
    parent = sweep(workspace)
    spent = time.perf_counter() - began
    print(
        f"{len(ALPHAS)} runs and their parent took {spent:.1f} s. Waiting until the service has stored them ...",
        flush=True,
    )
    best = show_runs(parent)
    print(
        f"\nBest: alpha = {best['alpha']:g}, mean squared error {best['mse']:.1f} on the test set, run {best['run_id']}"
    )
    show_places(workspace, parent, parquet_timeout)
    show_page(workspace, parent)
    return 0


def sweep(workspace: Workspace) -> Run:
    """The sweep: a parent run with a child for each of `ALPHAS`.

    Returns:
        The parent, completed.
    """
    with tempfile.TemporaryDirectory(prefix="runstream-demo-") as scratch:
        parent = Experiment(workspace, EXPERIMENT).start_logging(
            outputs=False,
            snapshot_directory=None,
            tags={"dataset": "diabetes", "model": "ridge"},
            description="Ridge regression on scikit-learn's diabetes data, 20 alphas",
        )
        try:
            best_alpha, best_mse = 0.0, float("inf")
            for alpha in ALPHAS:
                child = parent.child_run(f"alpha {alpha:g}")
                child.tag("alpha", f"{alpha:g}")
                mse = train(child, alpha, Path(scratch))
                child.complete()
                parent.log("alpha", alpha)
                parent.log("mse", mse)
                if mse < best_mse:
                    best_alpha, best_mse = alpha, mse
            parent.tag("best_alpha", f"{best_alpha:g}")
            parent.complete()
        except BaseException as error:
            parent.fail(error)
            raise
    return parent


def train(run: Run, alpha: float, scratch: Path) -> float:
    """Fit on growing parts of the training set, log each step, store the last model.

    Args:
        run: where to log.
        alpha: strength of the regularisation.
        scratch: directory for the model's file.

    Returns:
        Mean squared error on the test set with all training data.
    """
    import joblib
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
    from sklearn.model_selection import train_test_split

    features, target = load_diabetes(return_X_y=True)
    features, test_features, target, test_target = train_test_split(
        features, target, test_size=0.2, random_state=0
    )
    run.log("alpha", alpha)
    mse = float("nan")
    model: Any = None
    for rows in range(23, len(features) + 1, 6):
        model = Ridge(alpha=alpha).fit(features[:rows], target[:rows])
        guess = model.predict(test_features)
        mse = float(mean_squared_error(test_target, guess))
        run.log_metrics(
            {
                "mse": mse,
                "mae": float(mean_absolute_error(test_target, guess)),
                "r2": float(r2_score(test_target, guess)),
                "train_mse": float(mean_squared_error(target[:rows], model.predict(features[:rows]))),
            },
            step=rows,
        )
    for name, weight in zip(load_diabetes().feature_names, model.coef_, strict=True):
        run.log_row("coefficients", feature=name, weight=float(weight))
    file = scratch / f"ridge_{alpha:g}.pkl"
    joblib.dump(model, file)
    run.upload_file(f"outputs/{file.name}", file)
    return mse


def show_runs(parent: Run) -> dict[str, Any]:
    """Print the table of the sweep's runs, best first, and return the best one's row."""
    parent.flush(60)
    metrics = parent.get_metrics(recursive=True)
    children = {child.id: child for child in parent.get_children()}
    rows = sorted(
        (
            {
                "alpha": metrics[run_id]["alpha"],
                "mse": metrics[run_id]["mse"][-1],
                "r2": metrics[run_id]["r2"][-1],
                "steps": len(metrics[run_id]["mse"]),
                "status": child.status,
                "run_id": run_id,
            }
            for run_id, child in children.items()
        ),
        key=lambda row: row["mse"],
    )
    print("\n" + text_table(list(rows[0]), [tuple(row.values()) for row in rows]))
    return rows[0]


def show_places(workspace: Workspace, parent: Run, parquet_timeout: float) -> None:
    """Print where to look next, the Parquet files when they are there."""
    store = workspace._settings.store_url
    where = _where(workspace)
    print("\nWhere to look next")
    address = workspace._client.address()
    token = f'-H "Authorization: Bearer $(cat {_shell(str(workspace._settings.home_path / "token"))})" '
    local = address.token and not workspace._settings.url
    print(f"  API       curl {token if local else ''}{address.url}/api/v1/runs/{parent.id}")
    sql = (
        f"select run_id, arg_max(value, step) as r2 from metrics where experiment = '{EXPERIMENT}' and name = 'r2' "
        "group by run_id order by r2 desc limit 3"
    )
    print(f'  SQL       {_program("runstream")} sql {where}"{sql}"')
    print(f"  Python    runstream.query.runs(experiment='{EXPERIMENT}').to_pandas()")
    if "://" in store or workspace._settings.url:
        place = "the server's store" if workspace._settings.url else store
        print(
            f"  Parquet   {place}, below metrics/: a minute after a run's end, or now with `runstream compact`"
        )
        return
    folder = Path(store, "metrics")
    points = _wait_for_parquet(folder, parent, parquet_timeout)
    if points is None:
        print(f"  Parquet   {folder}: not there yet; `runstream compact` writes it now")
        return
    print(f"  Parquet   {folder} ({points} points of this sweep)")
    query = f'select name, count(*), min(value), max(value) from "{folder}/**/*.parquet" group by name order by name'
    print(f'  DuckDB    {_program("python")} -c \'import duckdb; duckdb.sql("""{query}""").show()\'')


def show_page(workspace: Workspace, parent: Run) -> None:
    """Print the sweep's page: a click opens it."""
    print(f"\nLook at it: {workspace._client.page(f'/runs/{quoted(parent.id)}')}")
    print(f"       later: {_program('runstream')} open {_where(workspace)}{parent.id}")


def _where(workspace: Workspace) -> str:
    return "--home " + _shell(workspace._settings.home) + " " if workspace._settings.home else ""


def _wait_for_parquet(folder: Path, parent: Run, timeout: float) -> int | None:
    """Points of the sweep in Parquet files, once all of them are there; None when they do not come in time."""
    import duckdb

    logged = _points(parent)
    deadline = time.monotonic() + timeout
    if sys.stderr.isatty():
        print("  Parquet   ... being written", end="\r", flush=True, file=sys.stderr)
    while True:
        stored = 0
        if any(folder.rglob("*.parquet")):
            ids = [parent.id, *(child.id for child in parent.get_children())]
            try:
                with duckdb.connect() as connection:
                    row = connection.execute(
                        "select count(*) from read_parquet(?) where run_id in (select unnest(?))",
                        [f"{folder}/**/*.parquet", ids],
                    ).fetchone()
                stored = row[0] if row else 0
            except duckdb.Error:
                stored = 0  # a file was merged into a larger one between listing and reading
        if stored >= logged:
            return stored
        if time.monotonic() > deadline:
            return None
        time.sleep(0.5)


def _points(parent: Run) -> int:
    from runstream.client.reading import fetch_metrics

    metrics = fetch_metrics(parent._client, [parent.id], recursive=True)
    return sum(len(part.values) for series in metrics.values() for part in series if part.column == "")


def _check_sklearn() -> None:
    if find_spec("sklearn") is None:
        raise UserErrorException(
            "the demo trains with scikit-learn, which is not installed; run `pip install 'runstream[demo]'`"
        )


def _program(name: str) -> str:
    """How a shell here calls a program of this environment, which may not be on the PATH."""
    import shutil

    own = Path(sys.executable).with_name(name)
    installed = shutil.which(name)
    if not own.exists() or (installed and Path(installed).absolute() == own):
        return name
    if own.is_relative_to(Path.cwd()):
        own = own.relative_to(Path.cwd())
    return _shell(str(own))


def _shell(text: str) -> str:
    import shlex

    return shlex.quote(text)
