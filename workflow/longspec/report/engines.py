"""What the page says of served engines: groups of variants with their baseline, loads, servers, absolute speed.

Contract: every figure is a table's; a server's facts are those of run.json. Where no engine was served, there is one
group and no section.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

import pandas as pd

from longspec.analysis.crossover import AtLoad, sentence
from longspec.analysis.tables import NAMES
from longspec.core.run_record import RunRecord
from longspec.core.spec import baseline_of, load_of
from longspec.report.charts.data import Speedup, by_load
from longspec.report.results import Cell, Results, rows_of

COMPARED = "over_our_baseline"
"""Column of decode throughput over that of our own loop without a drafter."""

ENDS = ("", "_low", "_high")


@dataclass(frozen=True)
class Group:
    """A baseline with the variants that are compared with it: what they are over, in words, rows of speedup.csv, and
    the columns that have a meaning there."""

    over: str
    rows: pd.DataFrame
    columns: list[str]


@dataclass(frozen=True)
class Server:
    """How the server of a variant was started for a model. `options`: of its entry, all that is no speculation."""

    model: str
    method: str
    engine: str
    weights: str
    speculation: str
    options: str
    command: str | None


@dataclass(frozen=True)
class Engines:
    """The section on served engines."""

    load: pd.DataFrame
    speeds: pd.DataFrame
    limits: list[tuple[str, str]]  # (model and data set, sentence)
    servers: list[Server]

    @property
    def servers_table(self) -> pd.DataFrame:
        """Lay the servers out, their command lines aside."""
        rows = [{key: value or None for key, value in vars(server).items()} for server in self.servers]
        return pd.DataFrame(rows).drop(columns="command")


def engines(results: Results) -> Engines | None:
    """Collect what the section shows; None where no engine was served."""
    if not results.served:
        return None
    return Engines(results.tables["load"], _speeds(results), _limits(results), _servers(results))


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Write beside the method of each row of speedup.csv that is an engine without speculation what it is."""
    baselines = table["method"] == table["baseline"]
    return table.assign(method=table["method"].where(~baselines, table["method"] + " (baseline)"))


def groups(results: Results) -> list[Group]:
    """Split speedup.csv by baseline, in the grid's order."""
    table, grid = results.tables["speedup"], results.grid
    order = dict.fromkeys([grid["baseline"], *(baseline_of(grid, method) for method in grid["methods"])])
    found = [(name, table[table["baseline"] == name]) for name in order]
    return [
        Group(_over(results, name), named(rows), _columns(name in results.served)) for name, rows in found if len(rows)
    ]


def _columns(served: bool) -> list[str]:
    throughput, of_peers = (["throughput_speedup"], []) if served else ([], ["peer", "number_format"])
    return [*NAMES, "speedup", *throughput, "over_reference", "end_to_end_speedup", "verdict", *of_peers]


def _over(results: Results, baseline: str) -> str:
    """Name a baseline, and the engine and the load where it is a served one."""
    if baseline not in results.served:
        return baseline
    versions = {job.conditions.loop or "" for (*_, method), job in results.jobs.items() if method == baseline}
    return f"{baseline}: {' | '.join(sorted(versions))} without speculation, {_in_flight(load_of(baseline)[1])}"


def _in_flight(concurrency: int) -> str:
    return f"{concurrency} request{'s' * (concurrency > 1)} in flight"


def _speeds(results: Results) -> pd.DataFrame:
    """Make a row for each label: its tokens per second, and over our baseline's; per model and data set and load the
    fastest first."""
    ours, served = results.grid["baseline"], results.served
    rates = results.tables["throughput"][[*NAMES, "throughput_tokens_per_second"]]
    windows = results.tables["load"][[*NAMES, "window_tokens_per_second"]]
    over = results.tables["speedup"].rename(columns={f"over_reference{end}": f"served{end}" for end in ENDS})
    for end in ENDS:
        known = over[f"served{end}"].where(over["method"].isin(served), over[f"speedup{end}"])
        over[f"{COMPARED}{end}"] = known
    columns = [*NAMES, *(f"{COMPARED}{end}" for end in ENDS)]
    table = rates.merge(windows, on=NAMES, how="left").merge(over[columns], on=NAMES, how="left")
    table.loc[table["method"] == ours, COMPARED] = 1.0
    table.insert(len(NAMES), "requests_in_flight", [load_of(str(method))[1] for method in table["method"]])
    place = {
        cell: number for number, cell in enumerate(dict.fromkeys(zip(table["model"], table["dataset"], strict=True)))
    }
    cells = [place[cell] for cell in zip(table["model"], table["dataset"], strict=True)]
    keys = ["cell", "requests_in_flight", "throughput_tokens_per_second"]
    return table.assign(cell=cells).sort_values(keys, ascending=[True, True, False], kind="stable").drop(columns="cell")


def _limits(results: Results) -> list[tuple[str, str]]:
    """Say of each variant that ran at several loads where its speedup is gone, by model and data set."""
    table = results.tables["speedup"]
    rows = rows_of(table[table["method"] != table["baseline"]], Speedup, "speedup.csv")
    said = []
    for ((model, dataset), variant), points in by_load([row for row in rows if not row.same_as_baseline]).items():
        loads = [
            AtLoad(
                row.concurrency,
                row.throughput_speedup,
                row.throughput_speedup_low,
                row.throughput_speedup_high,
                row.verdict,
            )
            for row in points
        ]
        said.append((f"{model} · {dataset}", sentence(variant, load_of(points[0].baseline)[0], loads)))
    return said


def _servers(results: Results) -> list[Server]:
    """List the servers, one a model and variant: data sets and loads differ in ports and paths alone."""
    found: dict[Cell, Server] = {}
    for (model, _, label), job in results.jobs.items():
        if label in results.served:
            name = load_of(label)[0]
            found.setdefault((model, name), _server(model, name, job))
    return list(found.values())


def _server(model: str, name: str, job: RunRecord) -> Server:
    options = {key: value for key, value in job.variant.items() if key not in ("method", "speculation") and value}
    commands = [piece.server_command for piece in job.pieces if piece.server_command]
    return Server(
        model=model,
        method=name,
        engine=job.conditions.loop or "",
        weights=job.conditions.model or "",
        speculation=_json(job.variant.get("speculation")),
        options=", ".join(f"{key} {_json(value)}" for key, value in options.items()),
        command=shlex.join(commands[0]) if commands else None,
    )


def _json(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
