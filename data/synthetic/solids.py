"""The pieces that objects are made of, and how one object is drawn.

An object has its own coordinates in metres: forward, right, up, the origin on the ground under its middle. A `Model` is a
list of parts: convex `Solid`s of flat faces with details drawn on them, and `Rounded` hulls of spheres. `render` draws
a model on a supersampled layer of its own; nothing here knows what the parts depict.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float

from data.synthetic.camera import NEAR_PLANE, Camera, clip_to_near_plane

SUPERSAMPLING = 2
# Fractional bits of the coordinates given to OpenCV.
SHIFT = 4
# A coordinate far outside the image would overflow OpenCV's fixed point; the picture does not change by moving it nearer.
COORDINATE_LIMIT = 20_000.0

Colour = Float[np.ndarray, " 3"]
"""RGB in 0..255, as painted: before light falls on it."""


@dataclass(frozen=True)
class Face:
    points: Float[np.ndarray, "n 3"]
    """a flat polygon, object coordinates"""
    colour: Colour
    details: tuple[Face, ...] = ()
    """coplanar polygons drawn over this one when it is seen; they may reach beyond it"""
    opacity: float = 1.0
    """under 1 where one sees through it, as through a bicycle's wheel; the mask contains it all the same"""


@dataclass(frozen=True)
class Solid:
    faces: tuple[Face, ...]
    layer: int = 0
    """parts of a higher layer are drawn over those of a lower one; within a layer the far ones come first"""
    convex: bool = True
    """faces that look away from the camera are left out; False for single sheets, seen from both sides"""

    def centre(self) -> Float[np.ndarray, " 3"]:
        return np.mean([face.points.mean(axis=0) for face in self.faces], axis=0)


@dataclass(frozen=True)
class Rounded:
    spheres: Float[np.ndarray, "n 4"]
    """centres and radii; the part is the convex hull of their outlines"""
    colour: Colour
    layer: int = 0

    def centre(self) -> Float[np.ndarray, " 3"]:
        return self.spheres[:, :3].mean(axis=0)


@dataclass(frozen=True)
class Model:
    class_name: str
    length: float
    width: float
    height: float
    parts: tuple[Solid | Rounded, ...]
    gloss: float = 0.0
    """0 for cloth, 1 for car paint: how much the upper parts mirror the sky"""


@dataclass(frozen=True)
class Pose:
    x: float
    z: float
    yaw: float
    """0 heads away from the camera, pi / 2 to the right"""

    def to_world(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Object coordinates (forward, right, up) to world coordinates (x, y, z)."""
        sine, cosine = np.sin(self.yaw), np.cos(self.yaw)
        forward, right, up = points.T
        return np.stack(
            [self.x + forward * sine + right * cosine, up, self.z + forward * cosine - right * sine], axis=1
        )


@dataclass(frozen=True)
class Light:
    direction: Float[np.ndarray, " 3"]
    """unit vector towards the sun, world coordinates"""
    ambient: float
    """share of the light that comes from everywhere"""
    sky: Colour
    haze: Colour
    visibility: float
    """metres after which haze has taken 63 % of the contrast"""

    def shade(self, normal: Float[np.ndarray, " 3"]) -> float:
        """Brightness of a matt surface with this unit normal; near 1 when it faces the sun."""
        diffuse = max(0.0, float(normal @ self.direction))
        skylight = 0.5 + 0.5 * float(normal[1])
        return self.ambient * (0.55 + 0.45 * skylight) + (1.0 - self.ambient) * diffuse


@dataclass
class Sprite:
    """One object as drawn, before anything hides it, in the window of the image that it touches."""

    left: int
    top: int
    premultiplied: Float[np.ndarray, "h w 3"]
    """colour times opacity, 0..255"""
    opacity: Float[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    """at least half of the pixel lies inside the object's outline"""

    def window(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass
class _Shape:
    """A polygon on the image, ready to be filled."""

    outline: Float[np.ndarray, "n 2"]
    colour: Colour
    opacity: float = 1.0
    normal: Float[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3))


_CIRCLE = np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)], axis=1)


def _unit_normal(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " 3"]:
    following = np.roll(points, -1, axis=0)
    # Newell's sum serves any number of corners, collinear ones included.
    a = points - following
    b = points + following
    normal = 0.5 * np.array([(a[:, 1] * b[:, 2]).sum(), (a[:, 2] * b[:, 0]).sum(), (a[:, 0] * b[:, 1]).sum()])
    return normal / max(float(np.linalg.norm(normal)), 1e-9)


def _face_shapes(face: Face, pose: Pose, camera: Camera, light: Light, outward_from: np.ndarray | None) -> list[_Shape]:
    world = pose.to_world(face.points)
    centre = world.mean(axis=0)
    normal = _unit_normal(world)
    eye = np.array([0.0, camera.elevation, 0.0])
    if outward_from is None:
        if normal @ (eye - centre) < 0:
            normal = -normal
    else:
        if normal @ (centre - outward_from) < 0:
            normal = -normal
        if normal @ (eye - centre) <= 0:
            return []
    brightness = light.shade(normal)
    shapes = []
    for piece, corners in [(face, world)] + [(detail, pose.to_world(detail.points)) for detail in face.details]:
        corners = clip_to_near_plane(corners)
        if len(corners) >= 3:
            shapes.append(_Shape(camera.project(corners), piece.colour * brightness, piece.opacity))
    return shapes


def _rounded_shapes(part: Rounded, pose: Pose, camera: Camera, light: Light) -> list[_Shape]:
    centres = pose.to_world(part.spheres[:, :3])
    if (centres[:, 2] < NEAR_PLANE).any():
        return []
    pixels = camera.project(centres)
    radii = camera.focal * part.spheres[:, 3] / centres[:, 2]
    shapes = []
    # Three nested hulls, moved towards the sun, make a round thing look round.
    towards_sun = np.array([light.direction[0], -light.direction[1]])
    for scale, offset, brightness in ((1.0, 0.0, 0.62), (0.8, 0.18, 0.85), (0.5, 0.3, 1.0)):
        circles = pixels[:, None] + (offset * towards_sun + scale * _CIRCLE)[None] * radii[:, None, None]
        hull = cv2.convexHull(circles.reshape(-1, 2).astype(np.float32))[:, 0]
        level = light.ambient * 0.8 + (1 - light.ambient) * brightness
        shapes.append(_Shape(hull.astype(np.float64), part.colour * level))
    return shapes


def _shapes(model: Model, pose: Pose, camera: Camera, light: Light) -> list[_Shape]:
    """All polygons of the model that face the camera, in the order in which they are to be painted."""
    eye = np.array([0.0, camera.elevation, 0.0])
    centres = pose.to_world(np.stack([part.centre() for part in model.parts]))
    distances = np.linalg.norm(centres - eye, axis=1)
    order = sorted(range(len(model.parts)), key=lambda i: (model.parts[i].layer, -distances[i]))
    shapes = []
    for index in order:
        part = model.parts[index]
        if isinstance(part, Rounded):
            shapes += _rounded_shapes(part, pose, camera, light)
        else:
            for face in part.faces:
                shapes += _face_shapes(face, pose, camera, light, centres[index] if part.convex else None)
    return shapes


def outline_box(model: Model, pose: Pose, camera: Camera) -> Float[np.ndarray, " 4"]:
    """The box [x1, y1, x2, y2] in pixels around the model's bounding cuboid, not clipped to the image."""
    a, b, h = model.length / 2, model.width / 2, model.height
    corners = np.array([[i, j, k] for i in (-a, a) for j in (-b, b) for k in (0.0, h)])
    world = pose.to_world(corners)
    world[:, 2] = np.maximum(world[:, 2], NEAR_PLANE)
    pixels = camera.project(world)
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def fixed_point(outline: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Continuous pixel coordinates as OpenCV's drawing functions take them: pixel centres at integers, SHIFT bits."""
    limited = np.clip(outline - 0.5, -COORDINATE_LIMIT, COORDINATE_LIMIT)
    return np.round(limited * (1 << SHIFT)).astype(np.int32)


def render(model: Model, pose: Pose, camera: Camera, light: Light, rng: np.random.Generator) -> Sprite | None:
    """Draws one object; None where no pixel of it lies in the image."""
    shapes = _shapes(model, pose, camera, light)
    if not shapes:
        return None
    corners = np.concatenate([shape.outline for shape in shapes])
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (camera.width, camera.height))
    if right <= left or bottom <= top:
        return None
    height, width = int(bottom - top), int(right - left)
    layer = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), np.uint8)
    for shape in shapes:
        points = fixed_point((shape.outline - (left, top)) * SUPERSAMPLING)
        red, green, blue = np.clip(shape.colour, 0, 255)
        colour = (float(red), float(green), float(blue), round(255 * shape.opacity))
        cv2.fillPoly(layer, [points], colour, cv2.LINE_8, SHIFT)
    alpha = layer[..., 3]
    mask = cv2.resize((alpha > 0).astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA) >= 128
    if not mask.any():
        return None
    colour = cv2.multiply(layer[..., :3], cv2.merge([alpha] * 3), scale=1 / 255)
    premultiplied = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    opacity = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    premultiplied *= _texture(rng, height, width, model.gloss)[..., None]
    clear = float(np.exp(-max(pose.z, 0.0) / light.visibility))
    premultiplied *= clear
    premultiplied += ((1 - clear) * light.haze).astype(np.float32) * opacity[..., None]
    return Sprite(int(left), int(top), premultiplied, opacity, mask)


def _texture(rng: np.random.Generator, height: int, width: int, gloss: float) -> Float[np.ndarray, "h w"]:
    """What light, dirt and weave do to an even colour: a factor per pixel around 1."""
    patches = cv2.resize(rng.uniform(-1, 1, (3, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.standard_normal((height, width), dtype=np.float32)
    ramp = np.linspace(1, -1, height, dtype=np.float32)[:, None]
    return (
        1.0
        + rng.uniform(0.03, 0.14) * patches
        + rng.uniform(0.01, 0.05) * grain
        + (rng.uniform(0.0, 0.12) + 0.1 * gloss) * ramp
    )
