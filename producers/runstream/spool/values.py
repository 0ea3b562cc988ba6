"""Which Python values can be logged, and as what: the table of B.1 of the Azure ML SDK, with its traps mended.

Mended: numpy integers of every width are integers (the original logs `np.int64` as the text 'np.int64(5)');
0-dimensional arrays and everything with `.item()` of a scalar (a torch tensor of one element) count as their value.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runstream_schemas import errors, limits
from runstream_schemas.errors import brief
from runstream_schemas.series import Kind

from ..exceptions import AzureMLException, LimitExceeded, UserErrorException

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def check_name(what: str, name: object) -> str:
    """As `runstream_schemas.limits.check_name`, with an error that is a `UserErrorException` too."""
    try:
        return limits.check_name(what, name)
    except errors.LimitExceeded as error:
        raise LimitExceeded(str(error)) from None


def is_name(name: str) -> bool:
    """Whether `check_name` takes it."""
    try:
        limits.check_name("name", name)
    except errors.LimitExceeded:
        return False
    return True


def check_text(what: str, value: object) -> str:
    """As `runstream_schemas.limits.check_text`, with an error that is a `UserErrorException` too; for any object.

    Raises:
        UserErrorException: no text.
        LimitExceeded: too long, or not valid unicode.
    """
    if not isinstance(value, str):
        raise UserErrorException(f"{what}: expected a text, got {type(value).__name__}; pass str(...)")
    try:
        return limits.check_text(what, str.__str__(value))  # not what a class of one's own makes of it
    except errors.LimitExceeded as error:
        raise LimitExceeded(str(error)) from None


def text_of(what: str, value: object) -> str:
    """`str(value)`, as a plain text.

    Raises:
        UserErrorException: it cannot be shown.
    """
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return str.__str__(str(value))
    except Exception as error:
        raise UserErrorException(
            f"{what}: {type(value).__name__} cannot be made a text ({type(error).__name__}); convert it first"
        ) from None


def check_int(what: str, value: int) -> int:
    """As `runstream_schemas.limits.check_int`, with an error that is a `UserErrorException` too."""
    try:
        return limits.check_int(what, value)
    except errors.LimitExceeded as error:
        raise LimitExceeded(str(error)) from None


def convert(where: str, value: Any, *, fallback: bool) -> tuple[Kind, Any]:
    """The kind of `value` and the value as float, int, bool, str or None.

    Args:
        where: the call, for errors.
        fallback: log what is no scalar as its `repr`, as `Run.log` does; else refuse it.

    Raises:
        UserErrorException: a list, range or generator given to `log`.
        AzureMLException: no scalar, and no fallback.
        LimitExceeded: an integer beyond 64 bits, a text beyond the limit.
    """
    if type(value) is float:
        return Kind.FLOAT, value
    if isinstance(value, bool):
        return Kind.BOOL, value
    if isinstance(value, int):
        return Kind.INT, check_int(where, int(value))
    if isinstance(value, str):
        return Kind.TEXT, check_text(where, value)
    if value is None:
        return Kind.NULL, None
    if isinstance(value, float):
        return Kind.FLOAT, float(value)
    scalar = _item(value)
    if scalar is not None:
        return convert(where, scalar, fallback=fallback)
    if not fallback:
        raise AzureMLException(
            f"{where}: Value of type {type(value).__name__} is not supported: {brief(value)}"
            "; convert it first"
        )
    if isinstance(value, (list, range)) or inspect.isgenerator(value) or inspect.isgeneratorfunction(value):
        raise UserErrorException(f"{where}: a {type(value).__name__} is not a single value; use log_list()")
    return Kind.TEXT, check_text(where, _repr(where, value))


def _repr(where: str, value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        raise UserErrorException(
            f"{where}: {type(value).__name__} is no scalar and cannot be shown ({type(error).__name__})"
            "; log numbers or texts"
        ) from None


def convert_step(name: str, step: Any) -> int:
    """A step as int.

    Raises:
        UserErrorException: no integer.
        LimitExceeded: beyond 64 bits.
    """
    try:
        number = int(step)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserErrorException(
            f"log({brief(name)}): step {brief(step)} is no integer ({error}); give a whole number"
        ) from None
    if not isinstance(step, str) and number != step:  # 2.0 and the like of numpy are integers, 2.5 is none
        raise UserErrorException(
            f"log({brief(name)}): step {brief(step)} is no integer; "
            "log the fraction as a metric of its own, or pass round(step)"
        )
    return check_int(f"log({name!r}): step", number)


def convert_array(
    name: str, values: ArrayLike, steps: ArrayLike | None, times: ArrayLike | None
) -> tuple[Kind, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """The kind of an array, and its values, steps and times as columns of 64 bits; see `RunWriter.log_array`.

    Raises:
        UserErrorException: shapes that differ, or a type that is not a number.
        LimitExceeded: an integer beyond 64 bits.
    """
    import numpy as np

    data = np.asarray(values)
    if data.ndim != 1:
        raise UserErrorException(
            f"log_array({brief(name)}): values have shape {data.shape}, expected one dimension; use .ravel()"
        )
    if data.dtype.kind == "b":
        kind, data = Kind.BOOL, data.astype(np.int64)
    elif data.dtype.kind in "iu":
        if data.dtype == np.uint64 and len(data) and int(data.max()) > 2**63 - 1:
            check_int(f"log_array({brief(name)})", int(data.max()))
        kind, data = Kind.INT, data.astype(np.int64, copy=False)
    elif data.dtype.kind == "f" and data.dtype.itemsize <= 8:
        kind, data = Kind.FLOAT, data.astype(np.float64, copy=False)
    else:
        raise UserErrorException(
            f"log_array({brief(name)}): values of type {data.dtype} are no numbers of at most 64 bits"
            "; convert them first"
        )
    given_steps = None if steps is None else np.ascontiguousarray(steps)
    if given_steps is not None and given_steps.dtype.kind not in "iu" and len(given_steps):
        raise UserErrorException(
            f"log_array({brief(name)}): steps of type {given_steps.dtype} are no integers; use .astype(int)"
        )
    given_times = None if times is None else np.ascontiguousarray(times, dtype=np.float64)
    for what, column in (("steps", given_steps), ("times", given_times)):
        if column is not None and column.shape != data.shape:
            raise UserErrorException(
                f"log_array({brief(name)}): {len(data)} values but {what} of shape {column.shape}"
                "; give as many of each"
            )
    if given_times is not None and not np.isfinite(given_times).all():
        raise UserErrorException(
            f"log_array({brief(name)}): times hold NaN or infinity; expected seconds since the epoch"
        )
    if given_times is not None:
        given_times = np.clip(given_times, limits.TIME_MIN_US / 1e6, limits.TIME_MAX_US / 1e6)
    return (
        kind,
        np.ascontiguousarray(data),
        None if given_steps is None else given_steps.astype(np.int64),
        given_times,
    )


def convert_row(name: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row as float, int, bool, str or None.

    Raises:
        AzureMLException: a value that is no scalar.
    """
    row = {}
    for column, value in columns.items():
        check_name(f"column of {brief(name)}", column)
        if isinstance(value, (list, tuple)):
            raise AzureMLException(
                f"row of {name!r}, column {column!r}: Rows cannot contain list values; use log_table()"
            )
        row[column] = convert(f"row of {name!r}, column {column!r}", value, fallback=False)[1]
    return row


class NotADictionary(AzureMLException, AttributeError):
    """What was given as a table, tags or properties is no dictionary; also an `AttributeError`, as in the original."""


def convert_table(name: str, columns: Any) -> dict[str, list[Any]]:
    """The columns of a table, of equal length, with values as float, int, bool, str or None.

    A column is a list or a numpy array of one dimension; a bare scalar is a column of one value.

    Raises:
        NotADictionary: not a mapping, or an empty one.
        AzureMLException: columns of different lengths or without values, of another type, or a value that is no scalar.
    """
    where = f"log_table({brief(name)})"
    if not isinstance(columns, Mapping) or not columns:
        given = "an empty one" if isinstance(columns, Mapping) else type(columns).__name__
        remedy = "; pass frame.to_dict('list')" if hasattr(columns, "to_dict") else ""
        raise NotADictionary(f"{where}: expected a dictionary of column name to list, got {given}{remedy}")
    table: dict[str, list[Any]] = {}
    for column, values in columns.items():
        check_name(f"column of {brief(name)}", column)
        if hasattr(values, "tolist") and getattr(values, "ndim", 0) == 1:
            values = values.tolist()
        elif isinstance(values, (tuple, range)) or getattr(values, "ndim", 0) > 0:
            raise AzureMLException(
                f"{where}, column {column!r}: Value of type {type(values).__name__} is not supported; pass list(...)"
            )
        place = f"{where}, column {column!r}"
        table[column] = []
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, (list, tuple)):
                raise AzureMLException(
                    f"{place}: Rows cannot contain list values; make them columns of their own"
                )
            table[column].append(convert(place, value, fallback=False)[1])
    sizes = {column: len(values) for column, values in table.items()}
    if len(set(sizes.values())) > 1:
        raise AzureMLException(
            f"{where}: Columns must have the same length, got {sizes}; give each as many values"
        )
    if not any(sizes.values()):
        raise AzureMLException(
            f"{where}: the columns {', '.join(table)} have no values; log at least one row"
        )
    return table


def _item(value: Any) -> float | int | bool | str | None:
    """The Python scalar in a numpy scalar, 0-d array or one-element tensor; None for anything else."""
    if getattr(value, "shape", None) != () and type(value).__module__ != "numpy":
        return None
    if getattr(value, "ndim", 1) != 0 or not hasattr(value, "item"):
        return None
    scalar = value.item()
    if isinstance(scalar, (float, int, bool, str)):
        return scalar
    if type(value).__name__ in ("float128", "longdouble"):
        return float(value)
    return None
