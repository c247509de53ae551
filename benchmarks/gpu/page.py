"""The GPU benchmark's raw figures as a page of Markdown: ratios are made here, and nowhere else."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate


def render(found: dict[str, Any]) -> str:
    """The page, of whatever sections there are."""
    parts = ["# The engine on a GPU"]
    if found["tiny"]:
        parts.append("**A trial on a CPU with tiny models: no figure on this page means anything.**")
    for name, table in TABLES.items():
        figures = found.get(name)
        if figures is None:
            continue
        parts.append(f"## {name}")
        if "error" in figures:
            parts.append(f"Not complete: `{figures['error']}`")
        rows = {key: row for key, row in figures.items() if isinstance(row, dict) and "error" not in row}
        parts += table(figures, rows, found)
        failed = {key: row["error"] for key, row in figures.items() if isinstance(row, dict) and "error" in row}
        parts += [f"- {key}: `{error}`" for key, error in failed.items()]
    return "\n\n".join(parts) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    return [tabulate(rows, headers="keys", tablefmt="github", floatfmt=".3g")] if rows else []


def _device(figures, rows, found) -> list[str]:
    machine = rows.get("machine", {})
    copied = figures.get("copy_bytes_per_second", float("nan")) / 1e9
    packages = ", ".join(f"{name} {version}" for name, version in machine.get("packages", {}).items())
    commit = machine.get("git_commit")
    return [f"{machine.get('device_name')}, commit {commit}, {packages}. A copy moves {copied:.0f} GB/s."]


def _steps(figures, rows, found) -> list[str]:
    made = []
    for row in rows.values():
        prices = {key: value for key, value in row.items() if key.startswith("forward_seconds_")}
        one = prices["forward_seconds_1"]
        ratios = {f"T({key.rsplit('_', 1)[1]})/T(1)": value / one for key, value in prices.items()}
        del ratios["T(1)/T(1)"]
        made.append({
            "engine": row["engine"], "context": row["context"], "vanilla, tokens/s": 1 / row["vanilla_step_seconds"],
            "step / roofline": row["vanilla_step_seconds"] / row["roofline_seconds"],
            "forward / roofline": one / row["roofline_seconds"],
            "outside the forward": 1 - one / row["vanilla_step_seconds"], **ratios,
        })  # fmt: skip
    notes = {row["note"] for row in rows.values() if row["note"]}
    return _table(made) + [f"- {note}" for note in notes]


def _attention(figures, rows, found) -> list[str]:
    copied = found.get("device", {}).get("copy_bytes_per_second", float("nan"))
    made = []
    for key, row in rows.items():
        kernel, prefix, queries = key.rsplit(", ", 2)
        speed = row["bytes_per_second"]
        base = {"kernel": kernel, "prefix": prefix, "rows": queries, "GB/s": speed / 1e9}
        made.append({**base, "of copy bandwidth": speed / copied})
    return _table(made)


def _rows(figures, rows, found) -> list[str]:
    return _table([{"": key, **row} for key, row in rows.items()])


TABLES = {"device": _device, "steps": _steps, "attention": _attention, "replay": _rows, "smollm2": _rows}
