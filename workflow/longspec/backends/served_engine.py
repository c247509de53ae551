"""The backend of a served engine: a server of its own (served/NAME.py), asked over HTTP, timed from outside.

The engine gets the target's weights, the experiment's threads, device and number format, and a server that is started
for the job and ended with it. The clock is this side's: prefill ends with the first chunk of tokens, decoding with the
last. Several threads may ask at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from pathlib import Path

import psutil

from longspec.backends import accounting, job_target
from longspec.backends.interface import Texts
from longspec.backends.served._interface import Drafting, Engine, Launch, Question, Said
from longspec.backends.server import Server, ServerError, Started, free_port
from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.records import Turn
from longspec.core.run_record import LoopFacts, Tuning
from longspec.core.spec import GenerateSpec, MethodEntry, by_name
from longspec.decoding import gumbel
from longspec.decoding.loop import Limits
from longspec.models import machine, model_files

START_SECONDS = 900.0
"""Longest time that a server may take to get ready: it loads weights, and may compile."""


def engine(entry: MethodEntry) -> Engine:
    """Make the engine of a variant. Raises UserError where its program is not found."""
    name, given = entry["method"], by_name(entry)
    options = {option: given[option] for option in registry.options("served", name)}
    made: Engine = registry.load("served", name).make(**options)
    return made


def run(spec: GenerateSpec, log: Path, scores: bool = False) -> tuple[Engine, Server, list[str]]:
    """Start a variant's server, or find the one that runs; returns it with its engine and its comparable flags.

    `scores`: whether it will be asked for the scores of all ids."""
    made = engine(spec["method"])
    if made.url:
        server = Server(made.url)
        if not server.healthy(made.health):
            raise UserError(
                f"methods.{spec['method']['name']}.url", f"{made.url} does not answer", "a server that runs"
            )
        return made, server, []
    device, dtype = job_target.prepare(spec)
    launch = Launch(
        model=spec["model"],
        port=free_port(),
        device=device.type,
        dtype=str(dtype).removeprefix("torch."),
        threads=machine.resolve_threads(spec["threads"]),
        gpus=spec.get("gpus", 1),
        slots=spec.get("concurrency", 1),
        context_tokens=spec["model"].get("context"),
        seed=spec["seed"],
        scores=scores,
    )
    start = made.start(launch)
    return made, Started(start, launch.port, made.health, log, START_SECONDS), start.flags


class ServedEngine:
    """Answer prompts by a served engine."""

    engine_note: str | None = None

    def __init__(self, spec: GenerateSpec, logs: Path) -> None:
        """Start the server of a job; it writes into `server-LABEL.log` of the folder `logs`."""
        self.spec, self.name = spec, spec["method"]["name"]
        self.device, dtype = job_target.prepare(spec)
        self.dtype = str(dtype).removeprefix("torch.")
        folder = model_files.folder(spec["model"])
        config = model_files.configuration(folder)
        self.stop_ids = model_files.stated_stop_ids(folder, config)
        self.context_tokens = model_files.stated_context(config.get_text_config())
        self.engine = spec["method"]["method"]
        self.concurrency = spec.get("concurrency", 1)
        self._engine, self.server, self.flags = run(spec, logs / f"server-{self.name}.log")
        self.loop = self._engine.version(self.server.get)
        self._origin: float | None = None
        self._lock = threading.Lock()

    @property
    def command(self) -> list[str] | None:
        """Return the server's complete command line; None of one that ran already."""
        return self.server.start.command if isinstance(self.server, Started) else None

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """Ask for one turn, and time it. Raises ServerError where the server fails, and UserError where a part of the
        prompt came from a cache or cannot be shown not to."""
        room, _ = limits.room(len(ids))
        seed = gumbel.key(self.spec["seed"], sample_id, turn) % 2**31
        question = Question(ids, room, sorted(limits.stop_ids), self.spec["sampling"], seed)
        began = time.monotonic()
        sent, said, times = self._asked(question)
        total, ended = time.monotonic() - began, time.perf_counter()
        self._refuse_cached(said)
        if said.drafting is None and not by_name(self.spec["method"]).get("speculation"):
            said = dataclasses.replace(said, drafting=Drafting(0, 0))  # each step gives one token
        try:
            made = accounting.turn(said, times, sent, self._since(sent), ids, limits)
        except ValueError as error:
            raise ServerError(f"its answer cannot be: {error}", alive=True) from None
        after = ended - (sent + made.prefill_seconds + made.decode_seconds)  # the last event, which has no token
        return dataclasses.replace(made, total_seconds=total - after)

    def _asked(self, question: Question) -> tuple[float, Said, list[float]]:
        body = self._engine.question(question)
        sent, events = self.server.stream(self._engine.answers, body)
        try:
            said = self._engine.said([json.loads(line) for _, line in events])
        except (ValueError, LookupError, TypeError) as error:
            last = events[-1][1][:300].decode(errors="replace") if events else "nothing"
            raise ServerError(f"it answers what cannot be read ({error!r}): {last}", self.server.alive()) from None
        return sent, said, [seconds for seconds, _ in events]

    def _since(self, sent: float) -> float:
        """Return the time of the first request, this one's if it is the first."""
        with self._lock:
            self._origin = min(sent, self._origin if self._origin is not None else sent)
            return self._origin

    def _refuse_cached(self, said: Said) -> None:
        if said.cached_tokens is None:
            found = "the engine does not say how much of a prompt came from a cache"
        elif said.cached_tokens:
            found = f"{said.cached_tokens} tokens of a prompt came from a cache, so that its prefill was not measured"
        else:
            return
        raise UserError(f"methods.{self.name}", found, "a server whose caches of prompts are off")

    def facts(self) -> LoopFacts:
        """Return the engine with its version, the number format, and the flags that its baseline must share."""
        return {
            "loop": self.loop,
            "verification": registry.verification(self.spec),
            "dtype": self.dtype,
            "attention": "the engine's",
            "engine": self.engine,
            "numerics": "the engine's",
            "server": self.flags,
            "concurrency": self.concurrency,
        }

    def tune(self, texts: Texts, limits: Limits, known: Tuning | None) -> Tuning | None:
        """Return None: an engine has no option that may be `auto`."""
        return None

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """Return None: the parts of an engine's steps cannot be timed from outside."""
        return None

    def memory(self) -> dict[str, int] | None:
        """Count the bytes that the server's processes hold now; None where they are not ours."""
        held = 0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                held += process.memory_info().rss
        return {"server_resident_bytes": held} if held else None

    def processes(self) -> list[psutil.Process]:
        """List the processes of the server."""
        return self.server.processes()

    def end(self) -> None:
        """End the server."""
        self.server.end()
