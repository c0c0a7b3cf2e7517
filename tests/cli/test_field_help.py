"""The help's fields are those that there are, and its defaults what a configuration has."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from amodal_jax.cli.field_help import explain_fields
from amodal_jax.cli.section_source import read_sections
from amodal_jax.config import Config
from amodal_jax.config_json import field_lines, override
from amodal_jax.models.kinds import Kind, kind_names
from amodal_jax.models.mask_heads import MaskConfig
from configs import load_config

ROOT = Path(__file__).resolve().parents[2]


def lines_of_sections(sections):
    return [f"--{field.path.replace('_', '-')} {field.default}" for section in sections for field in section.fields]


def kinds_of(section, path=""):
    """The kinds of a configuration's sections by their paths."""
    found = {path: section.kind} if isinstance(section, Kind) else {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            found |= kinds_of(value, f"{path}.{field.name}" if path else field.name)
    return found


@pytest.mark.parametrize("chosen", [{}, *({"model.mask": name} for name in kind_names(MaskConfig))], ids=str)
def test_the_source_has_the_fields_and_defaults_that_a_configuration_has(chosen):
    overrides = [word for path, name in chosen.items() for word in (f"--{path}.kind", name)]
    config = override(Config(), ["--model.mlc.enabled", "false", *overrides] if chosen else [])
    expected = [line for line in field_lines(config) if not line.startswith("--model.mlc.enabled ")]
    found = lines_of_sections(section for section in read_sections(chosen) if section.kind is None)
    assert sorted(line for line in found if not line.startswith("--model.mlc.enabled ")) == sorted(expected)


def test_every_field_and_section_is_explained_in_words():
    for section in read_sections({}):
        assert section.meaning.endswith((".", ")")), section
        for field in section.fields:
            assert field.meaning.endswith("."), field
            assert field.accepts, field


def test_what_a_field_accepts_is_accepted():
    """Every choice in words is one; of other fields the words name the type."""
    for section in read_sections({}):
        for field in section.fields:
            if section.kind is None and field.accepts.startswith("one of "):
                assert field.default in field.accepts.removeprefix("one of ").split(", "), field
    accepts = {field.path: field.accepts for section in read_sections({}) for field in section.fields}
    assert accepts["train.steps"] == "an integer"
    assert accepts["train.learning_rate"] == "a number"
    assert accepts["data.flip"] == "true or false"
    assert accepts["data.directory"] == "a text"
    assert accepts["train.decay_steps"] == "integers, separated by commas"
    assert accepts["model.roi.box_weights"] == "numbers, separated by commas"
    assert accepts["model.backbone.depth"] == "one of 18, 50, 101"
    assert accepts["evaluation.mask_paste"] == "one of pixel_centres, torchvision"
    assert accepts["model.mask.kind"] == f"one of {', '.join(kind_names(MaskConfig))}"


@pytest.mark.parametrize("name", ["asn_tiny", "asn_panet_r50_fpn", "bcnet_r50_fpn"])
def test_a_configuration_is_shown_with_its_values(name):
    config = load_config(name)
    values = {
        line.removeprefix("--").split(" ", 1)[0].replace("-", "_"): line.split(" ", 1)[1]
        for line in field_lines(config)
    }
    text = explain_fields(("--",), values)
    shown = [line.strip() for line in text.partition(", if --")[0].splitlines() if line.startswith("  --")]
    assert set(shown) <= set(field_lines(config))
    assert not [line for line in field_lines(config) if f"  {line}".rstrip() not in text.splitlines()]
    for path, kind in kinds_of(config).items():
        assert f"  --{path}.kind {kind}" in text.splitlines()


def test_a_command_shows_the_fields_that_it_takes_and_no_values_that_it_cannot_know(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = explain_fields(("--evaluation.mask-paste", "--data.flip"), None, with_values=False)
    assert text.splitlines() == [
        "data: The built dataset and how it is fed.",
        "  --data.flip VALUE",
        "        Whether training images are flipped horizontally",
        "        with a probability of one half. (true or false)",
        "",
        "evaluation: Which detections count, and how they are",
        "computed.",
        "  --evaluation.mask-paste VALUE",
        "        How masks come into the image; torchvision's way",
        "        is for its own weights. (one of pixel_centres,",
        "        torchvision)",
    ]


@pytest.mark.parametrize("script", ["train", "evaluate", "export", "import_weights", "describe", "predict", "report"])
def test_help_needs_no_jax_and_takes_under_a_second(script):
    program = (
        "import runpy, sys; sys.modules['jax'] = sys.modules['numpy'] = None; sys.argv = ['script', '--help']; "
        f"runpy.run_path({str(ROOT / 'scripts' / script)!r} + '.py', run_name='__main__')"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert "show this help" in output
    assert used.ru_utime + used.ru_stime < 1
