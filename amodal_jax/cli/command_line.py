"""What every script shares: a failure the user can mend is one line on stderr and a non-zero exit."""

import argparse
import contextlib
import errno
import functools
import logging
import os
import platform
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from amodal_jax.cli.launcher import find_launch
from amodal_jax.cli.libraries import silence_libraries
from amodal_jax.errors import AmodalJaxError, ConfigError

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there, then run the same command again"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a folder is needed where a file is; name another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change the permissions there, or name another place"),
}


# What the signals that end a script have it say and exit with.
_ENDS: dict[int, tuple[str, int]] = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}

_SEND_AGAIN_AFTER = 0.01  # seconds

# How JAX tells that a device's memory is full, for which it has no exception of its own.
_EXHAUSTED = "RESOURCE_EXHAUSTED"


class _Terminated(BaseException):
    """SIGTERM, which ends a script as Ctrl-C does: what it has half done is taken away on the way out."""


def run(main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and exits with what it returns (None is 0).

    An `AmodalJaxError`, an operating-system error (a full disk, a missing permission) or a lack of memory is printed as
    one line `error: ...` and exits with 1; Ctrl-C exits with 130, SIGTERM with 143, and an output that
    nobody reads any more, silently, with 141. Anything else is a defect of the package, and keeps its traceback.
    """
    with importing():
        silence_libraries()
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    usual = signal.signal(signal.SIGTERM, _terminate)
    usual_hook = sys.unraisablehook
    sys.unraisablehook = functools.partial(_send_again, usual_hook)
    try:
        status = main()
        sys.stdout.flush()
    except AmodalJaxError as error:
        _fail(str(error), 1)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _output_is_broken():
            sys.exit(141)
        _fail(_describe(error), 1)
    except MemoryError as error:
        _fail(f"out of memory: {error}", 1)
    except RuntimeError as error:
        if _EXHAUSTED not in str(error):
            raise
        _fail(f"out of memory on the device ({str(error).splitlines()[0]}); take smaller batches or images", 1)
    except KeyboardInterrupt:
        _fail(*_ENDS[signal.SIGINT])
    except _Terminated:
        _fail(*_ENDS[signal.SIGTERM])
    finally:
        signal.signal(signal.SIGTERM, usual)
        sys.unraisablehook = usual_hook
    sys.exit(status or 0)


def _output_is_broken() -> bool:
    """Whether the reader of stdout, such as `head`, has seen enough and left; what it has not read is then dropped."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    broken = any(event & select.POLLERR for _, event in output.poll(0))
    if broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return broken


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _send_again(usual: Callable[[Any], Any], unraisable: Any) -> None:
    """Sends a signal again whose exception was lost, as in a callback of the garbage collector."""
    kinds = {KeyboardInterrupt: signal.SIGINT, _Terminated: signal.SIGTERM}
    if unraisable.exc_type not in kinds:
        usual(unraisable)
        return
    timer = threading.Timer(_SEND_AGAIN_AFTER, os.kill, (os.getpid(), kinds[unraisable.exc_type]))
    timer.daemon = True
    timer.start()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Within it, while a script imports what it works with, Ctrl-C and SIGTERM end the process without an exception.

    Nothing is there yet that would have to be taken away, and an exception at any moment of an import can come out of
    it as another one, with a traceback, or be lost in it. The script's first imports, at the head of its file, should
    be small ones.
    """
    usual = {number: signal.getsignal(number) for number in _ENDS}
    for number, handler in usual.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _end_at_once)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    word, status = _ENDS[number]
    os.write(sys.stderr.fileno(), f"error: {word}\n".encode())  # whatever the interrupted code has locked
    os._exit(status)


def _fail(message: str, status: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def _describe(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    text = f"{' -> '.join(names)}: {error.strerror}" if names and error.strerror else str(error)
    advice = _ADVICE.get(error.errno or 0)
    return f"{text}; {advice}" if advice else text


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments with which a script is started as one of several processes; `join_processes` obeys them."""
    parser.add_argument("--distributed", action="store_true", help="one of several processes, found by JAX itself")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, where JAX cannot find it")
    parser.add_argument("--processes", type=int, metavar="N", help="their number, with --coordinator")
    parser.add_argument("--process", type=int, metavar="I", help="which one this is, with --coordinator")


def join_processes(arguments: argparse.Namespace) -> None:
    """Joins the other processes, if the command line names any. Comes before anything that uses a device.

    A process takes all devices of its machine, or one of them where srun or mpirun has started several processes there.

    Raises:
      ConfigError: the arguments do not say which processes there are, or these cannot be joined.
    """
    with importing():
        import jax

    named = (arguments.coordinator, arguments.processes, arguments.process)
    if any(value is not None for value in named) and None in named:
        raise ConfigError("--coordinator HOST:PORT, --processes N and --process I go together")
    launch = find_launch(os.environ)
    if not arguments.distributed and arguments.coordinator is None:
        if launch and launch.tasks > 1:
            raise ConfigError(
                f"{launch.command} has started {launch.tasks} processes, and each would work as if it were alone: "
                f"add --distributed to make them one, or have {launch.command} start one (-n 1)"
            )
        return
    # JAX takes one device a process wherever it recognises the launcher; an empty list keeps it from that.
    has_all_devices = launch is not None and (launch.tasks_on_node == 1 or launch.gpus_are_bound)
    try:
        jax.distributed.initialize(*named, local_device_ids=[] if has_all_devices else None)
    except (ValueError, IndexError, RuntimeError) as error:
        raise ConfigError(
            f"the processes cannot be joined ({error}): outside SLURM and Open MPI name them with --coordinator "
            "HOST:PORT, --processes N and --process I"
        ) from error


def check_fields(overrides: list[str], known: tuple[str, ...], reason: str) -> None:
    """Refuses overrides of other fields than those of which a script can change the value.

    Args:
      overrides: the words that the script's parser has left.
      known: how those begin that are allowed, `--section.` for all of a section.
      reason: why the others are not.

    Raises:
      ConfigError: names the field.
    """
    for argument in overrides:
        name = argument.partition("=")[0]
        if name.startswith("--") and not name.replace("_", "-").startswith(known):
            fields = [f"{field}FIELD" if field.endswith(".") else field for field in known]
            raise ConfigError(f"{name} cannot be set: {reason}; only {', '.join(fields)} can be changed")


def keep_compilations() -> None:
    """Has JAX keep what it compiles, so that the next start of a script need not compile the same again.

    In JAX_COMPILATION_CACHE_DIR if that is set, else in `~/.cache/amodal_jax`, apart for each machine, as what is
    compiled for one processor need not run on another that shares the home folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        with importing():
            import jax

        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "amodal_jax" / platform.node()
        jax.config.update("jax_compilation_cache_dir", str(cache))
