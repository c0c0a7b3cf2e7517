import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.synthetic import kins_traffic
from data.synthetic.camera import NEAR_PLANE, Camera, clip_to_near_plane, sample_camera
from data.synthetic.footprints import in_front, nearest_first
from data.synthetic.objects import CLASSES
from data.synthetic.placed import LEAST_VISIBLE_PIXELS
from data.synthetic.scene import TRAFFIC, make_scene
from data.synthetic.solids import Pose, outline, outline_box, render
from data.synthetic.street import sample_light

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("traffic", TRAFFIC)
@given(seed=seeds, width=st.integers(64, 260), height=st.integers(24, 100))
@settings(max_examples=20)
def test_masks_partition_what_the_objects_cover(traffic, seed, width, height):
    scene = make_scene((seed,), width, height, traffic=traffic)
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    nearer = np.zeros((height, width), bool)
    for instance in scene.instances:
        assert instance.amodal_mask.shape == (height, width)
        # Nearest first: what is seen of an object is exactly what none before it covers.
        np.testing.assert_array_equal(instance.visible_mask, instance.amodal_mask & ~nearer)
        nearer |= instance.amodal_mask
        visible = instance.visible_mask.sum()
        assert visible >= LEAST_VISIBLE_PIXELS
        assert visible >= TRAFFIC[traffic].LEAST_VISIBLE_SHARE * instance.amodal_mask.sum()
    visible = np.sum([instance.visible_mask for instance in scene.instances], axis=0)
    np.testing.assert_array_equal(visible, nearer)


def test_a_seed_gives_one_scene_and_another_seed_another():
    first, again, other = make_scene((3, 0, 7), 124, 38), make_scene((3, 0, 7), 124, 38), make_scene((3, 1, 7), 124, 38)
    np.testing.assert_array_equal(first.image, again.image)
    assert [i.class_name for i in first.instances] == [i.class_name for i in again.instances]
    assert (first.image != other.image).any()


def test_light_traffic_holds_all_classes_and_plenty_of_occlusion():
    instances = [
        instance for index in range(50) for instance in make_scene((1, index), 207, 64, traffic="light").instances
    ]
    names = [instance.class_name for instance in instances]
    shares = {name: names.count(name) / len(names) for name in CLASSES}
    assert set(names) == set(CLASSES)
    assert min(shares.values()) > 0.05
    assert max(shares, key=shares.__getitem__) == "car"
    hidden = np.array([1 - i.visible_mask.sum() / i.amodal_mask.sum() for i in instances])
    assert 0.3 < (hidden > 0.05).mean() < 0.7


def test_kins_traffic_is_as_full_as_kins():
    counts, names, hidden, depths, covered = [], [], [], [], []
    for index in range(60):
        rng = np.random.default_rng(index)
        camera, street = sample_camera(rng, 414, 125), kins_traffic.sample_street(rng)
        taken = np.zeros((125, 414), bool)
        placed = kins_traffic.place_objects(rng, camera, street, tuple(CLASSES))
        for item in placed:
            drawn = outline(item.model, item.pose, camera)
            window = drawn.window()
            hidden.append((drawn.mask & taken[window]).sum() / drawn.mask.sum())
            taken[window] |= drawn.mask
        counts.append(len(placed))
        names += [item.model.class_name for item in placed]
        depths += [item.pose.z for item in placed]
        covered.append(taken.mean())
    hidden = np.array(hidden)
    # KINS has 12.53 instances, 53.6 % occluded, a mean ratio of 31.7 %, 8.3 % covered and 68.6 % cars.
    assert np.mean(counts) == pytest.approx(12.5, abs=2.5)
    assert (hidden > 0).mean() == pytest.approx(0.536, abs=0.1)
    assert hidden.mean() == pytest.approx(0.317, abs=0.07)
    assert np.mean(covered) == pytest.approx(0.083, abs=0.025)
    assert names.count("car") / len(names) == pytest.approx(0.686, abs=0.07)
    assert set(names) == set(CLASSES)
    # Figure 4a: nearly uniform.
    assert np.histogram(hidden[hidden > 0], np.linspace(0, 1, 6))[0].min() > 0.1 * (hidden > 0).sum()
    # Small and distant ones are there, as well as near ones.
    assert np.quantile(depths, 0.1) < 16
    assert np.quantile(depths, 0.9) > 45


@given(seed=seeds)
@settings(max_examples=40)
def test_none_is_hidden_by_a_later_one(seed):
    rng = np.random.default_rng(seed)
    rectangles = [_rectangle(rng) for _ in range(5)]
    behind = np.array([[in_front(one, other) is False for other in rectangles] for one in rectangles])

    def wrong(order):
        return sum(behind[earlier, later] for earlier, later in itertools.combinations(order, 2))

    order = nearest_first(rectangles, [rectangle[:, 1].mean() for rectangle in rectangles])
    assert sorted(order) == list(range(5))
    # Where each hides the next in a circle no order is right.
    if any(wrong(other) == 0 for other in itertools.permutations(range(5))):
        assert wrong(order) == 0


@pytest.mark.parametrize("name", CLASSES)
def test_an_outline_is_the_mask_of_what_is_painted(name):
    rng = np.random.default_rng(5)
    for _ in range(10):
        camera = sample_camera(rng, 310, 94)
        model = CLASSES[name](rng)
        pose = Pose(rng.uniform(-6, 6), rng.uniform(3, 25), rng.uniform(0, 2 * np.pi))
        sprite, drawn = render(model, pose, camera, sample_light(rng), rng), outline(model, pose, camera)
        assert (sprite is None) == (drawn is None)
        if sprite is not None and drawn is not None:
            assert (drawn.left, drawn.top) == (sprite.left, sprite.top)
            assert (drawn.mask != sprite.mask).sum() <= max(2, 0.003 * sprite.mask.sum())


@pytest.mark.parametrize("name", CLASSES)
def test_the_mask_is_what_was_painted(name):
    rng = np.random.default_rng(11)
    for _ in range(8):
        camera = sample_camera(rng, 414, 128)
        model = CLASSES[name](rng)
        assert model.class_name == name
        pose = Pose(rng.uniform(-2, 2), rng.uniform(12, 25), rng.uniform(0, 2 * np.pi))
        sprite = render(model, pose, camera, sample_light(rng), rng)
        assert sprite is not None
        opaque = sprite.opacity > 0.5
        assert not (opaque & ~sprite.mask).any()
        # Only a bicycle's wheels are seen through, and belong to the object all the same.
        assert (sprite.mask & ~opaque).any() == (name == "cyclist")
        x1, y1, x2, y2 = outline_box(model, pose, camera)
        rows, columns = np.nonzero(sprite.mask)
        assert x1 - 2 <= columns.min() + sprite.left
        assert columns.max() + sprite.left <= x2 + 2
        assert y1 - 2 <= rows.min() + sprite.top
        assert rows.max() + sprite.top <= y2 + 2


def test_an_object_beside_the_image_is_not_drawn():
    rng = np.random.default_rng(0)
    camera = sample_camera(rng, 207, 64)
    assert render(CLASSES["car"](rng), Pose(100.0, 10.0, 0.0), camera, sample_light(rng), rng) is None


def test_the_camera_projects_by_similar_triangles():
    camera = Camera(width=1242, height=375, focal=700.0, centre_x=600.0, horizon=170.0, elevation=1.6)
    points = np.array([[0.0, 1.6, 10.0], [1.0, 0.0, 10.0], [-2.0, 3.6, 20.0]])
    np.testing.assert_allclose(camera.project(points), [[600, 170], [670, 282], [530, 100]])
    nearer = dataclasses.replace(camera, elevation=0.0)
    np.testing.assert_allclose(nearer.project(points[1:2]), [[670, 170]])


@given(z=st.lists(st.floats(-20, 20), min_size=3, max_size=6))
def test_clipping_keeps_what_lies_in_front(z):
    angle = 2 * np.pi * np.arange(len(z)) / len(z)
    polygon = np.stack([np.cos(angle), np.sin(angle), np.array(z)], axis=1)
    clipped = clip_to_near_plane(polygon)
    assert (clipped[:, 2] >= NEAR_PLANE).all() if len(clipped) else max(z) < NEAR_PLANE
    kept = polygon[polygon[:, 2] >= NEAR_PLANE]
    assert all((clipped == corner).all(axis=1).any() for corner in kept)


def _entry(rectangle, direction):
    """Distance along a ray from the origin to a convex polygon on the ground; infinite where it misses."""
    distances = []
    for a, b in zip(rectangle, np.roll(rectangle, -1, axis=0), strict=True):
        system = np.stack([direction, a - b], axis=1)
        if abs(np.linalg.det(system)) > 1e-9:
            t, s = np.linalg.solve(system, a)
            if t > 0 and 0 <= s <= 1:
                distances.append(t)
    return min(distances, default=np.inf)


def _rectangle(rng):
    pose = Pose(rng.uniform(-8, 8), rng.uniform(8, 30), rng.uniform(0, 2 * np.pi))
    a, b = rng.uniform(0.3, 6.0), rng.uniform(0.3, 1.5)
    corners = np.array([[a, -b, 0.0], [a, b, 0.0], [-a, b, 0.0], [-a, -b, 0.0]])
    return pose.to_world(corners)[:, [0, 2]]


@given(seed=seeds)
@settings(max_examples=100)
def test_what_is_in_front_is_met_first_by_every_ray(seed):
    rng = np.random.default_rng(seed)
    first, second = _rectangle(rng), _rectangle(rng)
    answer = in_front(first, second)
    reverse = in_front(second, first)
    assert (answer is None) == (reverse is None)
    for azimuth in np.linspace(-0.9, 0.9, 41):
        direction = np.array([np.sin(azimuth), np.cos(azimuth)])
        near, far = _entry(first, direction), _entry(second, direction)
        if answer is not None and np.isfinite(near) and np.isfinite(far):
            assert answer == (near < far)
            assert reverse == (far < near)
