"""The one family of exceptions: whatever a user can mend ends in one of these, with the name of what to mend."""

import difflib
from collections.abc import Iterable


class AmodalJaxError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(AmodalJaxError):
    """A configuration field, override or combination that cannot be used; names the field."""


class DataError(AmodalJaxError):
    """An annotation file, dataset or record that cannot be used; names the file or id."""


class ImageError(DataError):
    """An image file that is missing, truncated or no image; names the file."""


class CheckpointError(AmodalJaxError):
    """A checkpoint that is missing, damaged or does not fit; names its directory."""


class WeightsError(AmodalJaxError):
    """Weights of another program that are missing, damaged or do not fit; names the file or array."""


class TrainingError(AmodalJaxError):
    """A training run that cannot go on, such as one whose loss is no longer finite; names the step."""


def require(condition: bool, field: str, message: str) -> None:
    """Checks a field of a configuration.

    Raises:
      ConfigError: the condition does not hold; says so as "field message".
    """
    if not condition:
        raise ConfigError(f"{field} {message}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to an unknown one, as a question for an error's text; empty if none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def first_line(error: Exception) -> str:
    """What a library's error says, without the pages that some of them add; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
