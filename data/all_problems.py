"""Everything that keeps a source from being converted, told in one run and not the first of forty things."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from amodal_jax.errors import DataError
from data.worker_processes import map_with_progress


def attempt_all(function: Callable[[Any], Any], items: Sequence[Any], **options: Any) -> list[Any]:
    """The results of a function for all items, in order; where it raises a DataError, that.

    Args:
        function: of one item; what can be sent to a process.
        items: each of them.
        **options: of `data.worker_processes.map_with_progress`.
    """
    with map_with_progress(functools.partial(_attempt, function), items, **options) as results:
        return list(results)


def map_all(function: Callable[[Any], Any], items: Sequence[Any], *, source: Path, **options: Any) -> list[Any]:
    """The results of a function for all items, in order, as `attempt_all` takes them.

    Raises:
        DataError: the function raises one for an item; `SeveralErrors` of `source` where it does for more than one.
    """
    results = attempt_all(function, items, **options)
    raise_all(source, errors_among(results))
    return results


def errors_among(results: Sequence[Any]) -> list[DataError]:
    """Those of the results of `attempt_all` that are errors."""
    return [result for result in results if isinstance(result, DataError)]


class SeveralErrors(DataError):
    """Several things that are wrong."""

    errors: tuple[DataError, ...] = ()


def raise_all(source: Path, errors: Sequence[DataError]) -> None:
    """Raises the error, or `SeveralErrors` with the text of all; nothing where there is none."""
    flat = [one for error in errors for one in (error.errors if isinstance(error, SeveralErrors) else (error,))]
    if len(flat) == 1:
        raise flat[0]
    if flat:
        listed = ";\n".join(f"({number}) {one}" for number, one in enumerate(flat, start=1))
        several = SeveralErrors(f"{source}: nothing is written, for {len(flat)} things are wrong:\n{listed}")
        several.errors = tuple(flat)
        raise several


def _attempt(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except DataError as error:
        return error
