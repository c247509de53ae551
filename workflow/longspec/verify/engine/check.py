"""Chooses the engine that a model runs by, and proves that it computes what transformers computes.

Engines are tried in the order in which they are wanted; the first that passes is taken. Contract: it loads the model
with its windows shortened (text.py), compares (judge.py) and returns a record; it keeps nothing. It runs in a process
of its own (checked.py), so that a job's memory is without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from longspec.backends import job_target
from longspec.core.errors import UserError, first_line
from longspec.models import model_files, packed_linear, trust
from longspec.models.attention import hybrid
from longspec.models.target import CausalLM
from longspec.verify.engine import ours, transformers_own
from longspec.verify.engine.judge import Finding, judge
from longspec.verify.engine.positions import steady_positions
from longspec.verify.engine.text import SHORT, SHORT_PREFILL, Tables, Text

Candidate = tuple[str, str]
"""Engine and numerics."""


def check(spec: dict[str, Any]) -> dict[str, Any]:
    """Check the model of a generate spec on its device; returns the record of the engine that passed.

    UserError that names the architecture and what differed where none does, or none may be asked for.
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


def _check(spec: dict[str, Any]) -> dict[str, Any]:
    device, dtype = job_target.prepare(spec)
    model = _load(spec["model"], dtype).to(device)
    stated = model_files.stated_context(model.config.get_text_config()) or 0
    positions = steady_positions(model, max(stated, spec["model"].get("context") or 0))  # before anything moves a table
    text, theirs = _reference(spec["model"], model)
    passed_over: dict[str, str] = {}
    for engine, numerics in candidates(spec, device, dtype):
        model = model or _load(spec["model"], dtype).to(device)
        kind = _kind(model)
        target, finding = _tried(model, engine, numerics, text, theirs)
        model = None
        if finding.fault is None and target is not None:
            if spec["numerics"] == "invariant" != target.numerics:
                raise packed_linear.not_invariant(engine, device, dtype)
            known = {"transformers": version("transformers"), "tokens": len(text.prompt) + len(text.ids)}
            limits = {"steady_positions": positions, "passed_over": passed_over}
            return {"engine": engine, "numerics": target.numerics, **known, **limits, **finding.figures()}
        passed_over[f"{engine}, {numerics}"] = str(finding.fault)
        del target
    raise _refusal(spec, kind, passed_over)


def candidates(spec: dict[str, Any], device: torch.device, dtype: torch.dtype) -> list[Candidate]:
    """List what a spec's `engine` and `numerics` allow here, best first. UserError where that is nothing."""
    first = packed_linear.resolve(spec["engine"], device, dtype)
    engines = [first, "eager"] if spec["engine"] == "auto" and first != "eager" else [first]
    may_be = [("packed", "auto")] if engines[0] == "packed" and spec["numerics"] != "fast" else []
    if spec["numerics"] == "invariant" and not may_be:
        raise packed_linear.not_invariant(first, device, dtype)
    return may_be if spec["numerics"] == "invariant" else [*may_be, *((engine, "fast") for engine in engines)]


def _load(entry: dict[str, Any], dtype: torch.dtype) -> Any:
    """The model as transformers ships it, with its windows shortened."""
    folder, trusted = model_files.folder(entry), trust.allowed(entry)
    config = model_files.configuration(folder, trusted)
    inner = config.get_text_config()
    for field, short in SHORT.items():
        stated = getattr(inner, field, None)
        if isinstance(stated, int) and stated > short:
            setattr(inner, field, short)
    return model_files.causal_lm(folder, dtype, trusted, config=config)


def _reference(entry: dict[str, Any], model: Any) -> tuple[Text, Tables]:
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


def _tried(model: Any, engine: str, numerics: str, text: Text, theirs: Tables) -> tuple[CausalLM | None, Finding]:
    """The model made ours, with the numerics that it turned out to have, and how far it is from transformers'."""
    dtype: torch.dtype = model.dtype
    try:
        target = CausalLM(model, None, engine, numerics, tried=True)
        tables = ours.tables(target, text)
        if target.engine != "eager" and engine in ("graphs", "static"):  # what prompts and fallbacks run by
            target.watch([0])
            tables |= {f"{way}, eager": table for way, table in ours.tables(target, text).items()}
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # whatever the modelling code raises when it meets our attention and cache
        return None, Finding(f"its modelling code does not take our attention and cache ({_said(error)})")
    finding = judge(theirs, tables, text, dtype)
    one, several = tables[ours.ALONE], tables[ours.SEVERAL]
    if target.numerics == "invariant" and not torch.equal(one.of(one.rows), several.of(one.rows)):
        target.numerics = "fast"
        if packed_linear.fills_rows(target.model):  # as a fast engine does not
            finding = replace(finding, fault="a step's width changes bits")
    return target, finding


def _kind(model: Any) -> str:
    return f"{type(model).__name__} ({model.config.model_type})"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__


def _where(entry: dict[str, Any]) -> str:
    return f"models.{entry['name']}" if "name" in entry else f"drafter model {model_files.folder(entry)}"


def _refusal(spec: dict[str, Any], kind: str, passed_over: dict[str, str]) -> UserError:
    tried = "; ".join(f"{engine}: {fault}" for engine, fault in passed_over.items())
    return UserError(
        _where(spec["model"]),
        f"our engine does not compute what transformers computes for a {kind}: {tried}",
        "a model type that passes (docs/losslessness.md), or peers alone, which run it by transformers",
    )
