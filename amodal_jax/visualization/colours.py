"""The colours that tell objects apart in pictures and pages."""

import numpy as np
from jaxtyping import Num

# Seen apart in the common forms of colour blindness (after Okabe and Ito's set), with the dark ones lightened: street
# scenes are dark. The colour tells objects apart; the class stands in the label.
PALETTE = np.array(
    [
        (255, 176, 0),  # amber
        (86, 190, 255),  # sky blue
        (0, 214, 143),  # green
        (255, 110, 180),  # pink
        (250, 240, 80),  # yellow
        (255, 110, 60),  # vermilion
        (150, 140, 255),  # violet
        (120, 255, 240),  # cyan
    ],
    np.uint8,
)


def distinct_colours(boxes: Num[np.ndarray, "n 4"]) -> Num[np.ndarray, " n"]:
    """A colour for each box, as an index into `PALETTE`: the one whose nearest earlier use is farthest away.

    The first boxes get the palette in its order, and boxes that touch share a colour only when more of them touch than
    there are colours.
    """
    chosen = np.zeros(len(boxes), int)
    for i, box in enumerate(boxes):
        gaps = np.maximum(np.maximum(boxes[:i, :2] - box[2:], box[:2] - boxes[:i, 2:]), 0)
        distance = np.hypot(gaps[:, 0], gaps[:, 1])
        # Equal distances (several neighbours overlap) are decided by how often a colour is used.
        nearest = [distance[chosen[:i] == colour].min(initial=np.inf) for colour in range(len(PALETTE))]
        uses = np.bincount(chosen[:i], minlength=len(PALETTE))
        chosen[i] = np.lexsort((uses, -np.asarray(nearest)))[0]
    return chosen
