"""What those need to know of a network who carry weights from one to another."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Branch:
    """A run of layers one behind the other. A layer is a module with parameters of its own, called by its path."""

    name: str
    """How the paths of its layers begin: "box_head", "amodal_mask_head/mlc"."""
    inputs: tuple[str, ...] = ()
    """The branches whose layers its inputs come through."""
    class_layers: tuple[tuple[str, int], ...] = ()
    """Its last layers, with outputs for each class, the background's first; and how many values a class has."""
    late: tuple[str, ...] = ()
    """Layers that come behind the others, in this order; before them the order is that of the names."""
    stand_in: str | None = None
    """The branch of another network that starts this one where that has none of this name."""
    same_settings: str | None = None
    """The section of the configuration that has to be the same for its layers to be taken."""
    stand_in_layers: str = ""
    """What the paths of the layers within the stand-in have to begin with to be taken; empty: all."""
