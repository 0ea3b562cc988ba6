"""MLflow's search: filters, orders and pages."""

from __future__ import annotations

import math
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what MLflow imports
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException
from tests.compat.conftest import NOW

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("metrics.loss < 1.5", ["a", "b"]),
        ("metrics.`val loss` = 3 AND params.lr = '0.1'", ["b"]),
        ('params."lr" != "0.1"', ["c"]),
        ("params.missing IS NULL and tags.team IS NOT NULL", ["a"]),
        ("tags.team ILIKE 'RED%'", ["a"]),
        ("attributes.status = 'FINISHED'", ["a", "b"]),
        ("status != 'FINISHED'", ["c"]),
        ("run_name IN ('a')", None),
        ("attributes.run_name LIKE '_'", ["a", "b", "c"]),
        ("metrics.loss > 0.5 OR metrics.loss < 0.1", None),
        ("metrics.loss > 'x'", None),
        ("metrics.loss >", None),
        ("nothing.loss > 1", None),
    ],
)
def test_filters(client: MlflowClient, text: str, names: list[str] | None) -> None:
    for at, (name, lr, loss) in enumerate((("a", "0.1", 0.5), ("b", "0.1", 1.0), ("c", "0.2", 2.0))):
        run_id = client.create_run(
            "0", run_name=name, start_time=NOW - at, tags={"team": "red 1"} if not at else {}
        ).info.run_id
        client.log_batch(
            run_id, [Metric("loss", loss, NOW, 0), Metric("val loss", 3.0 * at, NOW, 0)], [Param("lr", lr)]
        )
        if name != "c":
            client.set_terminated(run_id)
    if names is None:
        with pytest.raises(MlflowException) as refused:
            client.search_runs(["0"], text)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    else:
        assert [run.info.run_name for run in client.search_runs(["0"], text)] == names


def test_orders_and_pages(client: MlflowClient) -> None:
    values = [1.0, math.nan, None, 3.0, 2.0]
    ids = []
    for at, value in enumerate(values):
        run_id = client.create_run("0", start_time=NOW + at, run_name=str(at)).info.run_id
        ids.append(run_id)
        if value is not None:
            client.log_metric(run_id, "m", value)
    for order, places in (
        (["metrics.m"], [0, 4, 3, 1, 2]),
        (["metrics.m DESC"], [3, 4, 0, 1, 2]),
        ([], [4, 3, 2, 1, 0]),
    ):
        pages, token = [], None
        while True:
            page = client.search_runs(["0"], order_by=order, max_results=2, page_token=token)
            pages += [run.info.run_id for run in page]
            if not (token := page.token):
                break
        assert pages == [ids[at] for at in places], order
