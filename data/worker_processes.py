"""`map` over processes, for what takes long enough to be worth starting them."""

import functools
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2


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
