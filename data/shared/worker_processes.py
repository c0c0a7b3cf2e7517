"""`map` over processes, for what takes long enough to be worth starting them."""

import functools
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2

from amodal_jax.cli.progress import progress_bar


@contextmanager
def ordered_map(workers: int, *, chunk_size: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Gives a `map` that runs in as many processes, or in this one where that is one; the results come in order.

    Args:
        workers: processes.
        chunk_size: items that go to a process at a time.
    """
    if workers <= 1:
        yield map
        return
    # Started afresh: a fork of a process in which JAX or TensorFlow run threads may hang.
    context = multiprocessing.get_context("spawn")
    with _interrupts_ignored():
        pool = context.Pool(workers, initializer=cv2.setNumThreads, initargs=(1,))
    with pool:
        yield functools.partial(pool.imap, chunksize=chunk_size)


@contextmanager
def map_with_progress(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    description: str,
    workers: int,
    progress: bool,
    unit: str = "image",
    worth_processes: int = 200,
    chunk_size: int = 16,
) -> Iterator[Iterator[Any]]:
    """Gives the results of a function for all items, in order, while a bar counts them.

    Args:
        function: of one item; what can be sent to a process.
        items: each of them.
        description: stands before the bar.
        workers: processes, where there are items enough.
        progress: show the bar.
        unit: what an item is.
        worth_processes: so many items take longer than the seconds in which processes start.
        chunk_size: items that go to a process at a time.
    """
    with (
        ordered_map(workers if len(items) >= worth_processes else 1, chunk_size=chunk_size) as map_in_order,
        progress_bar(
            map_in_order(function, items), total=len(items), description=description, unit=unit, shown=progress
        ) as results,
    ):
        yield iter(results)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal. Those that are started here leave it to this one to end them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
