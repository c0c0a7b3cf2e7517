"""The program for an H100: kernels against counts by hand, needed arithmetic, a compilation where it can be."""

import dataclasses
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from amodal_jax.errors import ConfigError
from amodal_jax.network import build_network, initialise
from amodal_jax.ops.convolution import conv2d
from scripts.benchmarks import arithmetic, h100_program
from scripts.benchmarks.example import make_batch
from scripts.benchmarks.gpu_program import target
from scripts.benchmarks.gpu_program.hlo import Shape, read_program
from scripts.benchmarks.gpu_program.kernels import BANDWIDTH, PEAK, Kernel, kernels
from scripts.benchmarks.network import draw_examples
from scripts.benchmarks.options import Options
from tests.helpers.micro import micro_config

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "h100_program.txt"


@pytest.fixture(scope="module")
def found() -> list[Kernel]:
    return kernels(read_program(GOLDEN.read_text().splitlines()))


def test_kernels_cost_what_was_counted_by_hand(found):
    images, hidden, kernel = 2 * 8 * 8 * 16 * 2, 2 * 8 * 8 * 32 * 2, 32 * 3 * 3 * 16 * 2
    convolution = 2 * (2 * 8 * 8) * (3 * 3) * 16 * 32
    assert [(one.kind, one.runs, one.operations, one.traffic) for one in found] == [
        ("__cudnn$convForward", 1, convolution, images + kernel + hidden),
        ("fusion", 1, 0, 2 * hidden),
        ("__cudnn$convBackwardFilter", 1, convolution, images + hidden + kernel),
        ("__cudnn$convBackwardInput", 1, convolution, images + hidden + kernel),
        ("fusion with dot (Triton)", 1, 2 * 128 * 32 * 3, 128 * 32 * 2 + 32 * 3 * 2 + 128 * 3 * 4),
        ("__cublas$gemm", 1, 2 * 128 * 32 * 64, 128 * 32 * 2 + 32 * 64 * 2 + 128 * 64 * 2 + 1024),
        ("fusion with gather", 1, 0, 2 * 10 * 32 * 2),
        ("fusion with scatter or update in place", 1, 0, 0),
        ("fusion", 6, 0, 2000),
        ("fusion", 3, 0, 2000),
        ("copy", 1, 0, 2 * 128 * 32 * 4),
    ]


def test_kernels_have_their_place_in_the_network(found):
    assert found[0].place == "jit(step)/backbone/conv1/conv_general_dilated"
    assert found[-3].place == "jit(step)/propose/while/body/not"


def test_the_longer_of_arithmetic_and_traffic_is_the_time():
    assert Kernel("", "", "", 2, int(PEAK), int(BANDWIDTH) // 2).seconds == 2
    assert Kernel("", "", "", 3, int(PEAK), int(BANDWIDTH) * 2).seconds == 6


def test_sizes_of_shapes():
    shape = Shape("(bf16[2,3]{1,0}, pred[5]{0}, f32[], token[], u8[0]{0})")
    assert shape.bytes == 12 + 5 + 4
    assert shape.lengths == (2, 3)


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        read_program(["module @jit_step {"])


def test_a_report_adds_up_and_can_be_written(found):
    report = h100_program.ProgramReport(facts={"ratio": 1.5}, kernels=found, images=2)
    content = json.loads(json.dumps(report.to_json()))
    assert content["ratio"] == 1.5
    whole = sum(kernel.seconds for kernel in found) / 2 * 1e3
    assert sum(one["ms_an_image"] for one in content["kinds"]) == pytest.approx(whole)
    assert sum(one["ms_an_image"] for one in content["dearest"]) == pytest.approx(whole)
    assert content["dearest"][0]["ms_an_image"] == max(kernel.seconds for kernel in found) / 2 * 1e3
    assert "backbone/conv1" in report.table()


# ----- arithmetic


def multiplications(function, *shapes, **options):
    return arithmetic.count_multiplications(
        function, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes), **options
    )


def test_products_and_convolutions_count_their_taps():
    assert multiplications(lambda a, b: a @ b, (5, 3), (3, 7)) == 5 * 3 * 7
    assert multiplications(lambda a, b: jnp.einsum("nij,njk->nik", a, b), (4, 5, 3), (4, 3, 7)) == 4 * 5 * 3 * 7
    assert multiplications(lambda x, k: conv2d(x, k, 2, 1), (2, 8, 8, 3), (3, 3, 3, 5)) == 2 * 4 * 4 * 9 * 3 * 5


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_a_convolution_count_as_much_as_it_each(stride):
    forward = 2 * (8 // stride) ** 2 * 9 * 3 * 5

    def gradients(x, k):
        return jax.grad(lambda x, k: conv2d(x, k, stride, 1).sum(), (0, 1))(x, k)

    # The sum's gradient is a constant, but the arithmetic of it is counted all the same; the values themselves are not
    # needed.
    assert multiplications(gradients, (2, 8, 8, 3), (3, 3, 3, 5)) == 2 * forward
    assert multiplications(lambda x, k: gradients(x, k)[1], (2, 8, 8, 3), (3, 3, 3, 5)) == forward


def test_loops_count_their_runs():
    def of_known_length(a):
        return jax.lax.scan(lambda x, _: (x @ x, None), a, length=4)[0]

    def of_unknown_length(a):
        return jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ x, a)

    assert multiplications(of_known_length, (3, 3)) == 4 * 27
    assert multiplications(of_unknown_length, (3, 3)) == 27
    assert multiplications(of_unknown_length, (3, 3), loop_runs=6) == 6 * 27


def test_frozen_layers_need_their_forward_pass_alone():
    config = micro_config()
    examples = draw_examples(options(config).sized())
    needed = {}
    for stages in (0, 2):
        backbone = dataclasses.replace(config.model.backbone, frozen_stages=stages)
        changed = dataclasses.replace(config, model=dataclasses.replace(config.model, backbone=backbone))
        sized = options(changed).sized()
        network = build_network(sized)
        variables = jax.eval_shape(lambda network=network, sized=sized: initialise(network, sized, jax.random.key(0)))
        needed[stages] = arithmetic.of_training(network, variables, make_batch(examples, sized))
    assert needed[2] < needed[0]


# ----- the compiler


def options(config, **others) -> Options:
    return Options(
        config=config,
        height=64,
        width=96,
        batch_size=2,
        repeats=1,
        images=1,
        **others,
    )


def test_a_batch_that_cards_cannot_share_is_refused():
    with pytest.raises(ConfigError, match="3 cards"):
        h100_program.measure(options(micro_config(), cards=3))


def test_without_the_compiler_the_command_says_what_to_install(tmp_path):
    command = [sys.executable, "scripts/benchmark.py", "h100-program", "--config", "asn_tiny"]
    finished = subprocess.run(
        [*command, "--plugin", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 1
    assert (
        f"pip install --no-deps --target DIR {target.PACKAGE}=={importlib.metadata.version('jaxlib')}"
        in finished.stderr
    )
    assert finished.stderr.count("\n") == 1


def has_compiler() -> bool:
    return any(importlib.metadata.distributions(name=target.PACKAGE))


@pytest.mark.skipif(not has_compiler(), reason=f"{target.PACKAGE} is not installed")
@pytest.mark.parametrize("cards", [1, 2])
def test_a_product_of_matrices_is_compiled_for_cards_that_are_not_there(cards):
    def product(a, b):
        return jax.lax.psum(a @ b, "batch")

    shape = jax.ShapeDtypeStruct((cards, 256, 256), jnp.bfloat16)
    devices = target.h100_devices(cards)
    compiled = target.compile_for_devices(jax.pmap(product, axis_name="batch", devices=devices).lower(shape, shape))
    found = kernels(read_program(compiled.as_text().splitlines()))
    assert sum(kernel.operations for kernel in found) == 2 * 256**3
    assert any("all-reduce" in kernel.kind for kernel in found) == (cards > 1)
    assert compiled.memory_analysis().output_size_in_bytes == 256 * 256 * 2
