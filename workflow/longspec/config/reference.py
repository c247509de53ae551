"""The tables of config/README.md, made from the sections and from the OPTIONS of plug-ins.

    python -m longspec.config.reference [config/README.md]

Rewrites what stands between `<!-- NAME -->` and `<!-- end -->`: the keys of the section NAME, or the plug-ins of the
kind NAME.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longspec.config.sections.base import Section
from longspec.config.sections.dataset import Dataset
from longspec.config.sections.method import Method
from longspec.config.sections.model import Resources, Target
from longspec.config.sections.sampling import Sampling
from longspec.config.sections.top_level import Config
from longspec.config.sections.trained import TrainedDrafter
from longspec.core import registry

SECTIONS: dict[str, type[Section]] = {
    section.__name__: section for section in (Config, Target, Resources, Dataset, Method, TrainedDrafter, Sampling)
}
MARKED = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def rewritten(readme: str) -> str:
    """Put today's tables into the text of config/README.md."""
    return MARKED.sub(lambda found: f"<!-- {found[1]} -->\n{table(found[1])}\n<!-- end -->", readme)


def table(name: str) -> str:
    """Make the table of a section, or of the plug-ins of a kind, in Markdown."""
    rows = _keys(SECTIONS[name]) if name in SECTIONS else _options(name)
    head = ("key",) if name in SECTIONS else (name.removesuffix("s"), "option")
    lines = [(*head, "default", "meaning"), ("---",) * (len(head) + 2), *rows]
    return "\n".join("".join(f"| {cell} " if cell else "| " for cell in cells) + "|" for cells in lines)


def _keys(section: type[Section]) -> Iterator[tuple[str, ...]]:
    for key, field in section.model_fields.items():
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield f"`{key}`", default, " ".join((field.description or "").split())


def _options(kind: str) -> Iterator[tuple[str, ...]]:
    for name in registry.names(kind):
        module = ast.parse(registry.file(kind, name).read_text(encoding="utf-8"))
        meaning = " ".join((ast.get_docstring(module) or "").split("\n\n")[0].split())
        yield f"`{name}`", "", "", meaning
        yield from _described(registry.own_options(kind, name))
    if shared := registry.shared_options(kind):
        yield "each of them", "", "", ""
        yield from _described(shared)


def _described(options: registry.Options) -> Iterator[tuple[str, ...]]:
    for option, schema in options.items():
        default = _default(schema["default"]) if "default" in schema else "required"
        yield "", f"`{option}`", default, schema["description"]


def _default(value: Any) -> str:
    if value is None or value == {} or isinstance(value, Section):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def main(place: Path) -> None:
    """Rewrite the tables of a file."""
    place.write_text(rewritten(place.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["config/README.md"]))
