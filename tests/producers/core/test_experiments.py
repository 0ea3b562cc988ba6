"""What can be changed of an experiment: tags, archive, deletion."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from runstream.core import Experiment, Run, Workspace
from runstream.core.experiment import ViewType
from runstream.exceptions import ServiceException, UserErrorException
from runstream_service.servers.postgres import PostgresServer


def names(workspace: Workspace, **options: object) -> list[str]:
    return [experiment.name for experiment in Experiment.list(workspace, **options)]  # type: ignore[arg-type]


def test_tags(experiment: Experiment) -> None:
    experiment.set_tags({"team": "a", "rank": 1, "ключ с пробелом": 'x "y"'})
    experiment.tag("bare")
    experiment.set_tags("word")
    experiment.remove_tags(["team", "unknown"])
    experiment.remove_tags("word")
    expected = {"rank": "1", "ключ с пробелом": 'x "y"', "bare": None}
    assert experiment.tags == expected
    assert Experiment(experiment.workspace, experiment.name).tags == expected
    for tags in ("bare", {"rank": 1}, {"bare": None}):
        assert names(experiment.workspace, tags=tags) == ["test"]
    assert names(experiment.workspace, tags={"rank": "2"}) == []


def test_archive_and_reactivate(experiment: Experiment) -> None:
    workspace = experiment.workspace
    run = experiment.start_logging(outputs=False)
    run.complete()
    experiment.archive()
    assert experiment.archived_time is not None
    assert names(workspace) == []
    assert list(workspace.experiments) == []
    assert names(workspace, view_type=ViewType.ArchivedOnly) == names(workspace, view_type="All") == ["test"]
    assert [run.id for run in experiment.get_runs()] == [run.id]
    with pytest.raises(UserErrorException, match="keeps its name"):
        experiment.reactivate(new_name="other")
    experiment.reactivate()
    assert experiment.archived_time is None
    assert names(workspace) == ["test"]


def test_only_an_empty_one_is_deleted(experiment: Experiment) -> None:
    workspace = experiment.workspace
    experiment.start_logging(outputs=False).complete()
    empty = Experiment(workspace, "empty")
    Experiment.delete(workspace, empty.id)
    assert names(workspace) == ["test"]
    with pytest.raises(UserErrorException, match="no experiment has the id"):
        Experiment.delete(workspace, empty.id)
    assert len(list(experiment.get_runs())) == 1
    with pytest.raises(ServiceException, match="has runs") as refused:
        Experiment.delete(workspace, experiment.id)
    assert refused.value.status_code == 409


def test_a_run_of_which_only_points_are_stored_can_be_read(experiment: Experiment, served_home: Path) -> None:
    """Points and statuses come by two topics: a run may be there before its experiment is known."""

    async def insert() -> None:
        connection = await asyncpg.connect(PostgresServer(served_home / "postgres").dsn)
        try:
            await connection.execute("insert into runs (run_id) values ('only-points')")
        finally:
            await connection.close()

    asyncio.run(insert())
    workspace = experiment.workspace
    for run in (workspace.get_run("only-points"), Run.get(workspace, "only-points")):
        assert (run.id, run.get_status(), run.experiment.name) == ("only-points", "NotStarted", "")
        assert run.get_metrics() == {}
        assert run.get_tags() == {}
        assert list(run.get_children()) == []
        assert run.get_details()["runId"] == "only-points"
    fork = experiment.start_logging(snapshot_directory=None, fork_from=("only-points", 5))
    fork.complete()
    assert fork.get_status() == "Completed"
