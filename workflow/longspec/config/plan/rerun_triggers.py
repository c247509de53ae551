"""What invalidates a job: for each rule a text that changes exactly when its jobs must run again. No torch.

Contract: code, templates and local data enter as hashes, never as input files, so that a fresh checkout
reruns nothing; a generate job's version contains its prompts' version, so that no interruption between the
two can leave results that look fresh. Order and comments of the configuration never enter.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from longspec.config import specs
from longspec.config.sections.top_level import Config
from longspec.core import fingerprint, registry
from longspec.core.errors import UserError
from longspec.core.spec import Grid, ModelSpec, gated_against, load_of
from longspec.core.steps import STEPS
from longspec.models import model_files

READ_AS_DATA = {"report": "report/templates/*", "summary": "analysis/summary.schema.json"}
"""Command or step of the analysis to the files beside the code that its outputs depend on, below this package."""


def canonical(value: Any) -> str:
    """Write a value as JSON: one text for one meaning."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


class Versions:
    """Makes the versions of all jobs of one configuration."""

    def __init__(self, config: Config, grid: Grid, jobs: list[tuple[str, str, str]]) -> None:
        """`jobs`: (model, data set, label of a variant) of all generations. Their versions and those of trainings are
        made at once, so that data or a model that is missing stops the planning."""
        self._config, self._grid = config, grid
        self._generations = {job: self._generation(*job) for job in jobs}
        for drafter in config.drafters:
            self.train(drafter)

    def prepare(self, model: str, dataset: str) -> str:
        """Identify the code of the command and of its source, the data and the model's tokenizer."""
        entry = self._config.datasets[dataset]
        return canonical(
            {
                "code": _code("cli.prepare", registry.module("sources", entry.source)),
                "data": _data(canonical(entry.model_dump())),
                "templates": _content(self._config.prompt_templates),
                "model": self._model(model),
            }
        )

    def vocabulary(self, model: str) -> str:
        """Identify the code of the command and the model's tokenizer."""
        return canonical({"code": _code("cli.vocabulary"), "model": self._model(model)})

    def generate(self, model: str, dataset: str, methods: list[str]) -> str:
        """Identify what the job of these methods depends on beside their specs."""
        found = [self._generations[model, dataset, method] for method in methods]
        return found[0] if len(found) == 1 else canonical(found)

    def gate(self, model: str, dataset: str, method: str) -> str:
        """Identify the code of the gate, which knows no method and no drafter, and the two jobs that it compares."""
        compared = [self._generations[model, dataset, name] for name in (method, gated_against(self._grid, method))]
        engine = self._config.methods[load_of(method)[0]].method
        asked = [registry.module("served", engine)] if registry.decodes(engine) == "served" else []
        return canonical({"code": _code("cli.gate", self._verifier(), *asked), "of": compared})

    def answers(self, drafter: str) -> str:
        """Identify the code of the command, the questions and texts, the target."""
        entry = self._config.drafters[drafter]
        files = [_content(file) for file in (entry.questions, entry.texts) if file]
        return canonical({"code": _code("cli.answer"), "files": files, "model": self._model(entry.model)})

    def train(self, drafter: str) -> str:
        """Identify the code of training, the answers, and what training starts from."""
        entry = self._config.drafters[drafter]
        source = entry.answers or drafter
        started = (
            {"start": self._drafter_model(specs.trained_spec(self._config, drafter)["start"])} if entry.start else {}
        )
        answers = [self.answers(source), canonical(specs.answers_spec(self._config, source))]
        spec = canonical(specs.trained_spec(self._config, drafter))
        return canonical({"code": _code("cli.train"), "answers": answers, "spec": spec, **started})

    def command(self, name: str) -> str:
        """Identify the code of a command that reads results only, and the files that it reads as data."""
        return fingerprint.digest(f"cli.{name}", files=_read_as_data(name))

    def step(self, name: str) -> str:
        """Identify the code of one step of the analysis, and the files that it reads as data."""
        return fingerprint.digest("cli.analyse", *STEPS[name], files=_read_as_data(name))

    def _generation(self, model: str, dataset: str, label: str) -> str:
        """Identify the code of the loop and of this variant's own method and drafter, its prompts, its models."""
        entry = specs.method_entry(self._config, model, load_of(label)[0])
        own_models = {option: self._drafter_model(used) for option, used in registry.models_in(entry).items()}
        plugged = (registry.module(*plugin) for plugin in registry.plugged(entry["method"], entry.get("drafter")))
        return canonical(
            {
                "code": _code("cli.generate", self._verifier(), *plugged),
                "prompts": _short(canonical(specs.dataset_spec(self._config, dataset)), self.prepare(model, dataset)),
                "model": self._model(model),
                **({"own_models": own_models} if own_models else {}),
            }
        )

    def _drafter_model(self, entry: ModelSpec) -> str:
        """Identify the drafter model of a variant: by how it is trained, if this workflow does that."""
        trained = specs.trained_by(self._config, entry)
        return _model(canonical(entry)) if trained is None else self.train(trained)

    def _verifier(self) -> str:
        return registry.module("verification", self._config.verification)

    def _model(self, model: str) -> str:
        return _model(canonical(self._config.models[model].model_dump()))


def _short(*texts: str) -> str:
    """Hash texts that may be long: the version of a job is an argument of its command."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _read_as_data(name: str) -> tuple[Path, ...]:
    return tuple(fingerprint.PACKAGE.glob(READ_AS_DATA[name])) if name in READ_AS_DATA else ()


# Each is asked for once a job and answered once a run of Snakemake.
@functools.cache
def _code(*modules: str) -> str:
    return fingerprint.digest(*modules)


@functools.cache
def _data(entry: str) -> str:
    options = json.loads(entry)
    return str(registry.load("sources", options["source"]).fingerprint(options))


@functools.cache
def _model(entry: str) -> str:
    return model_files.fingerprint(json.loads(entry))


@functools.cache
def _content(path: str | None) -> str | None:
    try:
        return None if path is None else fingerprint.digest(files=(Path(path),))
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "a file, from the working directory") from None
