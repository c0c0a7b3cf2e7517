"""COCO-Amodal (Zhu et al., 2017) without classes: all its things are of one, as its names are free text.

The images and the schedule are those of COCOA-cls, which has no other source; `from-cocoa --one-class` makes the class.
"""

import dataclasses

from configs.presets import cocoa_cls

PRESET = dataclasses.replace(cocoa_cls.PRESET, class_names=("object",))
