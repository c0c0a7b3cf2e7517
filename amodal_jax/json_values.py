"""Single values of json files, read so that nothing is guessed: the one reader of each type for every format.

Programs write one value in several ways: 1 as 1.0 (whatever has been a column of a table with gaps), false as 0. These
say what they mean. Text stands for no number and no truth value, for "false" is true to many a language.
"""

import math
import sys
from typing import Any, TypeGuard

# From here on a float may stand for one of several whole numbers.
_LARGEST_WHOLE_FLOAT = 2**53


def whole_number(value: Any) -> int | None:
    """A whole number that 64 bits with a sign can hold, 1.0 being 1; None for all else, `true` and text among it."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_WHOLE_FLOAT:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and fits(value) else None


def fits(value: int) -> bool:
    """Whether a signed integer of 64 bits, which records have, can hold a value."""
    return -(2**63) <= value < 2**63


def truth_value(value: Any) -> bool | None:
    """True, False, and 0 and 1, whole or as floats, as what they say; None for all else, text and 2 among it."""
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number that a float can hold; `true` and text are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Whole numbers of json may be larger than any float.
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= sys.float_info.max
