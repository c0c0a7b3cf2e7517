"""A file that one process at a time holds."""

import fcntl
import logging
from typing import IO, Any

_logger = logging.getLogger(__name__)


def try_lock(file: IO[Any]) -> bool:
    """Locks an open file until it is closed, or this process ends in whatever way.

    Returns:
      False where another process has it. A file system without locks is warned of, and no reason to stop.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        _logger.warning("%s: cannot be locked (%s); see that no other process works there", file.name, error.strerror)
    return True
