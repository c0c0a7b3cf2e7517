import dataclasses

import jax.numpy as jnp
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amodal_jax.canvas import at_short_side, check_input_canvas, input_canvas, source_canvas
from amodal_jax.config import Config, InputConfig
from amodal_jax.errors import DataError, ImageError
from amodal_jax.network import build_network
from amodal_jax.ops.resize import host_resized_size


@given(height=st.integers(1, 4000), width=st.integers(1, 4000))
def test_canvases_hold_the_image(height, width):
    config = Config()
    canvas = source_canvas((height, width), config)
    assert canvas[0] >= height
    assert canvas[1] >= width
    if canvas != (config.data.canvas_height, config.data.canvas_width):
        assert canvas[0] < height + 128
        assert canvas[1] < width + 128

    model_input = config.model.input
    resized = host_resized_size((height, width), 800, 3000)
    if min(resized) < 1:
        with pytest.raises(ImageError, match="too thin"):
            input_canvas((height, width), model_input)
        return
    canvas = input_canvas((height, width), model_input)
    if resized[0] <= 800 and resized[1] <= 2656:
        assert canvas == (800, 2656)
        check_input_canvas([(3, (height, width))], model_input)
    else:
        assert canvas == tuple(-(-side // 32) * 32 for side in resized)
        with pytest.raises(
            DataError, match=f"image 3 of {width} x {height} pixels becomes {resized[1]} x {resized[0]}"
        ):
            check_input_canvas([(2, (375, 1242)), (3, (height, width))], model_input)


def test_all_sizes_of_kitti_share_one_canvas():
    sizes = [(370, 1224), (374, 1238), (375, 1242), (376, 1241)]
    assert {source_canvas(size, Config()) for size in sizes} == {(376, 1242)}
    assert {input_canvas(size, Config().model.input) for size in sizes} == {(800, 2656)}


def test_what_the_error_says_to_set_is_enough():
    upright, model_input = (640, 480), InputConfig()
    with pytest.raises(DataError, match="raise model.input.height to 1088 and model.input.width to 2656"):
        check_input_canvas([(7, upright)], model_input)
    check_input_canvas([(7, upright)], InputConfig(height=1088))
    with pytest.raises(DataError, match="image 7: .*too thin"):
        check_input_canvas([(7, (1, 4000))], model_input)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (375, 1242), (200, 1500), (1500, 200)])
def test_the_canvas_has_no_say_in_how_an_image_is_resized(size):
    config = Config()
    targets = {
        tuple(build_network(config, canvas).preprocess.resized_sizes(jnp.array([size]))[0].tolist())
        for canvas in ((800, 2656), input_canvas(size, config.model.input), (3008, 3008))
    }
    assert targets == {host_resized_size(size, 800, 3000)}


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    usual=st.integers(1, 1300),
    longest=st.integers(1, 3000),
    short_side=st.integers(1, 1300),
    canvas=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_what_fits_the_canvas_fits_that_of_every_short_side(height, width, usual, longest, short_side, canvas):
    assume(max(usual, short_side) <= longest)
    model_input = InputConfig(short_side=usual, long_side=longest, height=32 * canvas[0], width=32 * canvas[1])
    fitted = host_resized_size((height, width), usual, longest)
    assume(min(fitted) > 0)
    if fitted[0] > model_input.height or fitted[1] > model_input.width:  # a canvas that it fits just so
        model_input = dataclasses.replace(model_input, height=-(-fitted[0] // 32) * 32, width=-(-fitted[1] // 32) * 32)
    sized = at_short_side(model_input, short_side)
    assert (sized.short_side, sized.long_side) == (short_side, longest)
    resized = host_resized_size((height, width), short_side, longest)
    assert resized[0] <= sized.height
    assert resized[1] <= sized.width


@pytest.mark.parametrize(
    ("model_input", "canvases"),
    [
        # KITTI's frames, which the longest side limits from about 905 on.
        (InputConfig(), {400: (416, 1344), 600: (608, 2016), 800: (800, 2656), 1200: (1216, 3008)}),
        # Images of 4 : 3 alone, far from the longest side.
        (
            InputConfig(short_side=800, long_side=1333, height=800, width=1088),
            {400: (416, 544), 600: (608, 832), 1200: (1216, 1344)},
        ),
        # PANet's for COCO: images of 1 : 2 are 1400 long in every size.
        (
            InputConfig(short_side=1000, long_side=1400, height=1408, width=1408),
            {400: (1408, 1408), 1000: (1408, 1408), 1200: (1408, 1408)},
        ),
    ],
)
def test_canvases_of_published_sizes(model_input, canvases):
    for short_side, canvas in canvases.items():
        sized = at_short_side(model_input, short_side)
        assert sized == dataclasses.replace(model_input, short_side=short_side, height=canvas[0], width=canvas[1])
