"""The way of a point, step 1 of 10: `Run.log`, and all else a run can record. It goes to the spool and returns at once.

The first record opens the run's writer (`RunHandle._live`). From then on `log` of the instance is the writer's own, with
nothing before it: a point costs one call instead of two (`RunHandle._attach`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runstream_schemas.series import SeriesClass

from ...client.records import as_texts
from ...exceptions import ServiceException
from ...spool.binning import BINS, histogram_text
from ...spool.param_values import convert_params
from ...spool.values import NotADictionary, check_name, convert_step, text_of
from .alerting import checked_alert
from .defining import checked_definition
from .handle import RunHandle
from .starting import author


class Recording(RunHandle):
    """The part of `Run` that records."""

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log one value; about 0.3 µs. Returns before anything is sent, and keeps the point through a `kill -9`.

        Args:
            name: the name of the series, any unicode up to 1,024 bytes of UTF-8, kept byte for byte.
            value: int (64 bits), float, str, bool, None or the like of numpy; anything else is stored as `repr(value)`.
            description: what the metric is. The first one a name comes with is kept; `run show` prints it.
            step: place in the series; default: one more than the last.

        Raises:
            UserErrorException: a list, range or generator (use `log_list`), or a step that is no integer.
            LimitExceeded: a name, text, integer or step that cannot be held.
        """
        self._live().writer.log(name, value, description, step)

    def log_list(self, name: str, value: Iterable[Any], description: str = "") -> None:
        """Log several values of one series, in order. An empty list records nothing.

        Args:
            name: the name of the series.
            value: any iterable, consumed once.
            description: what it is, as of `log`.

        Raises:
            AzureMLException: an element that is no scalar.
            TypeError: not an iterable.
        """
        self._live().writer.log_list(name, value)
        self._live().writer.describe(name, description)

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Append one row to the table `name`.

        Args:
            name: the name of the table.
            description: what the table is, as of `log`; columns cannot be called `name` or `description`.
            **kwargs: column to scalar.

        Raises:
            AzureMLException: a list, or another value that is no scalar.
        """
        self._live().writer.log_row(name, kwargs)
        self._live().writer.describe(name, description)

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """Append rows to the table `name`.

        Args:
            name: the name of the table.
            value: column to list or numpy array; a bare scalar is a list of one.
            description: what it is, as of `log`.

        Raises:
            AzureMLException: columns of different lengths or without values, tuples or ranges, or a value that is no
                scalar. What is no dictionary, or an empty one, is an `AttributeError` too.
        """
        self._live().writer.log_table(name, value)
        self._live().writer.describe(name, description)

    def log_metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log one value of each of several series; about 0.2 µs a point.

        Args:
            values: name to scalar.
            step: the step of all of them; default: each series' next.
        """
        try:
            self._live().writer.log_metrics(values, step)
        except AttributeError:
            if isinstance(values, Mapping):
                raise
            raise NotADictionary(
                f"log_metrics: expected a dictionary of names and values, got {type(values).__name__}"
            ) from None

    def log_array(self, name: str, values: Any, steps: Any = None, times: Any = None) -> None:
        """Log a whole vector of one series, with no per-point Python.

        Args:
            name: the name of the series.
            values: numpy array (or what converts to one) of floats, ints or bools, one dimension.
            steps: integers of the same length; default: the series' next ones.
            times: seconds since the epoch, of the same length; default: now for all.
        """
        self._live().writer.log_array(name, values, steps, times)

    def log_histogram(
        self, name: str, values: Any, step: int | None = None, *, bins: int = BINS, description: str = ""
    ) -> None:
        """Log how values are distributed; of 10,000 some 50 µs. What is sent are the bins, not the values.

        NaN and infinities are counted apart. Of no finite value the histogram has no bins.

        Args:
            name: the name of the series, any unicode up to 1,024 bytes of UTF-8.
            values: numbers, in an array, tensor or list of any shape; or a pair of counts and edges, as
                `numpy.histogram` returns (`min`, `max` and `sum` are then unknown).
            step: place in the series; default: one more than the last.
            bins: how many bins of equal width, from the least value to the greatest; at most 1,024.
            description: what it is, as of `log`.

        Raises:
            UserErrorException: no numbers, counts and edges that do not fit together, or a step that is no integer.
            LimitExceeded: a name or step that cannot be held.
        """
        number = None if step is None else convert_step(name, step)
        check_name("histogram name", name)
        writer = self._live().writer
        writer.typed(SeriesClass.HISTOGRAM, name, [histogram_text(name, values, bins)], number)
        writer.describe(name, description)

    def log_params(self, params: Any, *, overwrite: bool = False) -> None:
        """Log parameters: what the run is made with. Each is written once; the same value again is accepted.

        A value is a bool, int, float, text or None, keeps its type, and is one of numpy's as well; lists, arrays and what is
        within them become a JSON list. Enumerations give their name (those of texts and integers their value), paths, dates,
        classes and all other objects a text.

        Args:
            params: name to value; what is nested is joined with `.`: `{"opt": {"lr": 0.1}}` is `opt.lr`. Also a dataclass, a
                namespace, or an object of OmegaConf or Pydantic.
            overwrite: a parameter that has another value takes this one, and the old one stays in its history.

        Raises:
            UserErrorException: a parameter has another value already, written by this process; a value that cannot be one,
                or two of one name. Nothing is recorded then. Of values that several processes write to one run the first
                holds, and the others are kept and shown as refused.
            LimitExceeded: a name, a value (64 KiB) or a number of them (10,000) that cannot be held. The same.
        """
        self._log_params("log_params", params, overwrite)

    def log_args(self, args: Any, *, overwrite: bool = False) -> None:
        """Log the arguments of a script as parameters, as `log_params` does.

        Args:
            args: what `argparse` has parsed, the configuration of Hydra, or anything else that `log_params` takes.
            overwrite: as of `log_params`.
        """
        self._log_params("log_args", args, overwrite)

    def _log_params(self, call: str, params: Any, overwrite: bool) -> None:
        texts = convert_params(call, params)
        self._live().writer.log_params(texts, overwrite=overwrite, author=author() if overwrite else "")

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        summary: str | None = None,
        goal: str | None = None,
    ) -> None:
        """Say how a metric is looked at: pages and lists go by it. Nothing that is logged changes.

        Args:
            name: the metric's, or with `*` at its end all that begin alike: `val/*`. A metric's own name counts before
                these, of these the longest.
            step_metric: the metric that is their x in charts.
            summary: what of them lists show: `min`, `max`, `mean`, `first`, `last`, `best` (the good end, by the goal) or
                `none` (nothing); several with commas.
            goal: `minimize` or `maximize`: which end is the good one.

        What is not given stays as an earlier definition of the same name has it.

        Raises:
            UserErrorException: an empty name, a `*` within it, another statistic or goal, or what is no string.
            LimitExceeded: a name that cannot be held, or more than 1,000 of them.
        """
        definition = checked_definition(name, step_metric, summary, goal)
        self._live().writer.define_metric(name, definition)

    def alert(self, title: str, text: str = "", level: Any = "INFO") -> None:
        """Tell whoever has to know. It is shown on the run's page; rules of the server send it on (docs/how-to/alerts.md).

        Kept as any record is: it returns before anything is sent, and what was returned from survives a `kill -9`.

        Args:
            title: one line; of more than 250 characters, the beginning.
            text: more of it, as plain text; of more than 5,000 characters, the beginning.
            level: `INFO`, `WARN` or `ERROR`, also as a `wandb.AlertLevel`.

        Raises:
            UserErrorException: a title or text that is no string, an empty title, another level. Nothing is recorded.
        """
        self._live().writer.alert(*checked_alert(title, text, level))

    def tag(self, key: str, value: Any = None) -> None:
        """Set one tag.

        Args:
            key: name; made a string if it is not.
            value: text or None; another type becomes `str(value)`, with a warning.
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any] | str) -> None:
        """Add or change tags; others stay.

        Args:
            tags: name to value; or one name, to have no value.
        """
        live = self._live()
        for key, value in as_texts("tag", {tags: None} if isinstance(tags, str) else tags).items():
            live.writer.tag(key, value)
            self._record.tags[key] = value

    def remove_tags(self, tags: Sequence[str] | str) -> None:
        """Remove tags; names the run does not have are ignored.

        Args:
            tags: names, or one name.
        """
        live = self._live()
        for key in [text_of("tag", key) for key in ([tags] if isinstance(tags, str) else tags)]:
            live.writer.remove_tag(key)
            self._record.tags.pop(key, None)

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties, which can be neither changed nor removed; the same value again is accepted.

        Args:
            properties: name to value, converted as those of tags.

        Raises:
            ServiceException: one of them has another value already (status_code 400); then none is added.
        """
        texts = as_texts("property", properties)
        have = self._known_properties() if texts else {}
        for key, value in texts.items():
            if key in have and have[key] != value:
                raise ServiceException(
                    f"property {key!r} of run {self._id} is {have[key]!r} and properties cannot be changed; "
                    f"use a tag instead of "
                    f"setting it to {value!r}",
                    400,
                )
        live = self._live()
        for key, value in texts.items():
            live.writer.add_property(key, value)
            self._record.properties[key] = value

    def _known_properties(self) -> dict[str, str | None]:
        # Asking would make a training wait for the service: of a run started here, this process knows them itself.
        return self._record.properties if self._started_here else self._refresh().properties
