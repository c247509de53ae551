"""`python -m longspec COMMAND`: every command of this package, each a file in `cli/`."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from pathlib import Path

from longspec.core.errors import UserError, one_of
from longspec.core.program import run, uncollected

PACKAGE = Path(__file__).resolve().parent


def commands() -> dict[str, str]:
    """Name of each command to the first line of its file's docstring; nothing is imported."""
    files = sorted((PACKAGE / "cli").glob("[!_]*.py"))
    documented = ((file.stem, ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))) for file in files)
    return {name: (text or "").partition("\n")[0] for name, text in documented}


def usage() -> str:
    """How to call it, and what there is to call."""
    known = commands()
    width = max(map(len, known))
    lines = [f"  {name:{width}}  {summary}" for name, summary in known.items()]
    return "\n".join(["usage: python -m longspec COMMAND [--help]", "", *lines])


def refuse_another_checkout(here: Path) -> None:
    """Refuse to run in a checkout with the installed code of another; who names that code in PYTHONPATH wants it."""
    if str(PACKAGE.parent) in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        return
    own = Path("workflow", "longspec", "__main__.py")
    place = next((p for p in (here, *here.parents) if (p / "Snakefile").is_file() and (p / own).is_file()), None)
    if place is not None and (place / own).resolve().parent != PACKAGE:
        raise UserError(
            "longspec",
            f"the code of {PACKAGE} is installed, and {place} has its own",
            "`pip install --no-deps --no-build-isolation -e .` here, or an environment of this checkout",
        )


def main() -> None:
    """Run the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in commands():
        raise UserError("command", repr(name), one_of(commands()))
    refuse_another_checkout(Path.cwd())
    sys.argv = [f"python -m longspec {name}", *arguments]
    with uncollected():
        command = importlib.import_module(f"longspec.cli.{name}")
    command.main()


if __name__ == "__main__":
    run(main)
