"""The children of a run: started below it, and found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from runstream_schemas.errors import brief

from ...client.reading import settle
from ...client.records import (
    Filter,
    Moment,
    RunRecord,
    Statuses,
    as_texts,
    check_filters,
    fits,
    list_records,
    run_params,
)
from ...exceptions import UserErrorException
from .handle import RunHandle, text_or_none

_MOST_CHILDREN = 10_000
_RunType = TypeVar("_RunType")


class Children(RunHandle, Generic[_RunType]):
    """The part of `Run` that is about the runs below it, which are runs as it is."""

    def _start_child(
        self,
        name: str,
        *,
        display_name: str | None = None,
        run_id: str | None = None,
        outputs: Any = None,
        tags: Mapping[str, Any] | None = None,
    ) -> _RunType:
        raise NotImplementedError

    def _of_record(self, record: RunRecord) -> _RunType:
        raise NotImplementedError

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: Any = None) -> _RunType:
        """Start a run below this one, whatever this one's status.

        Args:
            name: appended to this run's name, and its name for people; default three words made up.
            run_id: its id; default a new uuid4.
            outputs: directories collected when it ends; default none.
        """
        name = text_or_none("name", name)
        return self._start_child(
            f"{self._record.name or 'run_' + self._id}>{name or ''}",
            display_name=name,
            run_id=run_id,
            outputs=outputs,
        )

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Sequence[Any] | None = None
    ) -> list[_RunType]:
        """Start several runs below this one.

        Args:
            count: how many, 0 to 10,000; each gets its number from 0 as tag `azureml.batch_child_number`.
            tag_key: instead of `count`: a tag each gets,
            tag_values: with these values, one child a value.

        Raises:
            UserErrorException: both or neither way, half of the second, or more than 10,000 (the original: 100).
        """
        if (count is None) == (tag_key is None and tag_values is None) or (tag_key is None) != (
            tag_values is None
        ):
            raise UserErrorException("create_children takes either count, or tag_key and tag_values together")
        if count is not None:
            if not isinstance(count, int):
                raise UserErrorException(f"create_children: count={brief(count)}: expected a whole number")
            tag_key, tag_values = "azureml.batch_child_number", range(max(0, min(count, _MOST_CHILDREN + 1)))
        assert tag_key is not None
        assert tag_values is not None
        number = len(tag_values) if count is None else count
        if not 0 <= number <= _MOST_CHILDREN:
            raise UserErrorException(
                f"create_children makes 0 to {_MOST_CHILDREN:,} children at once, not {number:,}; call it several times"
            )
        each = [
            as_texts("tag", {tag_key: str(value) if count is not None else value}) for value in tag_values
        ]
        name = f"{self._record.name or 'run_' + self._id}>"
        return [self._start_child(name, tags=tags) for tags in each]

    def get_children(
        self,
        recursive: bool = False,
        tags: Filter = None,
        properties: Filter = None,
        type: str | None = None,
        status: Statuses = None,
        _rehydrate_runs: bool = True,
        *,
        started_from: Moment = None,
        started_to: Moment = None,
    ) -> Iterator[_RunType]:
        """The runs below this one, newest start first, fetched as they are asked for.

        Args:
            recursive: all descendants; below a run that has a parent itself they come depth first.
            tags: a tag's name, or a dictionary of names and values that must all match.
            properties: the same for properties.
            type: only of this type, or with it as property `azureml.runsource`.
            status: only in this status, or in one of these.
            started_from: started at this time or later: a datetime or ISO 8601 text; one without a zone is UTC.
            started_to: started before this time.

        Raises:
            ValueError: a filter of another type, or an unknown status (at the call).
            ServiceException: a time that cannot be read (status_code 400), or the service is away (when iterating).
        """
        check_filters(tags, properties, status)
        filters = run_params(tags, properties, type, status, started_from, started_to)
        inner = recursive and self._record.parent_run_id is not None

        def children() -> Iterator[_RunType]:
            settle(self._client)
            records = list_records(
                self._client, [("ancestor" if recursive else "parent", self._id), *filters]
            )
            if inner:  # depth first: the way to a run that fits may lead over others
                chosen = {record.run_id for record in records}
                everyone = list(list_records(self._client, [("ancestor", self._id)]))
                records = (record for record in _depth_first(everyone, self._id) if record.run_id in chosen)
            for record in records:
                if fits(record, tags, properties, type, status):
                    yield self._of_record(record)

        return children()


def _depth_first(records: list[RunRecord], root: str) -> Iterator[RunRecord]:
    children: dict[str | None, list[RunRecord]] = {}
    for record in records:
        children.setdefault(record.parent_run_id, []).append(record)
    waiting = children.get(root, [])[::-1]
    while waiting:
        record = waiting.pop()
        yield record
        waiting.extend(reversed(children.get(record.run_id, [])))
