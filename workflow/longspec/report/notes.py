"""Say before a run what is not pinned, runs slower here, or will give no claim, and after it what came of it."""

from __future__ import annotations

from pathlib import Path

from longspec.analysis.claim_thresholds import hindrances
from longspec.config.plan.plan import Plan
from longspec.core import compiler


def before(plan: Plan) -> list[str]:
    """List the notes of a run in the order in which they are printed; mostly none."""
    found = [f"warning: not pinned to a commit by `revision`: {', '.join(plan.unpinned)}"] if plan.unpinned else []
    if plan.config.engine in ("auto", "native") and compiler.found() is None:
        found.append(f"note: no C++ compiler ({compiler.asked()}): on a CPU slower engines than native run")
    prompts = {name: entry.samples for name, entry in plan.config.datasets.items()}
    return [*found, *(f"note: no claim will be made {why}" for why in hindrances(prompts, plan.without_noise()))]


def after(plan: Plan) -> str:
    """Show the speedups of a run that made some, and where the report lies."""
    table = Path(plan.results) / "speedup.csv"
    if not table.is_file():
        return ""
    from longspec.analysis.tables import show  # pandas, which no plan needs

    return f"{show(table)}\nreport: {Path(plan.reports, 'index.html').resolve()}\n"
