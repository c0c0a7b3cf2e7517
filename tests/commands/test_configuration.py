"""What a command line can name as its configuration."""

import dataclasses

import pytest

from amodal_jax.commands.configuration import load_configuration
from amodal_jax.config import Config
from amodal_jax.config_json import to_json
from amodal_jax.errors import ConfigError
from amodal_jax.runs.directory import write_config
from configs import load_config

OWN = """import dataclasses

from amodal_jax.config import Config, TrainConfig


def get_config():
    return dataclasses.replace(Config(name="own"), train=TrainConfig(steps=7, decay_steps=()))
"""


def test_it_is_a_file_a_run_or_an_experiment(tmp_path):
    config = dataclasses.replace(load_config("asn_tiny"), name="mine")
    (tmp_path / "mine.json").write_text(to_json(config))
    write_config(tmp_path / "run", config)
    assert load_configuration(str(tmp_path / "mine.json"), None) == config
    assert load_configuration(str(tmp_path / "run"), None) == config
    (tmp_path / "own.py").write_text(OWN)
    own = load_configuration(str(tmp_path / "own.py"), None)
    assert (own.name, own.train.steps, own.model) == ("own", 7, Config().model)
    assert load_configuration("asn_tiny", "configs") == load_config("asn_tiny")
    assert load_configuration("ablations/mlc_3_3", "configs") == load_config("ablations/mlc_3_3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it defines no function get_config"),
        ("def get_config(): return 3", "returns no amodal_jax.config.Config, but int"),
        ("def get_config(: pass", "SyntaxError"),
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("from amodal_jax.config import TrainConfig\nTrainConfig(steps=0)", r"train\.steps must be positive"),
    ],
)
def test_an_error_in_a_file_of_python_names_it(tmp_path, text, message):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ConfigError, match=rf"own\.py: .*{message}"):
        load_configuration(str(tmp_path / "own.py"), None)


def test_what_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.json").write_text("{")
    for name, experiments, message in (
        ("damaged.json", None, "damaged.json: the configuration is not JSON"),
        ("absent.json", None, "absent.json: there is no such file"),
        ("absent.py", "configs", "absent.py: there is no such file"),
        (".", None, "no run directory"),
        ("asn_tiny", None, 'unknown configuration "asn_tiny": name a .py or .json file, or a run directory'),
        ("asn_tny", "configs", "did you mean asn_tiny"),
    ):
        with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
            load_configuration(name, experiments)
