"""Managing runs: states, children, tags, properties and queries.

python examples/manage_runs.py
"""

from __future__ import annotations

from runstream.core import Experiment, Run, Workspace
from runstream.exceptions import ServiceException


def states(experiment: Experiment) -> None:
    """The ways a run ends."""
    good = experiment.start_logging(outputs=False, display_name="good")
    good.log("accuracy", 0.9)
    good.complete()
    print(good.get_status())

    with experiment.start_logging(outputs=False, display_name="also good") as run:  # completes by itself
        run.log("accuracy", 0.8)
    print(run.get_status())

    bad = experiment.start_logging(outputs=False, display_name="bad")
    bad.fail(error_details="the data are missing", error_code="NoData")
    print(bad.get_status(), bad.get_details()["error"])

    given_up = experiment.start_logging(outputs=False, display_name="given up")
    given_up.cancel()
    print(given_up.get_status())


def children(experiment: Experiment) -> None:
    """A parent with children, each with metrics of its own."""
    with experiment.start_logging(outputs=False, display_name="parent") as parent:
        for number, child in enumerate(parent.create_children(count=3)):
            child.log("loss", 1.0 / (number + 1))
            child.complete()
        with parent.child_run("one more") as child:
            child.log("loss", 0.1)
    for child in parent.get_children():
        print(child.id, child.tags, child.status)
    print(parent.get_metrics(recursive=True))


def tags_and_queries(experiment: Experiment) -> None:
    """Mark runs, and find them again."""
    run = experiment.start_logging(outputs=False)
    run.add_properties({"author": "runstream-user"})
    try:
        run.add_properties({"author": "somebody else"})
    except ServiceException as error:
        print("properties stay:", error.message)
    run.tag("quality", "fantastic run")
    run.tag("worth another look")
    run.complete()
    runs: list[Run] = list(
        experiment.get_runs(properties={"author": "runstream-user"}, tags={"quality": "fantastic run"})
    )
    print(len(runs), "fantastic, newest:", runs[0].id)
    print(len(list(experiment.get_runs(tags="worth another look"))), "worth another look")


if __name__ == "__main__":
    here = Experiment(Workspace.from_config(), "manage-runs")
    states(here)
    children(here)
    tags_and_queries(here)
