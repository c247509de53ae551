"""Models: where the files are, and what a job that runs them asks of a cluster."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from longspec.config.sections.base import Natural, Positive, Section, each_once, left_out, refused

WHENCE = ("package", "hub", "path")


class Resources(Section):
    """What a job with this model asks of a cluster. A retried job asks as much memory and time again for each attempt.
    docs/cluster.md says more."""

    gpus: Natural = 1
    """GPUs of a job. Our own loop and peers use one; the server of a served engine uses all, and runs again when their
    number changes."""
    gpu_model: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9._]+$", json_schema_extra={"form": "letters, digits, '.' and '_'"})]
        | None
    ) = None
    """The cluster's name for the kind of GPU. Any by default."""
    mem_mb: Positive = 64000
    """Memory of the host in MB."""
    runtime: Positive = 1440
    """Time limit in minutes."""
    partition: (
        Annotated[
            str, Field(pattern=r"^[A-Za-z0-9._-]+$", json_schema_extra={"form": "letters, digits, '.', '_' and '-'"})
        ]
        | None
    ) = None
    """The Slurm partition. The cluster's own by default."""


class Model(Section):
    """A model's files; exactly one of `package`, `hub`, `path`. Nothing is filled in that is not given."""

    package: str | None = left_out()
    """An installed Python package that carries one GGUF file. It is converted once into `~/.cache/longspec-bench`."""
    hub: (
        Annotated[
            str,
            Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", json_schema_extra={"form": "owner/name"}),
        ]
        | None
    ) = left_out()
    """A Hugging Face repository, owner/name. Its safetensors weights are fetched, and no others beside them."""
    revision: str | None = left_out()
    """A commit of the hub repository. Without one the run says at its start, and the report under *Make it again*, that
    it is not pinned."""
    path: str | None = left_out()
    """A local folder with config, tokenizer and safetensors weights."""
    context: Annotated[int, Field(ge=2)] | None = left_out()
    """Context limit in tokens, the model's own by default. Refused above it where positions are learned (GPT-2, OPT). A
    `causal_lm` drafter stops drafting where its own ends, and the text goes on without drafts."""
    chat_template: str | None = left_out()
    """A Jinja file that replaces the tokenizer's chat template, or stands in where it has none."""
    stop_tokens: Annotated[list[str], Field(min_length=1)] | None = left_out()
    """Tokens that end an answer beside the model's own end-of-sequence tokens, as its tokenizer writes them. `prepare`
    warns where the chat template's end of a turn is none of either."""
    trust_remote_code: bool | None = left_out()
    """Whether Python files that the model brings may run here, with all your rights. False by default; true only with a
    `path` or a `revision` that is a commit, wherever the entry stands (a target, its `drafter`, what a method names),
    and never for code of another repository. Not needed where transformers has the architecture itself: its own code
    runs then, whatever `auto_map` of config.json names."""
    convert_pickles: bool | None = left_out()
    """Whether weights that a model has as pickles alone (pytorch_model*.bin) are converted into safetensors, once, in
    `~/.cache/longspec-bench`. False by default: such a model is refused. torch's loader for weights reads them, in a
    process of its own without network, and calls nothing that they name; `run.json` and the report say `converted from
    pickles`."""

    @model_validator(mode="after")
    def _of_one_place(self) -> Model:
        given = [key for key in WHENCE if getattr(self, key) is not None]
        if len(given) != 1:
            raise refused(f"{', '.join(given) or 'nothing'} given", f"exactly one of {', '.join(WHENCE)}")
        return self


class Target(Model):
    """A target model, as an entry of `models`. Exactly one of `package`, `hub`, `path`."""

    trust_remote_code: bool = Field(default=False, description=Model.model_fields["trust_remote_code"].description)
    drafter: Model | None = left_out()
    """A drafter trained for this model (`hub` or `path`). Drafters with `weights` use it unless their entry names
    others."""
    datasets: Annotated[list[str], Field(min_length=1), AfterValidator(each_once)] | None = left_out()
    """The data sets that this model runs on. All by default."""
    resources: Resources = Field(default_factory=Resources)
    """What a job with this model asks of a cluster. Changing it reruns the report alone, but for `gpus` of served
    engines."""
