"""The seven classes of KINS as models built from solids: each call draws new proportions, parts and colours.

Object coordinates are metres: forward, right, up, the origin on the ground under the object's middle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from data.synthetic.objects.misc import misc
from data.synthetic.objects.people import cyclist, pedestrian
from data.synthetic.objects.vehicles import car, tram, truck, van
from data.synthetic.solids import Model

CLASSES: dict[str, Callable[[np.random.Generator], Model]] = {
    "cyclist": cyclist,
    "pedestrian": pedestrian,
    "car": car,
    "tram": tram,
    "truck": truck,
    "van": van,
    "misc": misc,
}
STREET_CLASSES = CLASSES | {
    "car": functools.partial(car, street=True),
    "truck": functools.partial(truck, street=True),
    "van": functools.partial(van, street=True),
}
