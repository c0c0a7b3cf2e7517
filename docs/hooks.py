"""Makes the pages of the reference: one for each room of the package, from the docstrings, when the site is built."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parents[1] / "amodal_jax"


def on_files(files: Files, *, config: Any) -> Files:
    """Adds `reference/index.md` and a page for each room."""
    rooms: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        room = parts[1] if len(parts) > 2 else "amodal_jax"
        rooms.setdefault(room, []).append(name)
    index = ["# Reference", "", "Made from the docstrings, a page for each room of the package.", ""]
    for room, names in sorted(rooms.items()):
        index.append(f"- [{room}]({room}.md)")
        content = f"# {room}\n\n" + "\n".join(f"::: {name}\n" for name in names)
        files.append(File.generated(config, f"reference/{room}.md", content=content))
    files.append(File.generated(config, "reference/index.md", content="\n".join(index) + "\n"))
    return files
