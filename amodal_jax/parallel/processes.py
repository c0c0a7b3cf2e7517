"""What the processes of one job tell each other on the host. The first of them is the one that keeps and writes.

Every process has to call these functions, in the same order. With one process alone nothing is sent. Values travel as
JSON, which keeps every number as it is.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from amodal_jax import errors
from amodal_jax.errors import AmodalJaxError

T = TypeVar("T")

_BLOCK = 1 << 18  # bytes of each process that travel at once: of one length, for which XLA compiles once


def is_first_process() -> bool:
    """Whether this process is the one that keeps, prints and writes."""
    return jax.process_index() == 0


def synchronise(what: str) -> None:
    """Waits for all processes at this point, where there are several.

    Args:
      what: names the point, in the same words in every process; JAX refuses to go on where they differ.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.int32(flag))))


def gather_on_first_process(items: list[Any]) -> list[Any]:
    """The items of all processes, process after process, on the first one; the others get none.

    Besides its own items no process but the first one ever holds more than a block of each process.
    """
    if jax.process_count() == 1:
        return items
    content = json.dumps(items).encode()
    lengths = multihost_utils.process_allgather(np.array([len(content)])).reshape(-1)
    received = [bytearray() for _ in lengths]
    for start in range(0, int(lengths.max()), _BLOCK):
        blocks = multihost_utils.process_allgather(_block(content, start))
        if is_first_process():
            for text, block in zip(received, blocks, strict=True):
                text += block.tobytes()
    if not is_first_process():
        return []
    return [item for text, length in zip(received, lengths, strict=True) for item in json.loads(text[:length])]


def from_first_process(work: Callable[[], T]) -> T:
    """What `work` returns on the first process, which alone does it while the others wait.

    Raises:
      AmodalJaxError: what `work` raised, on every process.
      Exception: any other error of `work`, on the first process; the others raise an AmodalJaxError with its text.
    """
    if jax.process_count() == 1:
        return work()
    answer: dict[str, Any] = {}
    failure: Exception | None = None
    if is_first_process():
        try:
            answer["value"] = work()
        except Exception as error:
            failure = error
            answer = {"error": type(error).__name__, "message": str(error)}
    answer = json.loads(_broadcast(json.dumps(answer).encode()))
    if failure is not None:
        raise failure
    if "error" in answer:
        kind = getattr(errors, answer["error"], None)
        if isinstance(kind, type) and issubclass(kind, AmodalJaxError):
            raise kind(answer["message"])
        raise AmodalJaxError(f"the first process has failed ({answer['error']}: {answer['message']})")
    return answer["value"]


def on_first_process(work: Callable[[], T]) -> T | None:
    """Has the first process do `work`, and keeps what it returns there; None on the others, which wait.

    Raises:
      Exception: as `from_first_process`.
    """
    kept: list[T] = []
    from_first_process(lambda: kept.append(work()))
    return kept[0] if kept else None


def _broadcast(content: bytes) -> bytes:
    """The first process's content, on every process."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    blocks = [
        multihost_utils.broadcast_one_to_all(_block(content, start)).tobytes() for start in range(0, length, _BLOCK)
    ]
    return b"".join(blocks)[:length]


def _block(content: bytes, start: int) -> np.ndarray:
    part = content[start : start + _BLOCK]
    return np.frombuffer(part.ljust(_BLOCK, b"\0"), np.uint8)
