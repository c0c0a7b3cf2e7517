"""Html and SVG from jinja2's templates. Whatever is put into one is escaped, unless it came out of one."""

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, *, folder: Path = _TEMPLATES, **values: Any) -> Markup:
    """Fills a template.

    Args:
      template: its file's name.
      folder: where it lies.
      **values: by the names that it gives them; all of them have to be there.
    """
    return Markup(_environment(folder).get_template(template).render(values))


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    """Keeps the compiled templates of a folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # As short as it can be, in the order in which it comes.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment
