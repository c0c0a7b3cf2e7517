"""Damages json as people and programs do: values of the wrong kind, missing, too large, or none at all."""

import copy

from hypothesis import strategies as st

ODD_VALUES = [None, True, -1, 0, 3, 2**70, 10**400, 1.5, 4.0, float("nan"), float("inf"), 1e300, "", "7", "x", [], {}]
ODD_VALUES += [[1], [[1, 2, 3, 4]], [[[1, 2], [3, 4], [5, 9]]], {"size": [60, 120], "counts": "0"}, "\ud800"]
ODD_VALUES += [{"size": [60, 120], "counts": [60 * 120]}, [[0, 0, 1e4, 0, 50, 50]], [0, 0, 5, 5]]


def places(value, path=()):
    """Every place in a json value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def damaged(draw, content, most=4):
    """A copy of a json value in which up to `most` places are spoilt, but not the value itself.

    Args:
        draw: of hypothesis' `st.data()`.
        content: an object or a list.
        most: places.
    """
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, most))):
        inner = [place for place in places(content) if place]
        if not inner:
            break
        *path, last = draw(st.sampled_from(inner))
        parent = content
        for key in path:
            parent = parent[key]
        if isinstance(parent, dict) and draw(st.booleans()):
            del parent[last]
        else:
            parent[last] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
    return content
