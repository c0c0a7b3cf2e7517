"""The table of docs/zoo.md: parameters as the network has them, multiplications as its shapes give them."""

import re
from pathlib import Path

import jax
import pytest

from amodal_jax.network import build_network, initialise
from amodal_jax.summary import summarise
from configs import load_config
from scripts.benchmarks import arithmetic
from scripts.benchmarks.example import make_batch
from scripts.benchmarks.network import draw_examples
from scripts.benchmarks.options import Options

ROOT = Path(__file__).resolve().parents[2]
DETECTIONS = 100


def rows() -> dict[str, list[str]]:
    """The cells of each network's row, behind its name."""
    text = (ROOT / "docs" / "zoo.md").read_text().partition("## What they cost")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {name.strip("`"): others for name, *others in cells if re.fullmatch(r"`\w+`", name)}


def test_the_costs_are_of_networks_whose_source_is_told():
    sources = (ROOT / "docs" / "zoo.md").read_text().partition("## What they cost")[0]
    assert rows()
    assert set(rows()) <= set(re.findall(r"^\| `(\w+)`", sources, re.MULTILINE))


@pytest.mark.parametrize("name", rows())
def test_costs_of_the_table(name):
    """Of an image of 416x1344 pixels with 100 detections."""
    parameters, gmac = rows()[name]
    config = load_config(name)
    options = Options(
        config=config,
        height=416,
        width=1344,
        batch_size=1,
        repeats=1,
        images=1,
    )
    sized = options.sized()
    network = build_network(sized)
    variables = jax.eval_shape(lambda: initialise(network, sized, jax.random.key(0)))
    batch = make_batch(draw_examples(sized), sized)
    counted = arithmetic.of_inference(network, variables, batch.images, batch.sizes, DETECTIONS)
    assert summarise(config)[-1].parameters == int(parameters.replace(" ", ""))
    assert counted / 1e9 == pytest.approx(float(gmac), abs=0.5)
