"""What runs read and made: data sets, and models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from .errors import invalid
from .scope import Document, Scope, key_values
from .sent import Sent

CONTEXT: Final = "mlflow.data.context"
"""The tag of an input that says what a data set is for."""

MOST_EXPERIMENTS: Final = 20
MOST_SUMMARIES: Final = 1000
_SUMMARIES: Final = f"""
select distinct case when e.name = 'Default' then '0' else e.id::text end as experiment_id, i.name, i.digest,
    i.tags ->> '{CONTEXT}' as context
from run_inputs i join runs r on r.key = i.run_key join experiments e on e.id = r.experiment_id
where e.workspace = $1 and (e.id::text = any($2::text[]) or (e.name = 'Default' and '0' = any($2::text[])))
order by 1, 2, 3, 4 limit $3
"""
_INPUTS: Final = "select * from run_inputs where run_key = any($1::int8[]) order by id"
_MODELS: Final = "select * from run_models where run_key = any($1::int8[]) order by model_id"
_ADD_INPUT: Final = """
insert into run_inputs (run_key, name, digest, source_type, source, schema, profile, tags)
values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing
"""
_ADD_MODEL: Final = """
insert into run_models (run_key, model_id, made, step) values ($1, $2, $3, $4) on conflict do nothing
"""


async def search(scope: Scope, sent: Sent) -> Document:
    """experiments/search-datasets: the data sets that runs of some experiments have read."""
    ids = sent.texts("experiment_ids")
    if not ids:
        raise invalid("SearchDatasets request must specify at least one experiment_id.")
    if len(ids) > MOST_EXPERIMENTS:
        raise invalid(
            f"SearchDatasets request cannot specify more than {MOST_EXPERIMENTS} experiment_ids. Received {len(ids)} "
            "experiment_ids."
        )
    rows = await scope.pool.fetch(_SUMMARIES, scope.workspace, ids, MOST_SUMMARIES)
    shown = [{name: value for name, value in dict(row).items() if value is not None} for row in rows]
    return {"dataset_summaries": shown}


async def inputs_of(connection: Any, keys: Sequence[int]) -> dict[int, Document]:
    """The inputs of runs, by run key."""
    inputs: dict[int, Document] = {}
    for row in await connection.fetch(_INPUTS, list(keys)):
        data_set = {
            name: row[name] for name in ("name", "digest", "source_type", "source", "schema", "profile")
        }
        inputs.setdefault(row["run_key"], {}).setdefault("dataset_inputs", []).append(
            {
                "dataset": {name: value for name, value in data_set.items() if value is not None},
                "tags": key_values(json.loads(row["tags"])),
            }
        )
    for row in await connection.fetch(_MODELS, list(keys)):
        if not row["made"]:
            inputs.setdefault(row["run_key"], {}).setdefault("model_inputs", []).append(
                {"model_id": row["model_id"]}
            )
    return inputs


async def outputs_of(connection: Any, keys: Sequence[int]) -> dict[int, Document]:
    """The outputs of runs, by run key."""
    outputs: dict[int, Document] = {}
    for row in await connection.fetch(_MODELS, list(keys)):
        if row["made"]:
            outputs.setdefault(row["run_key"], {}).setdefault("model_outputs", []).append(
                {"model_id": row["model_id"], "step": row["step"]}
            )
    return outputs


async def add_inputs(connection: Any, run_key: int, sent: Sent) -> None:
    """Note the data sets and models of runs/log-inputs; what is noted already stays."""
    for given in sent.items("datasets"):
        data_set = given.inner("dataset")
        tags = {tag.text("key", needed=True): tag.text("value") for tag in given.items("tags")}
        await connection.execute(
            _ADD_INPUT,
            run_key,
            data_set.text("name", needed=True),
            data_set.text("digest", needed=True),
            data_set.text("source_type", needed=True),
            data_set.text("source", needed=True),
            data_set.optional("schema"),
            data_set.optional("profile"),
            json.dumps(tags),
        )
    for model in sent.items("models"):
        await connection.execute(_ADD_MODEL, run_key, model.text("model_id", needed=True), False, 0)


async def add_outputs(connection: Any, run_key: int, sent: Sent) -> None:
    """Note the models of runs/outputs."""
    for model in sent.items("models"):
        await connection.execute(
            _ADD_MODEL, run_key, model.text("model_id", needed=True), True, model.integer("step")
        )
