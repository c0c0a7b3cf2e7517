"""A 3D box of KITTI as a class-shaped outline on the image.

Pixel coordinates are continuous: pixel i covers [i, i + 1). KITTI's camera matrix has pixel centres on whole numbers.
"""

import cv2
import numpy as np
from jaxtyping import Float

from data.kitti.labels import CLASS_NAMES, Object3d
from data.kitti3d.templates import template
from data.synthetic.camera import NEAR_PLANE
from data.synthetic.footprints import footprint
from data.synthetic.solids import Pose, Silhouette, silhouette


def project_template(box: Object3d, projection: Float[np.ndarray, "3 4"], width: int, height: int) -> Silhouette | None:
    """The class's template in the 3D box, as the camera sees it; None where none of it lies in the image.

    Args:
        box: the object.
        projection: P2 of its frame.
        width: of the image, pixels.
        height: of the image, pixels.
    """
    pose = _pose(box, np.zeros(3))
    outlines = []
    for part in template(CLASS_NAMES[box.type]):
        points = pose.to_world(part * [box.length, box.width, box.height])
        in_camera = np.column_stack([points[:, 0], box.bottom[1] - points[:, 1], points[:, 2], np.ones(len(points))])
        seen = _clip_to_near_plane(in_camera @ projection.T)
        if len(seen) >= 3:
            pixels = (seen[:, :2] / seen[:, 2:] + 0.5).astype(np.float32)
            outlines.append(cv2.convexHull(pixels)[:, 0])
    return silhouette(outlines, width, height)


def ground_rectangle(box: Object3d, projection: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "4 2"]:
    """The corners (x, z) of the box seen from above, metres from the camera whose matrix this is."""
    eye = -np.linalg.solve(projection[:, :3], projection[:, 3])
    return footprint(box.length, box.width, _pose(box, eye))


def depth(box: Object3d, projection: Float[np.ndarray, "3 4"]) -> float:
    """Metres from the camera to the middle of the box, along the optical axis."""
    return float(projection[2] @ [*box.bottom, 1.0])


def _pose(box: Object3d, origin: Float[np.ndarray, " 3"]) -> Pose:
    x, _, z = box.bottom
    return Pose(x - float(origin[0]), z - float(origin[2]), box.rotation_y + np.pi / 2)


def _clip_to_near_plane(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    """Points whose hull is the part, before the near plane, of the hull of homogeneous image points."""
    inside = points[:, 2] >= NEAR_PLANE
    front, behind = points[inside], points[~inside]
    if not len(behind) or not len(front):
        return front
    # Every edge of the hull that crosses the plane joins one of these pairs; the other crossings lie within the hull.
    t = (NEAR_PLANE - behind[:, 2])[:, None] / (front[:, 2] - behind[:, 2][:, None])
    crossings = behind[:, None] + t[..., None] * (front - behind[:, None])
    return np.concatenate([front, crossings.reshape(-1, 3)])
