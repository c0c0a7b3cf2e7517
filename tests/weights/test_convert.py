import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amodal_jax.config_json import to_json
from amodal_jax.errors import AmodalJaxError, CheckpointError, ConfigError, WeightsError
from amodal_jax.models.layers import FrozenBatchNorm
from amodal_jax.predict import Predictor
from amodal_jax.runs.checkpoint_reader import load_checkpoint, load_variables, restore_last
from amodal_jax.runs.checkpoint_writer import CheckpointWriter
from amodal_jax.weights.convert import LAYOUTS, convert_weights, import_weights
from amodal_jax.weights.layouts import torchvision
from amodal_jax.weights.layouts.layout import Layout
from tests.helpers.full_disk import files_limited_to
from tests.helpers.seeded_weights import seeded_weight

ROOT = Path(__file__).resolve().parents[2]
RESNET18 = torchvision.LAYOUTS[0]
NEW, OLD, V2 = torchvision.DETECTORS
SCORES = "roi_heads.box_predictor.cls_score.bias"


def flat(layout: Layout, classes: int = 3) -> dict[str, np.ndarray]:
    """Arrays of the layout's names and shapes, without memory of their own."""
    sources = layout.sources(classes if layout.class_scores else 0)
    return {
        name: np.broadcast_to(np.float32(0.5), shape) for one in sources.values() for name, shape in one.reads.items()
    }


def seeded(layout: Layout) -> dict[str, np.ndarray]:
    return {name: seeded_weight(name, value.shape) for name, value in flat(layout).items()}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """As on a machine of one: real networks would lie on each of eight in whole when they are written."""
    one = jax.devices()[:1]
    for name in ("devices", "local_devices"):
        monkeypatch.setattr(jax, name, lambda: one)


@pytest.fixture(scope="module")
def resnet18() -> dict[str, np.ndarray]:
    """What torchvision's classifier saves."""
    arrays = seeded(RESNET18) | {"fc.weight": np.ones((1000, 512), np.float32), "fc.bias": np.ones(1000, np.float32)}
    return arrays | {
        name.replace("running_var", "num_batches_tracked"): np.array(7) for name in arrays if "running_var" in name
    }


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_a_layout_is_recognised_by_its_names(layout):
    made = convert_weights(flat(layout), source="these")
    assert made.layout is layout
    assert made.config.model.class_names == (("class_1", "class_2", "class_3") if layout.class_scores else ())


@pytest.mark.parametrize(
    ("layout", "prefix"),
    [
        *((layout, "module.model.") for layout in LAYOUTS),
        *(
            (RESNET18, prefix)
            for prefix in ("_orig_mod.", "module._orig_mod.", "module.module.", "model.", "backbone.")
        ),
        *((RESNET18, prefix) for prefix in ("backbone.body.", "0.", "net/", "gpu_0_")),
    ],
)
def test_a_prefix_of_all_names_is_taken_off(layout, prefix):
    weights = flat(layout)
    made = convert_weights({prefix + name: value for name, value in weights.items()}, source="these")
    assert made.layout is layout
    assert made.unread == ()
    assert made.prefix == prefix.replace("module.", "").replace("_orig_mod.", "")
    assert convert_weights(weights, source="these").prefix == ""


def test_a_prefix_hides_nothing_that_the_names_tell(resnet18):
    """What is unread stays so, and an epsilon that depends on names is found behind the prefix, too."""
    made = convert_weights({f"net.{name}": value for name, value in resnet18.items()}, source="these")
    assert set(made.unread) == {name for name in resnet18 if name.startswith("fc.") or "num_batches" in name}
    fine_tuned = flat(NEW, 90) | {"backbone.body.bn1.num_batches_tracked": np.array(3)}
    for weights, epsilon in ((flat(NEW, 90), 0.0), (fine_tuned, 1e-5)):
        made = convert_weights({f"model.{name}": value for name, value in weights.items()}, source="these")
        assert made.batch_norm_epsilon == epsilon


def test_wrappers_within_the_network(resnet18):
    weights = {
        name.replace("layer1.0.", "layer1.0._checkpoint_wrapped_module.").replace("bn1", "bn1._orig_mod"): value
        for name, value in resnet18.items()
    }
    made = convert_weights(weights, source="these")
    assert (made.layout, made.prefix, len(made.unread)) == (RESNET18, "", 22)


def test_a_prefix_of_some_names_is_named(resnet18):
    weights = {f"model.{name}": value for name, value in resnet18.items()}
    with pytest.raises(
        WeightsError,
        match=r"resnet18 classifier behind the prefix 'model.', with 1 array \(loss.weight\) unknown to it",
    ):
        convert_weights(weights | {"loss.weight": np.ones(2)}, source="these")
    average = {f"average.{name}": value for name, value in resnet18.items()}
    with pytest.raises(WeightsError, match=r"with 122 arrays \((average|model)\.bn1\.bias, .*\) unknown to it"):
        convert_weights(weights | average, source="these")
    del weights["model.conv1.weight"]
    with pytest.raises(WeightsError, match=r"behind the prefix 'model.', with 1 array \(conv1.weight\) missing"):
        convert_weights(weights, source="these")
    collide = resnet18 | {"module.conv1.weight": resnet18["conv1.weight"]}
    with pytest.raises(WeightsError, match=r"1 array \(module.conv1.weight\) unknown to it"):
        convert_weights(collide, source="these")


def test_a_classifiers_backbone(resnet18):
    made = convert_weights(resnet18, source="these")
    assert made.config.model.backbone.depth == 18
    assert set(made.unread) == {name for name in resnet18 if name.startswith("fc.") or "num_batches" in name}
    kernel = made.variables["params"]["backbone"]["layer2_0"]["downsample_conv"]["kernel"]
    np.testing.assert_array_equal(kernel, resnet18["layer2.0.downsample.0.weight"].transpose(2, 3, 1, 0))
    frozen = made.variables["frozen"]["backbone"]["layer4_1"]["bn2"]
    for ours, theirs in {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}.items():
        np.testing.assert_array_equal(frozen[ours], resnet18[f"layer4.1.bn2.{theirs}"])


def test_what_is_made_is_a_copy(resnet18):
    weights = {name: value.copy() for name, value in resnet18.items()}
    made = convert_weights(weights, source="these")
    before = made.variables["frozen"]["backbone"]["bn1"]["bias"].copy()
    weights["bn1.bias"][:] = 9
    np.testing.assert_array_equal(made.variables["frozen"]["backbone"]["bn1"]["bias"], before)


def test_names_from_before_torchvision_0_13():
    """The two tables differ in names alone."""
    old, new = OLD.sources(90), NEW.sources(90)
    assert list(old) == list(new)
    renamed = {}
    for path in old:
        ((before, shape),) = old[path].reads.items()
        ((after, other),) = new[path].reads.items()
        assert shape == other
        if before != after:
            renamed[before] = after
    assert renamed["backbone.fpn.inner_blocks.3.weight"] == "backbone.fpn.inner_blocks.3.0.weight"
    assert renamed["rpn.head.conv.bias"] == "rpn.head.conv.0.0.bias"
    assert renamed["roi_heads.mask_head.mask_fcn4.weight"] == "roi_heads.mask_head.3.0.weight"
    assert len(renamed) == 2 * (8 + 1 + 4)


@pytest.mark.parametrize(
    ("weights", "given", "expected"),
    [
        (flat(OLD, 90), None, 0.0),
        (flat(NEW, 90), None, 0.0),
        (flat(NEW, 7), None, 1e-5),
        (flat(NEW, 90) | {"backbone.body.bn1.num_batches_tracked": np.array(3)}, None, 1e-5),
        (flat(V2, 90), None, 1e-5),
        (flat(NEW, 7), 1e-3, 1e-3),
    ],
)
def test_batch_norm_epsilon(weights, given, expected):
    """Whatever the weights' epsilon, our layer gives what theirs gave."""
    rng = np.random.default_rng(0)
    norm = {name: rng.uniform(0.5, 2, 64).astype(np.float32) for name in ("weight", "bias", "running_mean")}
    norm["running_var"] = np.geomspace(1e-12, 1, 64).astype(np.float32)
    made = convert_weights(
        weights | {f"backbone.body.bn1.{name}": value for name, value in norm.items()},
        source="these",
        batch_norm_epsilon=given,
    )
    assert made.batch_norm_epsilon == expected
    inputs = rng.normal(size=(1, 2, 3, 64)).astype(np.float32)
    frozen = made.variables["frozen"]["backbone"]["bn1"]
    outputs = FrozenBatchNorm().apply({"frozen": frozen}, jnp.asarray(inputs))
    deviation = np.sqrt(norm["running_var"].astype(np.float64) + expected)
    theirs = (inputs - norm["running_mean"]) / deviation * norm["weight"] + norm["bias"]
    np.testing.assert_allclose(outputs, theirs, rtol=1e-4, atol=1e-4)


def test_a_negative_variance(resnet18):
    with pytest.raises(WeightsError, match=r"these: a variance of frozen/backbone/bn1 is -1, .*not positive.*1e-05"):
        convert_weights(resnet18 | {"bn1.running_var": np.full(64, -1, np.float32)}, source="these")


@pytest.mark.parametrize("epsilon", [-1e-5, np.inf, np.nan])
def test_an_epsilon_that_cannot_be(epsilon, resnet18):
    with pytest.raises(ConfigError, match=f"epsilon must be a finite number from 0 on, not {epsilon}"):
        convert_weights(resnet18, source="these", batch_norm_epsilon=epsilon)


def test_class_names():
    assert convert_weights(flat(NEW, 90), source="these").config.model.class_names == torchvision.COCO_CLASS_NAMES
    named = convert_weights(flat(V2, 2), source="these", num_classes=3, class_names=["cat", "dog"])
    assert named.config.model.class_names == ("cat", "dog")
    with pytest.raises(ConfigError, match="class_names must not repeat"):
        convert_weights(flat(NEW, 2), source="these", class_names=["cat", "cat"])


def without(arrays: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: value for name, value in arrays.items() if name not in names}


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({"a": np.zeros(1)}, {}, r"these: none .* in a known layout: 1 array \(a\)\. Known are torchvision's resnet18"),
        (
            without(flat(V2), "rpn.head.conv.1.0.weight"),
            {},
            r"nearest is torchvision's maskrcnn_resnet50_fpn_v2, with 1 array \(rpn.head.conv.1.0.weight\) missing\.",
        ),
        (
            flat(RESNET18) | {"layer5.a": np.zeros(1)},
            {},
            r"nearest is torchvision's resnet18 classifier, with 1 array \(layer5.a\) unknown to it",
        ),
        (
            without(flat(NEW), *[name for name in flat(NEW) if "mask_" in name]),
            {},
            r"maskrcnn_resnet50_fpn, with 12 arrays \(roi_heads.mask_head.0.0.bias, .*, \.\.\.\) missing",
        ),
        (flat(NEW) | {SCORES: np.zeros(1)}, {}, "cls_score.bias has the shape .1,.*background"),
        (flat(NEW) | {SCORES: np.zeros(())}, {}, "cls_score.bias has the shape .*background"),
        (flat(NEW) | {SCORES: np.zeros(9)}, {}, r"cls_score.weight is \(4, 1024\), not \(9, 1024\).*and 2 more"),
        (
            flat(RESNET18) | {"bn1.bias": np.zeros(32)},
            {},
            r"resnet18.*other shapes: bn1.bias is \(32,\), not \(64,",
        ),
        (flat(NEW), {"num_classes": 91}, r"has 4 classes with the background .*, not 91"),
        (flat(NEW), {"class_names": ["cat"]}, r"has 3 classes besides the background .*1 names are given"),
        (flat(RESNET18), {"class_names": ["cat"]}, "a backbone alone, which has no classes"),
        (flat(RESNET18), {"num_classes": 4}, "a backbone alone, which has no classes"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(weights, options, message):
    with pytest.raises(WeightsError, match=f"^these: .*{message}" if not message.startswith("these") else message):
        convert_weights(weights, source="these", **options)


def test_a_backbone_is_a_checkpoint_to_start_from_alone(resnet18, tmp_path):
    np.savez(tmp_path / "resnet18.npz", **resnet18)
    made = import_weights(tmp_path / "resnet18.npz", tmp_path / "run")
    config, variables = load_variables(tmp_path / "run")
    assert config == made.config
    jax.tree.map(np.testing.assert_array_equal, variables, made.variables)
    assert (tmp_path / "run" / "config.json").read_text() == to_json(config) + "\n"
    for use in (load_checkpoint, Predictor.from_checkpoint):
        with pytest.raises(CheckpointError, match="run.*a backbone alone, which finds no objects"):
            use(tmp_path / "run")
    with pytest.raises(CheckpointError, match="run.*no state of an optimiser"):
        restore_last(tmp_path / "run", variables, {})


def test_a_detector_is_an_ordinary_checkpoint(tmp_path):
    np.savez(tmp_path / "weights.npz", **flat(NEW))
    (tmp_path / "run").mkdir()
    made = import_weights(tmp_path / "weights.npz", tmp_path / "run", class_names=["car", "tram", "van"])
    config, variables, step = load_checkpoint(tmp_path / "run")
    assert (config, step) == (made.config, 0)
    assert config.model.class_names == ("car", "tram", "van")
    jax.tree.map(np.testing.assert_array_equal, variables, made.variables)
    assert Predictor.from_checkpoint(tmp_path / "run").config == config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "weights.npz"]


def test_what_the_arrays_do_not_tell_can_be_set(resnet18, tmp_path):
    np.savez(tmp_path / "resnet18.npz", **resnet18)
    overrides = ["--model.input.channel-order", "bgr", "--model.input.std=1,1,1"]
    import_weights(tmp_path / "resnet18.npz", tmp_path / "run", overrides=overrides)
    config, _ = load_variables(tmp_path / "run")
    assert (config.model.input.channel_order, config.model.input.std) == ("bgr", (1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="model.backbone.width cannot be set: the rest is as the weights are"):
        import_weights(tmp_path / "resnet18.npz", tmp_path / "other", overrides=["--model.backbone.width", "32"])
    assert not (tmp_path / "other").exists()


def test_a_folder_with_something_in_it_is_left_alone(resnet18, tmp_path):
    np.savez(tmp_path / "resnet18.npz", **resnet18)
    with pytest.raises(WeightsError, match=f"{tmp_path}: is there already"):
        import_weights(tmp_path / "resnet18.npz", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["resnet18.npz"]


def test_a_full_disk_leaves_nothing(resnet18, tmp_path):
    np.savez(tmp_path / "resnet18.npz", **resnet18)
    with files_limited_to(1 << 20), pytest.raises(CheckpointError) as caught:
        import_weights(tmp_path / "resnet18.npz", tmp_path / "run")
    assert str(caught.value) == f"{tmp_path / 'run'}: cannot be written (File too large); nothing of it is left"
    assert [path.name for path in tmp_path.iterdir()] == ["resnet18.npz"]


@pytest.fixture
def heeding_ctrl_c():
    """A shell has what it starts in the background ignore Ctrl-C, and the tests may be such."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_what_ctrl_c_interrupts_leaves_nothing(resnet18, tmp_path, monkeypatch):
    """Not even what Orbax writes in the background."""
    close = CheckpointWriter.close

    def interrupted_close(writer):
        os.kill(os.getpid(), signal.SIGINT)
        close(writer)

    np.savez(tmp_path / "resnet18.npz", **resnet18)
    monkeypatch.setattr(CheckpointWriter, "close", interrupted_close)
    with pytest.raises(KeyboardInterrupt):
        import_weights(tmp_path / "resnet18.npz", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["resnet18.npz"]


def test_the_predictor_of_a_state_dict():
    predictor = Predictor.from_torchvision(flat(V2, 90), min_size=384, max_size=1280)
    assert predictor.config.model.class_names == torchvision.COCO_CLASS_NAMES
    image = predictor.config.model.input
    assert (image.short_side, image.long_side, image.height, image.width) == (384, 1280, 384, 1280)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("missing.npz", r"missing.npz: cannot be read \(No such file"),
        (flat(NEW), "the state dict: has 4 classes with the background .*not 91"),
        (flat(RESNET18), "the state dict: .*a backbone alone"),
        ({"a": "text"}, "the state dict: a is a str"),
    ],
)
def test_what_makes_no_predictor(weights, message):
    with pytest.raises(AmodalJaxError, match=message):
        Predictor.from_torchvision(weights)


def run_script(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "import_weights.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command(resnet18, tmp_path):
    np.savez(tmp_path / "resnet18.npz", **resnet18)
    done = run_script(tmp_path / "resnet18.npz", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "torchvision's resnet18 classifier, the backbone alone" in done.stdout
    assert load_variables(tmp_path / "run")[0].model.backbone.depth == 18

    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    failed = run_script(tmp_path / "other.npz", "--out", tmp_path / "nothing")
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"error: {tmp_path / 'other.npz'}: none of the arrays")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "nothing").exists()
