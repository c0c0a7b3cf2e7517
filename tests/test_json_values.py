"""Numbers and truth values as programs write them: read as what they say, or not at all."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amodal_jax.json_values import is_number, truth_value, whole_number

TEXT = ["0", "1", "true", "false", "1.0", "", "NaN"]
NONE = [None, math.nan, math.inf, -math.inf, [], [1], {}, *TEXT]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (-3, -3),
        (1.0, 1),
        (-0.0, 0),
        (2.0**53, 2**53),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        # Of which no float is the only one.
        (2.0**53 + 2, None),
        (1e300, None),
        (2**63, None),
        (-(2**63) - 1, None),
        (1.5, None),
        (True, None),
        (False, None),
        *((value, None) for value in NONE),
    ],
)
def test_whole_numbers(value, number):
    found = whole_number(value)
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        *((value, True) for value in (True, 1, 1.0)),
        *((value, False) for value in (False, 0, 0.0, -0.0)),
        *((value, None) for value in (2, -1, 0.5, 10**400, *NONE)),
    ],
)
def test_truth_values(value, truth):
    assert truth_value(value) is truth


@pytest.mark.parametrize("value", [True, False, 10**400, -(10**400), *NONE])
def test_what_is_no_number(value):
    assert not is_number(value)


@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.text(), st.none()))
def test_a_value_that_is_read_is_what_json_says(value):
    read = json.loads(json.dumps(value))
    number, truth = whole_number(read), truth_value(read)
    assert number is None or (number == value and not isinstance(value, bool | str))
    assert truth is None or truth == value
    assert not is_number(read) or math.isfinite(float(read))
