"""The pieces that objects are made of, and how one object is drawn.

An object has its own coordinates in metres: forward, right, up, the origin on the ground under its middle. A `Model`
is a list of parts: convex `Solid`s of flat faces with details drawn on them, and `Rounded` hulls of spheres. `render`
draws a model on a supersampled layer of its own; nothing here knows what the parts depict.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from data.synthetic.camera import NEAR_PLANE, Camera, clip_to_near_plane

SUPERSAMPLING = 2
# Fractional bits of the coordinates given to OpenCV.
SHIFT = 4
# A coordinate far outside the image would overflow OpenCV's fixed point; moving it nearer does not change the picture.
COORDINATE_LIMIT = 20_000.0

Colour = Float[np.ndarray, " 3"]
"""RGB in 0..255, as painted: before light falls on it."""


@dataclass(frozen=True)
class Face:
    """A flat polygon and what is painted on it."""

    points: Float[np.ndarray, "n 3"]
    """a flat polygon, object coordinates"""
    colour: Colour
    details: tuple[Face, ...] = ()
    """coplanar polygons drawn over this one when it is seen; they may reach beyond it"""
    opacity: float = 1.0
    """under 1 where one sees through it, as through a bicycle's wheel; the mask contains it all the same"""


@dataclass(frozen=True)
class Solid:
    """A convex body, or sheets of their own."""

    faces: tuple[Face, ...]
    layer: int = 0
    """parts of a higher layer are drawn over those of a lower one; within a layer the far ones come first"""
    convex: bool = True
    """faces that look away from the camera are left out; False for single sheets, seen from both sides"""

    @functools.cached_property
    def centre(self) -> Float[np.ndarray, " 3"]:
        return np.concatenate([face.points for face in self.faces]).mean(axis=0)


@dataclass(frozen=True)
class Rounded:
    """A smooth convex thing: a limb, a head, a tube."""

    spheres: Float[np.ndarray, "n 4"]
    """centres and radii; the part is the convex hull of their outlines"""
    colour: Colour
    layer: int = 0

    @functools.cached_property
    def centre(self) -> Float[np.ndarray, " 3"]:
        return self.spheres[:, :3].mean(axis=0)


@dataclass(frozen=True)
class Model:
    """One object; lengths in metres."""

    class_name: str
    length: float
    width: float
    height: float
    parts: tuple[Solid | Rounded, ...]
    gloss: float = 0.0
    """0 for cloth, 1 for car paint: how much the upper parts mirror the sky"""


@dataclass(frozen=True)
class Pose:
    """Where an object stands, in metres and radians."""

    x: float
    z: float
    yaw: float
    """0 heads away from the camera, pi / 2 to the right"""

    def to_world(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Object coordinates (forward, right, up) to world coordinates (x, y, z)."""
        sine, cosine = np.sin(self.yaw), np.cos(self.yaw)
        axes = np.array([[sine, 0.0, cosine], [cosine, 0.0, -sine], [0.0, 1.0, 0.0]])
        return points @ axes + np.array([self.x, 0.0, self.z])


@dataclass(frozen=True)
class Light:
    """Sun, sky and air of a scene."""

    direction: Float[np.ndarray, " 3"]
    """unit vector towards the sun, world coordinates"""
    ambient: float
    """share of the light that comes from everywhere"""
    sky: Colour
    haze: Colour
    visibility: float
    """metres after which haze has taken 63 % of the contrast"""

    def shade(self, normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """Brightness of matt surfaces with these unit normals; near 1 where they face the sun."""
        diffuse = np.maximum(0.0, normals @ self.direction)
        skylight = 0.5 + 0.5 * normals[:, 1]
        return self.ambient * (0.55 + 0.45 * skylight) + (1.0 - self.ambient) * diffuse


@dataclass
class Silhouette:
    """One object's outline, before anything hides it, in the window of the image that it touches."""

    left: int
    top: int
    mask: Bool[np.ndarray, "h w"]
    """at least half of the pixel lies inside the object's outline"""

    def window(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass
class Sprite(Silhouette):
    """One object as drawn."""

    premultiplied: Float[np.ndarray, "h w 3"]
    """colour times opacity, 0..255"""
    opacity: Float[np.ndarray, "h w"]


class _Shape(NamedTuple):
    """A polygon on the image, ready to be filled."""

    outline: Float[np.ndarray, "n 2"]
    colour: Colour
    opacity: float = 1.0


_NO_LIGHT = Light(np.array([0.0, 1.0, 0.0]), 1.0, np.zeros(3), np.zeros(3), 1.0)
_CIRCLE = np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)], axis=1)
# Three nested hulls, moved towards the sun, make a round thing look round: radius, shift, brightness.
_ROUNDING = np.array([[1.0, 0.0, 0.62], [0.8, 0.18, 0.85], [0.5, 0.3, 1.0]])


def _solid_shapes(solid: Solid, pose: Pose, camera: Camera, light: Light) -> list[_Shape]:
    # All polygons of the solid go through the camera in one array; `starts` says where each begins.
    pieces = [(piece, index) for index, face in enumerate(solid.faces) for piece in (face, *face.details)]
    host = np.array([index for _, index in pieces])
    counts = np.array([len(piece.points) for piece, _ in pieces])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    world = pose.to_world(np.concatenate([piece.points for piece, _ in pieces]))
    following = np.arange(1, len(world) + 1)
    following[starts + counts - 1] = starts
    # Newell's sum gives the normal for any number of corners, collinear ones included.
    normals = np.add.reduceat(np.cross(world, world[following]), starts)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    middles = np.add.reduceat(world, starts) / counts[:, None]
    faces = np.searchsorted(host, np.arange(len(solid.faces)))
    normals, middles = normals[faces], middles[faces]
    to_eye = np.array([0.0, camera.elevation, 0.0]) - middles
    outward = middles - pose.to_world(solid.centre[None]) if solid.convex else to_eye
    normals *= np.where((normals * outward).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    seen = (normals * to_eye).sum(axis=1) > 0
    brightness = light.shade(normals)
    in_front = np.minimum.reduceat(world[:, 2], starts) >= NEAR_PLANE
    pixels = camera.project(np.column_stack([world[:, :2], np.maximum(world[:, 2], NEAR_PLANE)]))
    shapes = []
    for index, (piece, face) in enumerate(pieces):
        if not seen[face]:
            continue
        corners = slice(starts[index], starts[index] + counts[index])
        if in_front[index]:
            outline = pixels[corners]
        else:
            clipped = clip_to_near_plane(world[corners])
            if len(clipped) < 3:
                continue
            outline = camera.project(clipped)
        shapes.append(_Shape(outline, piece.colour * brightness[face], piece.opacity))
    return shapes


def _rounded_shapes(part: Rounded, pose: Pose, camera: Camera, light: Light) -> list[_Shape]:
    centres = pose.to_world(part.spheres[:, :3])
    if (centres[:, 2] < NEAR_PLANE).any():
        return []
    radii = camera.focal * part.spheres[:, 3] / centres[:, 2]
    towards_sun = np.array([light.direction[0], -light.direction[1]])
    rings = _ROUNDING[:, 1, None, None] * towards_sun + _ROUNDING[:, 0, None, None] * _CIRCLE
    circles = camera.project(centres)[None, :, None] + rings[:, None] * radii[None, :, None, None]
    circles = circles.reshape(len(_ROUNDING), -1, 2).astype(np.float32)
    levels = light.ambient * 0.8 + (1 - light.ambient) * _ROUNDING[:, 2]
    return [
        _Shape(cv2.convexHull(points)[:, 0], part.colour * level) for points, level in zip(circles, levels, strict=True)
    ]


def _shapes(model: Model, pose: Pose, camera: Camera, light: Light) -> list[_Shape]:
    """All polygons of the model that face the camera, in the order in which they are to be painted."""
    eye = np.array([0.0, camera.elevation, 0.0])
    centres = pose.to_world(np.stack([part.centre for part in model.parts]))
    distances = np.linalg.norm(centres - eye, axis=1)
    order = sorted(range(len(model.parts)), key=lambda i: (model.parts[i].layer, -distances[i]))
    shapes = []
    for index in order:
        part = model.parts[index]
        if isinstance(part, Rounded):
            shapes += _rounded_shapes(part, pose, camera, light)
        else:
            shapes += _solid_shapes(part, pose, camera, light)
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


def silhouette(outlines: Sequence[Float[np.ndarray, "n 2"]], width: int, height: int) -> Silhouette | None:
    """The union of polygons on an image of this size, pixels; None where no pixel of it lies in the image."""
    frame = _window(outlines, width, height)
    if frame is None:
        return None
    left, top, columns, rows = frame
    layer = np.zeros((rows * SUPERSAMPLING, columns * SUPERSAMPLING), np.uint8)
    points = fixed_point((np.concatenate(outlines) - (left, top)) * SUPERSAMPLING)
    for polygon in np.split(points, np.cumsum([len(outline) for outline in outlines])[:-1]):
        cv2.fillPoly(layer, [polygon], 255, cv2.LINE_8, SHIFT)
    mask = _at_least_half(layer, columns, rows)
    return Silhouette(left, top, mask) if mask.any() else None


def _window(outlines: Sequence[Float[np.ndarray, "n 2"]], width: int, height: int) -> tuple[int, int, int, int] | None:
    """Left, top, width and height of the part of the image that polygons may touch, pixels."""
    if not outlines:
        return None
    corners = np.concatenate(outlines)
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (width, height))
    if right <= left or bottom <= top:
        return None
    return int(left), int(top), int(right - left), int(bottom - top)


def _at_least_half(layer: UInt8[np.ndarray, "h2 w2"], width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The pixels of which at least half is not zero on the supersampled layer."""
    filled = (layer > 0).astype(np.uint8) * 255
    return cv2.resize(filled, (width, height), interpolation=cv2.INTER_AREA) >= 128


def outline(model: Model, pose: Pose, camera: Camera) -> Silhouette | None:
    """The mask of the object that `render` paints, without the work of painting it.

    A pixel on the rim of a rounded part may differ, where the lit side of what is painted touches its outline.
    """
    return silhouette([shape.outline for shape in _shapes(model, pose, camera, _NO_LIGHT)], camera.width, camera.height)


def render(model: Model, pose: Pose, camera: Camera, light: Light, rng: np.random.Generator) -> Sprite | None:
    """Draws one object; None where no pixel of it lies in the image."""
    shapes = _shapes(model, pose, camera, light)
    frame = _window([shape.outline for shape in shapes], camera.width, camera.height)
    if frame is None:
        return None
    left, top, width, height = frame
    corners = np.concatenate([shape.outline for shape in shapes])
    layer = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), np.uint8)
    points = fixed_point((corners - (left, top)) * SUPERSAMPLING)
    start = 0
    for shape in shapes:
        end = start + len(shape.outline)
        colour = (*np.minimum(shape.colour, 255).tolist(), round(255 * shape.opacity))
        cv2.fillPoly(layer, [points[start:end]], colour, cv2.LINE_8, SHIFT)
        start = end
    alpha = layer[..., 3]
    mask = _at_least_half(alpha, width, height)
    if not mask.any():
        return None
    painted = cv2.multiply(layer[..., :3], cv2.merge([alpha] * 3), scale=1 / 255)
    premultiplied = cv2.resize(painted, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    opacity = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    premultiplied *= _texture(rng, height, width, model.gloss)[..., None]
    clear = float(np.exp(-max(pose.z, 0.0) / light.visibility))
    premultiplied *= clear
    premultiplied += ((1 - clear) * light.haze).astype(np.float32) * opacity[..., None]
    return Sprite(left, top, mask, premultiplied, opacity)


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
