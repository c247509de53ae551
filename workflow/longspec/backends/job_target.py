"""Loads the target model of a job, on the device and with the threads of its spec, and makes its verifier."""

from __future__ import annotations

import torch

from longspec.core import registry
from longspec.core.spec import GenerateSpec, TargetSpec
from longspec.decoding import gumbel
from longspec.decoding.interfaces import Verifier
from longspec.decoding.sampling import Settings
from longspec.models import machine, model_files, trust
from longspec.models.shared import Shared
from longspec.models.target import CausalLM


def prepare(spec: TargetSpec, dtype: str | None = None) -> tuple[torch.device, torch.dtype]:
    """Set the seed and threads of a spec; returns its device and number format (`dtype`, if given, instead)."""
    torch.manual_seed(spec["seed"])
    torch.set_num_threads(machine.resolve_threads(spec["threads"]))
    device = machine.resolve_device(spec["device"])
    return device, machine.resolve_dtype(dtype or spec["dtype"], device)


def load(spec: TargetSpec, shared: Shared | None = None) -> CausalLM:
    """Load the model of a generate spec; with `shared`, over weights that other methods of the job use too.

    An engine that was checked (`engine_checks` in the spec, from verify/engine/jobs.py) is not tried again."""
    device, dtype = prepare(spec)
    trusted = trust.allowed(spec["model"])
    folder = model_files.folder(spec["model"])
    engine, numerics, tried = spec["engine"], spec["numerics"], "engine_checks" in spec

    def loaded() -> CausalLM:
        return CausalLM.from_folder(folder, device, dtype, engine, numerics, trusted=trusted, tried=tried)

    if shared is None:
        return loaded()
    return CausalLM(shared.model("target", lambda: loaded().model), folder, engine, numerics, dtype=dtype, tried=tried)


def verifier(spec: GenerateSpec, target: CausalLM, sample_id: str, turn: int) -> Verifier:
    """Make the verifier of one turn. The key of its noise is the seed, sample and turn, and nothing of the method."""
    key = gumbel.key(spec["seed"], sample_id, turn)
    settings = Settings(**spec["sampling"])
    module = registry.load("verification", registry.verification(spec))
    made: Verifier = module.Verifier(settings, key, target.vocab_size, target.device)
    return made
