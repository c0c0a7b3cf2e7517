"""A configuration as JSON, as a command line's options, and as lines of text.

A section of which there are several kinds (`amodal_jax.models.kinds`) has its kind's name in JSON under "kind", which
comes first; `--model.mask.kind NAME` puts that kind with its defaults in place of what is there. Unknown and ill-typed
fields are refused by name.
"""

import dataclasses
import difflib
import json
import math
import typing
from typing import Any, Literal

from amodal_jax.cli.section_source import as_typed
from amodal_jax.config import Config
from amodal_jax.errors import ConfigError
from amodal_jax.models.kinds import Kind, find_kind

KIND = "kind"


def to_values(section: Any) -> dict[str, Any]:
    """A configuration or one of its sections as nested dictionaries of JSON values."""
    values: dict[str, Any] = {KIND: section.kind} if isinstance(section, Kind) else {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        values[field.name] = to_values(value) if dataclasses.is_dataclass(value) else value
    return values


def to_json(config: Config) -> str:
    """The whole configuration as indented JSON; `from_json` reads it back equal."""
    return json.dumps(to_values(config), indent=2)


def from_json(text: str) -> Config:
    """Reads what `to_json` wrote. Fields that are absent take their defaults.

    Raises:
      ConfigError: not JSON, an unknown field (the nearest known one is named), or a value of another type.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the configuration is not JSON: {error}") from error
    return _parse(Config, values, "", Config())


def override(config: Config, arguments: list[str]) -> Config:
    """Returns `config` changed by command-line arguments `--section.field value` or `--section.field=value`.

    Names take dashes or underscores. Tuples are written as comma-separated values.

    Raises:
      ConfigError: an argument that is no override, an unknown field, a missing or ill-typed value.
    """
    values = to_values(config)
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if not argument.startswith("--"):
            raise ConfigError(f'"{argument}" is not an override: write --section.field value')
        path, equals, text = argument[2:].partition("=")
        path = path.replace("-", "_")
        if not equals:
            if not remaining:
                raise ConfigError(f"--{path} has no value")
            text = remaining.pop(0)
        _set(values, path, text)
    return _parse(Config, values, "", Config())


def _set(values: dict[str, Any], path: str, text: str) -> None:
    """Puts the value that `text` stands for at `path` into a configuration's values."""
    section_type: Any = Config
    target, parent = values, values
    *sections, name = path.split(".")
    for depth, section in enumerate(sections):
        section_type = _field_type(section_type, section, ".".join(sections[:depth]))
        if not isinstance(section_type, type) or not dataclasses.is_dataclass(section_type):
            raise ConfigError(f"{path}: {section} has no fields")
        parent, target = target, target[section]
        if issubclass(section_type, Kind) and name != KIND:
            section_type = find_kind(section_type, target[KIND], ".".join(sections[: depth + 1]))
    if isinstance(section_type, type) and issubclass(section_type, Kind) and name == KIND:
        parent[sections[-1]] = to_values(find_kind(section_type, text, ".".join(sections))())
        return
    field_type = _field_type(section_type, name, ".".join(sections))
    if dataclasses.is_dataclass(field_type):
        raise ConfigError(f"{path} is a section; name one of its fields: {', '.join(_field_types(field_type))}")
    target[name] = _from_text(field_type, text, path)


def field_lines(config: Config) -> list[str]:
    """Every field as `--section.field value`, for help texts."""

    def lines(values: dict[str, Any], prefix: str):
        for name, value in values.items():
            if isinstance(value, dict):
                yield from lines(value, f"{prefix}{name}.")
            else:
                yield f"--{prefix}{name.replace('_', '-')} {as_typed(value)}"

    return list(lines(to_values(config), ""))


def _field_types(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _field_type(kind: Any, name: str, section: str) -> Any:
    known = _field_types(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise ConfigError(f"unknown field {section + '.' if section else ''}{name}: {hint}")
    return known[name]


def _from_text(kind: Any, text: str, path: str) -> Any:
    """A command line's text as the JSON value that `_parse` checks."""
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return [_from_text(item, part, path) for part in text.split(",") if part]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{path} must be true or false, not {text!r}")
        return text.lower() == "true"
    if kind is str or (typing.get_origin(kind) is Literal and isinstance(typing.get_args(kind)[0], str)):
        return text
    number = float if kind is float else int
    try:
        return number(text)
    except ValueError:
        raise ConfigError(f"{path} must be {'a number' if number is float else 'an integer'}, not {text!r}") from None


def _parse_section(section_type: type, values: Any, path: str, default: Any) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{path or 'the configuration'} must be an object of fields, not {values!r}")
    values = dict(values)
    if issubclass(section_type, Kind):
        section_type = find_kind(section_type, values.pop(KIND, default.kind), path)
        default = section_type()
    prefix = f"{path}." if path else ""
    return section_type(
        **{
            name: _parse(_field_type(section_type, name, path), item, f"{prefix}{name}", getattr(default, name))
            for name, item in values.items()
        }
    )


def _parse(kind: Any, value: Any, path: str, default: Any = None) -> Any:
    """Checks a JSON value against a field's type and returns it as that type.

    `default` is the section's value without it, which says of what kind a section is that does not say so itself.
    """
    if dataclasses.is_dataclass(kind):
        return _parse_section(typing.cast(type, kind), value, path, default)
    origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} must be a list, not {value!r}")
        return tuple(_parse(typing.get_args(kind)[0], item, path) for item in value)
    if origin is Literal:
        if value not in typing.get_args(kind) or isinstance(value, bool):
            raise ConfigError(f"{path} must be one of {', '.join(map(str, typing.get_args(kind)))}, not {value!r}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{path} must be {kind.__name__}, not {value!r}")
    if kind is int and abs(value) >= 2**31:  # devices have no 64-bit integers
        raise ConfigError(f"{path} must be under {2**31}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{path} must be finite, not {value!r}")
    return value
