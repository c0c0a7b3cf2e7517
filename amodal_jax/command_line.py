"""What every script shares: a failure the user can mend is one line on stderr and a non-zero exit."""

import sys
from collections.abc import Callable

from amodal_jax.errors import AmodalJaxError


def run(main: Callable[[], int | None]) -> None:
    """Runs a script's `main` and exits with what it returns (None is 0).

    An `AmodalJaxError` or an operating-system error (a full disk, a missing permission) is printed as one line
    `error: ...` and exits with 1; an interrupt exits with 130. Anything else is a defect of the package, and keeps its
    traceback.
    """
    try:
        status = main()
    except (AmodalJaxError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)
