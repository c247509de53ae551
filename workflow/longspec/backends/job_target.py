"""The target model of a job, on the device and with the threads that its spec asks for."""

from __future__ import annotations

import torch

from longspec.core import registry
from longspec.core.spec import GenerateSpec, TargetSpec
from longspec.decoding import gumbel
from longspec.decoding.interfaces import Rule
from longspec.decoding.sampling import Settings
from longspec.models import machine, model_files, trust
from longspec.models.shared import Shared
from longspec.models.target import CausalLM


def prepare(spec: TargetSpec, dtype: str | None = None) -> tuple[torch.device, torch.dtype]:
    """Set seed and threads as a spec asks; returns the device and the number format, `dtype` or the spec's."""
    torch.manual_seed(spec["seed"])
    torch.set_num_threads(machine.resolve_threads(spec["threads"]))
    device = machine.resolve_device(spec["device"])
    return device, machine.resolve_dtype(dtype or spec["dtype"], device)


def load(spec: TargetSpec, shared: Shared | None = None) -> CausalLM:
    """The model of a generate spec, ready to run; over `shared` weights where others of the job use them too. What
    `engine_checks` says (verify/engine/jobs.py) is not tried again."""
    device, dtype = prepare(spec)
    trusted = trust.allowed(spec["model"])
    folder = model_files.folder(spec["model"])
    engine, numerics, tried = spec["engine"], spec["numerics"], "engine_checks" in spec

    def loaded() -> CausalLM:
        return CausalLM.from_folder(folder, device, dtype, engine, numerics, trusted=trusted, tried=tried)

    if shared is None:
        return loaded()
    return CausalLM(shared.twin("target", lambda: loaded().model), folder, engine, numerics, dtype=dtype, tried=tried)


def rule(spec: GenerateSpec, target: CausalLM, sample_id: str, turn: int) -> Rule:
    """The verification rule for one turn. Its noise is named by seed, sample and turn: by nothing of the method."""
    key = gumbel.key(spec["seed"], sample_id, turn)
    settings = Settings(**spec["sampling"])
    module = registry.load("verification", registry.rule_name(spec))
    made: Rule = module.Rule(settings, key, target.vocab_size, target.device)
    return made
