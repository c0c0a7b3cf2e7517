"""docs/extend.md, run as it stands: its file becomes a kind, its configuration an experiment."""

import importlib
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from amodal_jax.config_json import from_json, override, to_json
from amodal_jax.errors import ConfigError
from amodal_jax.models import mask_heads
from amodal_jax.models.kinds import kind_names
from amodal_jax.models.mask_heads import MaskConfig
from amodal_jax.network import build_network, initialise
from tests.helpers.micro import detections, image_keys, loss_and_gradients, micro_batch, micro_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page's two files, found as if they were where it says."""
    text = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    head, config = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for package, name, content in ((mask_heads, "shared", head), (configs, "shared_r50_fpn", config)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(content, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    importlib.invalidate_caches()
    yield
    for name in ("amodal_jax.models.mask_heads.shared", "configs.shared_r50_fpn"):
        sys.modules.pop(name, None)


def test_the_new_head_is_a_kind_like_the_others(page):
    assert "shared" in kind_names(MaskConfig)
    config = configs.load_config("shared_r50_fpn")
    assert config.model.mask.kind == "shared"
    assert from_json(to_json(config)) == config
    with pytest.raises(ConfigError, match=r"model\.mlc\.enabled must be false"):
        override(micro_config(), ["--model.mask.kind", "shared"])
    options = ["--model.mlc.enabled", "false", "--model.mask.kind", "shared", "--model.mask.convolutions", "3"]
    micro = override(micro_config(), options)
    network = build_network(micro)
    assert "shared convolutions" in network.summary
    variables = initialise(network, micro, jax.random.key(0))
    assert set(variables["params"]["shared_mask_head"]) == {"conv1", "conv2", "conv3", "up", "amodal", "inmodal"}
    batch = micro_batch(2)
    (loss, _), gradients = loss_and_gradients(network, variables, batch, image_keys(2))
    assert np.isfinite(loss)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients["shared_mask_head"]))
    found = detections(network, variables, batch.images, batch.sizes)
    assert found.amodal_masks.shape == found.inmodal_masks.shape == (2, 10, 28, 28)
