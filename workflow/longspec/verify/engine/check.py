"""Chooses the engine that runs a model, and checks that it computes what transformers computes.

Engines are tried in the order of preference; the first that passes is taken, or on a CPU the fastest. The model is
loaded with its windows shortened (text.py), and the logits are compared (judge.py). It runs in a process of its own
(checked.py), so that a job does not hold its memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any, cast

import torch
from transformers import DynamicCache
from transformers.utils import logging as transformers_logging

from longspec.backends import job_target
from longspec.core.errors import UserError, first_line
from longspec.core.spec import EngineCheck, ModelSpec, TargetSpec
from longspec.models import model_files, native, packed_linear, trust
from longspec.models.attention import hybrid
from longspec.models.target import CausalLM
from longspec.verify.engine import ours, slots, transformers_own
from longspec.verify.engine.judge import Finding, judge
from longspec.verify.engine.positions import steady_beyond, steady_positions
from longspec.verify.engine.speed import Seconds, quicker, seconds
from longspec.verify.engine.text import SHORT, SHORT_PREFILL, Tables, Text

Candidate = tuple[str, str]
"""An engine and its numerics."""


def check(spec: TargetSpec) -> EngineCheck:
    """Check the model of a generate spec on its device; returns the record of the engine that passed.

    Raises UserError that names the architecture and what differed where no engine passes or is allowed.
    """
    transformers_logging.set_verbosity_error()
    with _short_prefill():
        return _check(spec)


@contextmanager
def _short_prefill() -> Iterator[None]:
    before, hybrid.PREFILL_ROWS = hybrid.PREFILL_ROWS, SHORT_PREFILL
    try:
        yield
    finally:
        hybrid.PREFILL_ROWS = before


def _check(spec: TargetSpec) -> EngineCheck:
    device, dtype = job_target.prepare(spec)
    model = _load(spec["model"], dtype).to(device)
    _refuse_running_state(spec["model"], model)
    context = max(model_files.stated_context(model.config.get_text_config()) or 0, spec["model"].get("context") or 0)
    positions = steady_positions(model, context)  # before anything moves a table
    beyond = positions is not None and steady_beyond(model, positions, context)
    text, theirs = _reference(spec["model"], model)
    kind, passed_over, step_seconds = _kind(model), dict[str, str](), dict[str, Seconds]()
    chosen: tuple[str, str, Finding] | None = None
    timed = spec["engine"] == "auto" and device.type == "cpu"  # the fastest is taken; on a GPU, what replays graphs
    for engine, numerics in candidates(spec, device, dtype):
        if chosen is not None and (engine in (chosen[0], *packed_linear.LAST_RESORTS) or not timed):
            continue  # it runs already, with better numerics, or what is left is a last resort
        model = model or _load(spec["model"], dtype).to(device)
        name, target = f"{engine}, {numerics}", _made(model, engine, numerics)
        model = None
        if isinstance(target, str):
            passed_over[name] = target
            continue
        if timed:
            step_seconds[engine] = seconds(target, text)
        if chosen is not None and not quicker(step_seconds[engine], step_seconds[chosen[0]]):
            passed_over[name] = "slower"
            continue
        finding = _compared(target, engine, text, theirs, dtype)
        if finding.fault is None:
            chosen = engine, target.numerics, finding
        else:
            passed_over[name] = finding.fault
        del target
    if chosen is None:
        raise _refusal(spec, kind, passed_over)
    engine, numerics, finding = chosen
    if spec["numerics"] == "invariant" != numerics:
        raise packed_linear.not_invariant(engine, device, dtype)
    record: EngineCheck = {
        "engine": engine,
        "numerics": numerics,
        "transformers": version("transformers"),
        "tokens": len(text.prompt) + len(text.ids),
        "steady_positions": positions,
        "steady_beyond": beyond,
        "passed_over": passed_over,
        "step_seconds": _known(step_seconds),
    }
    return cast(EngineCheck, {**record, **finding.figures()})


def _known(step_seconds: dict[str, Seconds]) -> dict[str, Seconds]:
    return {engine: found for engine, found in step_seconds.items() if all(map(math.isfinite, found.values()))}


def candidates(spec: TargetSpec, device: torch.device, dtype: torch.dtype) -> list[Candidate]:
    """List what a spec's `engine` and `numerics` allow here, in the order in which they are tried. UserError where
    that is nothing."""
    asked, numerics = spec["engine"], spec["numerics"]
    first: list[Candidate] = [("native", "invariant")] if asked in native.ASKED and device.type == "cpu" else []
    if asked == "native":
        return first or [(packed_linear.resolve(asked, device, dtype), "fast")]
    engine = packed_linear.resolve(asked, device, dtype)
    engines = [engine, "eager"] if asked == "auto" and engine != "eager" else [engine]
    packed = [("packed", "auto")] if engines[0] == "packed" and numerics != "fast" else []
    if numerics == "invariant":
        if not [*first, *packed]:
            raise packed_linear.not_invariant(engine, device, dtype)
        return [*first, *packed]
    last = packed_linear.LAST_RESORTS if asked == "auto" else ()
    return [*first, *packed, *((name, "fast") for name in [*engines, *last])]


def _load(entry: ModelSpec, dtype: torch.dtype) -> Any:
    """Load the model as transformers ships it, with its windows shortened."""
    folder, trusted = model_files.folder(entry), trust.allowed(entry)
    config = model_files.configuration(folder, trusted)
    inner = config.get_text_config()
    for field, short in SHORT.items():
        stated = getattr(inner, field, None)
        if isinstance(stated, int) and stated > short:
            setattr(inner, field, short)
    return model_files.causal_lm(folder, dtype, trusted, config=config)


def _reference(entry: ModelSpec, model: Any) -> tuple[Text, Tables]:
    inner = model.config.get_text_config()
    try:
        text = Text.made(inner.vocab_size, model_files.stated_context(inner))
        return text, transformers_own.tables(model, text)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # whatever the modelling code raises
        raise UserError(
            _where(entry),
            f"transformers itself does not run a {_kind(model)} token by token over a cache: {_said(error)}",
            "a decoder with a key/value cache",
        ) from None


def _refuse_running_state(entry: ModelSpec, model: Any) -> None:
    """Refuse recurrent and hybrid models: what a token has done to their state cannot be taken back."""
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception:  # it has no such cache, which the run of the reference says
        layers = []
    if getattr(model, "_is_stateful", False) or any(hasattr(layer, "recurrent_states") for layer in layers):
        raise UserError(
            _where(entry),
            f"{_kind(model)} keeps a running state beside its keys, which a rejected draft cannot be taken out of",
            "a decoder with a key/value cache, or peers alone, which run it by transformers",
        )


def _made(model: Any, engine: str, numerics: str) -> CausalLM | str:
    """Make our model of a loaded one; returns the reason instead where that fails."""
    try:
        return CausalLM(model, None, engine, numerics, tried=True)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except UserError as error:
        return error.found
    except Exception as error:  # whatever the modelling code raises when it meets our attention and cache
        return _not_taken(error)


def _compared(target: CausalLM, engine: str, text: Text, theirs: Tables, dtype: torch.dtype) -> Finding:
    """Compare a target with transformers; sets its numerics to `fast` where they turn out not to be invariant."""
    try:
        tables = ours.tables(target, text)
        if target.engine != "eager" and engine in ("graphs", "static"):  # what prompts and fallbacks run by
            target.watch([0])
            tables |= {f"{way}, eager": table for way, table in ours.tables(target, text).items()}
        counted = target.engine not in ("native", "branches") and slots.counted(target, text)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        return Finding(_not_taken(error))
    finding = judge(theirs, tables, text, dtype)
    if counted and finding.fault is None:
        finding = replace(finding, fault="in a tree it takes a token's slot in the cache for its position")
    one, several = tables[ours.ALONE], tables[ours.SEVERAL]
    if target.numerics == "invariant" and not torch.equal(one.of(one.rows), several.of(one.rows)):
        target.numerics = "fast"
        if engine == "native" or packed_linear.fills_rows(target.model):  # as a fast engine does not
            finding = replace(finding, fault="a step's width changes bits")
    return finding


def _not_taken(error: Exception) -> str:
    return f"its modelling code does not take our attention and cache ({_said(error)})"


def _kind(model: Any) -> str:
    return f"{type(model).__name__} ({model.config.model_type})"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__


def _where(entry: ModelSpec) -> str:
    return f"models.{entry['name']}" if "name" in entry else f"drafter model {model_files.folder(entry)}"


def _refusal(spec: TargetSpec, kind: str, passed_over: dict[str, str]) -> UserError:
    engines: dict[str, list[str]] = {}
    for candidate, fault in passed_over.items():
        engine = candidate.split(",")[0]
        if engine not in engines.setdefault(fault, []):
            engines[fault].append(engine)
    others = {fault: names for fault, names in engines.items() if names != ["native"]}  # it knows few types
    tried = "; ".join(f"{', '.join(names)}: {fault}" for fault, names in (others or engines).items())
    return UserError(
        _where(spec["model"]),
        f"our engine does not compute what transformers computes for a {kind}: {tried}",
        "a model type that passes (docs/losslessness.md), or peers alone, which run it by transformers",
    )
