"""What the documents tell their readers to type is run on small stand-ins, or its options are checked.

A new command in a document is run as it is: a name in it that stands for something goes into NAMES or WORDS, and what
cannot be run here into CHECKED or LEFT_OUT, with the reason.
"""

import argparse
import ast
import contextlib
import glob
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import configs
from amodal_jax.commands.main import main as amodal_jax_command
from amodal_jax.commands.main import read_and_run
from amodal_jax.config_json import override
from data.tools import COMMANDS
from tests.helpers.documents import ROOT, Block, blocks, commands, spans
from tests.helpers.stand_ins import StandIns

# Files and folders, by the beginning of a path, and what stands for them; "document: name" where it is one document's.
NAMES = {
    "KINS": StandIns.scenes,
    "docs/dataset.md: KINS": StandIns.release_of_2019,
    "DIR": StandIns.scenes,
    "docs/evaluation.md: DIR": StandIns.built_dataset,
    "kins": StandIns.scenes_with_a_fault,
    "kins/anna": StandIns.scenes,
    "kins/ben": StandIns.scenes,
    "kins/cleo": StandIns.scenes,
    "kins/*": StandIns.annotators,
    "../synthetic": StandIns.scenes,
    "scenes": StandIns.scenes,
    "fruit": StandIns.scenes,
    "pseudo": StandIns.scenes,
    "cocoa/kins": StandIns.scenes,
    "voted": StandIns.scenes,
    "update_train_2020.json": StandIns.annotations,
    "drawn.json": StandIns.annotations,
    "LABEL_2": StandIns.kitti_labels,
    "COCOA": StandIns.cocoa,
    "COCO_amodal_val2014.json": StandIns.cocoa,
    "val2014": StandIns.many_images,
    "training.json": StandIns.d2sa,
    "validation.json": StandIns.d2sa,
    "anna": StandIns.labelme,
    "labels.txt": StandIns.labels,
    "KITTI": StandIns.kitti,
    "~/tensorflow_datasets/kins": StandIns.built_dataset,
    "RUN": StandIns.run,
    "runs/asn": StandIns.run,
    "runs/coco": StandIns.run,
    "runs/cocoa": StandIns.run,
    "runs/fruit": StandIns.run,
    "exported/asn": StandIns.exported,
    "a.json": StandIns.results,
    "i.json": StandIns.results,
    "my_images": StandIns.images,
    "images": StandIns.images,
    "street.npy": StandIns.image,
    "street.png": StandIns.image,
    "weights.npz": StandIns.weights,
    "resnet50-0676ba61.pth": StandIns.weights,
}
# Options whose value is written and not read.
WRITTEN = ("--out", "--json", "--fix", "--plots", "--workdir", "--data-dir")
# Words for others, and numbers for smaller ones.
WORDS = (
    (r"RUN \.\.\.", "RUN"),
    (r" \.\.\. ", " asn_r50_fpn --workdir runs/asn "),
    (r"\bruns/NAME\b", "runs/asn"),
    (r"\bNAME\b", "asn_tiny"),
    (r"\bFIGURE\b", "amodal/AP50"),
    (r"\bFILE\.svg\b", "curves.svg"),
    (r"import_weights\.py FILE\b", "import_weights.py weights.npz"),
    (r"--images (1000|500)\b", "--images 5"),
)
# Each takes a second; tests/models/test_every_network.py builds all of them.
DESCRIBED = ["ablations/mask_rcnn", "asn_few_images"]
# Of these only the options are checked.
CHECKED = {
    r"scripts/train\.py (?!--help)": "a training; tests/test_train.py runs the script on a small network",
    r"scripts/study\.py": "trainings; tests/scripts/studies runs the parts",
    r"amodal-jax train (?!--help)": "likewise; tests/commands/test_commands.py runs it",
    r"scripts/figure5\.py": "a run of several checkpoints; tests/iterations runs it",
    r"scripts/scene_flow\.py": "KITTI's scene-flow maps; tests/scene_flow runs it",
    r"scripts/benchmark\.py (?!--help)": "measures for minutes; tests/scripts/test_benchmark.py runs it",
    r"scripts/import_weights\.py \S*(maskrcnn|model_final|R-50)": "weights of networks that are not small",
}
LEFT_OUT = {
    r"^(python3? -m )?(pip|venv)\b": "installs packages",
    r"^bash scripts/(demo|fine_tuning)\.sh": "takes minutes; its options are its own",
    r"^bash scripts/test\.sh|-m pytest": "runs these tests",
    r"^labelme ": "another program, with a window",
    r"golden/regenerate": "needs PyTorch",
    r"shared_r50_fpn": "of a head that tests/models/test_extend.py makes and tries",
    r"data\.kins\.make_dummy_data": "draws files of the checkout anew",
    r"^scripts/build_dataset\.py kins --manual-dir$|^python scripts/benchmark\.py$": "the beginning of a command",
}
# What a block of Python takes from the text before it; the folder that it is run in; and those that are not run.
BEFORE_PYTHON = {
    "docs/export.md": "import numpy as np\nimage = np.load('street.npy')\n",
    "data/kins/README.md": "import tensorflow_datasets as tfds\n",
}
FOLDERS_OF_PYTHON = {"docs/export.md": "exported/asn"}
PYTHON_LEFT_OUT = {
    "maskrcnn_resnet50_fpn_coco": "a large network's; tests/weights/test_parity_torchvision.py runs it on such",
    "mask_heads.shared import": "run by tests/models/test_extend.py",
    "my_image": "run as my_data.py, above",
}
# Options in sentences that are another program's.
OTHER_OPTIONS = ("--label", "--nodata", "--autosave", "--upgrade")


def left_out(text: str, table: dict[str, str]) -> bool:
    return any(re.search(pattern, text) for pattern in table)


def variants(text: str) -> list[list[str]]:
    """The words of a command, without and with what it has in brackets, as NAMES has them."""
    for pattern, word in WORDS:
        text = re.sub(pattern, word, text)
    texts = dict.fromkeys((re.sub(r"\[(--[^]]*)\]", "", text), re.sub(r"\[(--[^]]*)\]", r"\1", text)))
    return [shlex.split(each, comments=True) for each in texts]


class Reader:
    """Types commands into a folder that holds stand-ins for what they read."""

    def __init__(self, document: str, stand_ins: StandIns, monkeypatch, folder: Path):
        self._document = document
        self._stand_ins = stand_ins
        self._monkeypatch = monkeypatch
        self.place = folder / "checkout"
        self.place.mkdir()
        monkeypatch.chdir(self.place)
        monkeypatch.setenv("HOME", str(folder / "home"))

    def provide(self, words: list[str]) -> None:
        """Makes what the words name, but for what is there and what the command is to write."""
        for before, word in zip(["", *words], words, strict=False):
            names = sorted((name for name in NAMES if word == name or word.startswith(f"{name}/")), key=len)
            if before in WRITTEN or not names:
                continue
            place = Path(names[-1].removesuffix("/*")).expanduser()
            if not place.exists():
                place.absolute().parent.mkdir(parents=True, exist_ok=True)
                make = NAMES.get(f"{self._document}: {names[-1]}", NAMES[names[-1]])
                make(self._stand_ins, place)

    def type(self, words: list[str]) -> None:
        self.provide(words)
        if words[0] == "cd":
            self._monkeypatch.chdir(words[1])
            return
        words = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
        if words[0] == "amodal-jax":
            assert run_main(amodal_jax_command, words, self._monkeypatch) == 0, words
            return
        if words[0] == "python" and words[1].startswith("scripts/"):
            assert run_script(words[1:], self._monkeypatch) == 0, words
            return
        environment = dict(word.split("=", 1) for word in words if re.fullmatch(r"[A-Z_]+=.*", word))
        words = [sys.executable if word == "python" else word for word in words[len(environment) :]]
        environment = os.environ | environment | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def load_script(name: str):
    specification = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    return script


def run_script(words: list[str], monkeypatch) -> int:
    script = load_script(words[0])
    return run_main(lambda: script.command_line.run(script.main), words, monkeypatch)


def run_main(main: Callable[[], None], words: list[str], monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


class Parsed(Exception):
    """A script's command line has been read."""


@contextlib.contextmanager
def reading_alone(monkeypatch):
    """Scripts end with `Parsed` when they have read their command line; gives it and the parser."""
    found = {}
    read = argparse.ArgumentParser.parse_known_args

    def parse_args(self, args=None, namespace=None):
        arguments, rest = read(self, args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        found.update(arguments=arguments, overrides=[], parser=self)
        raise Parsed

    def parse_known_args(self, args=None, namespace=None):
        arguments, rest = read(self, args, namespace)
        if args is not None:  # a part of a command line, for a command of its own
            return arguments, rest
        found.update(arguments=arguments, overrides=rest, parser=self)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        yield found


def read_command_line(words: list[str], monkeypatch):
    """The arguments of a command and its parser; fields of the configuration have to be ones, too."""
    read = read_and_run if words[0] == "amodal-jax" else load_script(words[0]).main
    with reading_alone(monkeypatch) as found:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(Parsed):
            read()
    name = getattr(found["arguments"], "config", None)
    config = configs.load_config("asn_r50_fpn" if name is None or Path(name).suffix else name)
    override(config, found["overrides"])
    return found


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> StandIns:
    return StandIns(tmp_path_factory.mktemp("stand_ins"))


def together() -> list[list[Block]]:
    """The commands of each block, in one list, and each within a sentence by itself."""
    places = [(block.document, block.line, block.line + block.text.count("\n")) for block in blocks()]
    groups: dict[object, list[Block]] = {}
    for command in commands():
        inside = [place for place in places if place[0] == command.document and place[1] <= command.line < place[2]]
        groups.setdefault(inside[0] if inside else (command.document, command.line, command.text), []).append(command)
    return list(groups.values())


def run_alike(group: list[Block]) -> str:
    return "; ".join(command.text for command in group)


@pytest.mark.parametrize(
    "group", {run_alike(group): group for group in together()}.values(), ids=lambda group: str(group[0])
)
def test_commands(group, stand_ins, monkeypatch, tmp_path):
    reader = Reader(group[0].document, stand_ins, monkeypatch, tmp_path)
    for command in group:
        if left_out(command.text, LEFT_OUT):
            continue
        for words in variants(command.text):
            if words[0].startswith("scripts/"):
                words.insert(0, "python")
            if left_out(command.text, CHECKED):
                read_command_line(words[words.index("python") + 1 :] if "python" in words else words, monkeypatch)
            elif words[1:] == ["scripts/describe.py"]:
                monkeypatch.setattr(configs, "config_names", lambda: DESCRIBED)
                reader.type(words)
            elif words[-1] == "COMMAND":
                for name in COMMANDS:
                    assert run_script([*words[1:-1], name, "--help"], monkeypatch) == 0
            else:
                reader.type(words)


def my_data(stand_ins: StandIns, place: Path) -> None:
    (block,) = (block for block in blocks() if block.language == "python" and "my_image" in block.text)
    place.write_text(block.text)


NAMES["my_data.py"] = my_data


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=str)
def test_blocks_of_python(block, stand_ins, monkeypatch, tmp_path):
    if left_out(block.text, PYTHON_LEFT_OUT):
        compile(block.text, str(block), "exec")
        return
    reader = Reader(block.document, stand_ins, monkeypatch, tmp_path)
    if folder := FOLDERS_OF_PYTHON.get(block.document):
        reader.type(["cd", folder])
    program = BEFORE_PYTHON.get(block.document, "") + block.text
    strings = [node.value for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Constant)]
    reader.provide([text for text in strings if isinstance(text, str)])
    reader.type(["python", "-c", program])


def test_blocks_of_json():
    for block in blocks():
        if block.language == "json":
            json.loads(block.text)
    assert {block.language for block in blocks()} <= {"", "python", "json"}


def test_options_and_configurations_in_sentences(monkeypatch, capsys):
    for script in sorted((ROOT / "scripts").glob("*.py")):
        if script.name == "__init__.py":
            continue
        for command in [[name] for name in COMMANDS] if script.name == "dataset.py" else [[]]:
            assert run_script([f"scripts/{script.name}", *command, "--help"], monkeypatch) == 0
    known = set(re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out))
    names = configs.config_names()
    for place, span in spans():
        for option in re.findall(r"(?<!\S)--[a-z][\w.-]*", span) if span.startswith("--") else []:
            assert option.rstrip(".") in known or option.startswith(OTHER_OPTIONS), place
        if re.fullmatch(r"(ablations/|asn_|mask_rcnn_r|torchvision_mask)\w+", span):
            assert span in names, place


def test_all_commands_of_the_documents_are_found():
    """Every mention of a script behind a program's name is in what is tried above."""
    tried = " ".join(command.text for command in commands())
    for document in {command.document for command in commands()}:
        for mention in re.findall(
            r"(?:python|bash) (?:scripts/\S+\.\w+|run\.py|\w+\.py)|^amodal-jax \S+",
            (ROOT / document).read_text(),
            re.MULTILINE,
        ):
            assert mention in tried


def test_nothing_in_the_tables_is_out_of_date():
    texts = [command.text for command in commands()]
    everything = "\n".join([*texts, *(block.text for block in blocks()), *(word for _, word in WORDS)])
    for pattern in (*CHECKED, *LEFT_OUT):
        assert any(re.search(pattern, text) for text in texts), pattern
    for pattern in (*(pattern for pattern, _ in WORDS), *PYTHON_LEFT_OUT):
        assert re.search(pattern, everything), pattern
    for name in NAMES:
        assert name.rpartition(": ")[2] in everything, name
