"""Finds and loads a model's files: a package's GGUF (converted once), a hub repository, or a local folder.

Contract: `folder` returns a local folder with config, tokenizer and safetensors weights, which asks for no code of
its own to be run unless the configuration trusts it (trust.py). Of a hub's repository no weights are fetched but these;
where it has none, pickles are, if the configuration wants them converted (convert_pickles.py). `fingerprint` is cheap
enough for planning, `resolved` tells afterwards what was used. What loads models imports torch when it is called.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError, first_line
from longspec.core.program import uncollected
from longspec.core.spec import ModelSpec
from longspec.models import convert_gguf, convert_pickles, trust, user_cache, weights_files

PLANNED_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""What, beside the weights, decides a local model's ids."""
GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
SMALL = 64 * 2**20
"""Bytes up to which local weights are known by content, so that a fresh checkout of a drafter's reruns nothing."""
HUB_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
"""What is fetched beside the weights."""
OF_OTHERS = [f"*/{pattern}" for pattern in (*HUB_FILES, "*.safetensors", convert_pickles.NAMES)] + ["consolidated*"]
"""The same model in the formats of other programs: in folders of a repository, and Mistral's own."""


def folder(model: ModelSpec) -> Path:
    """Return the local folder of a model's files, downloaded or converted if need be; raises UserError if unsafe."""
    trusted = trust.allowed(model)
    if model.get("package"):
        return convert_gguf.converted(convert_gguf.packaged(model["package"]))
    place = _published(model)
    _require_weights(place, model)
    trust.refuse_unsafe(place, trusted)
    if not any(place.glob("*.safetensors")):
        place = convert_pickles.converted(place, place.name if model.get("hub") else None)
    weights_files.require_whole(place)
    return place


def causal_lm(place: Path, dtype: Any, trusted: bool = False, **options: Any) -> Any:
    """Load transformers' causal LM from a model's folder, in evaluation mode.

    Raises UserError when it cannot be read, or when weights are missing, superfluous or of other shapes."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            place, dtype=dtype, use_safetensors=True, trust_remote_code=trusted, output_loading_info=True, **options
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(str(place), first_line(error), "config.json and safetensors weights") from None
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise  # memory, or the device
        raise UserError(str(place), "its weights have other shapes", "the weights of this config.json") from None
    for kind, keys in (("lack", loaded["missing_keys"]), ("have beside the model's", loaded["unexpected_keys"])):
        if keys:
            some = ", ".join(sorted(keys)[:2]) + (f" and {len(keys) - 2} more" if len(keys) > 2 else "")
            raise UserError(str(place), f"its weights {kind} {some}", "the weights of this config.json, all of them")
    return model.eval()


def plain(model: ModelSpec, dtype: Any, device: Any) -> Any:
    """Load the model of a configuration entry on a device as transformers ships it, without our engine."""
    return causal_lm(folder(model), dtype, trust.allowed(model)).to(device)


def stored_dtype(place: Path) -> Any:
    """Tell the torch number format that all weights of a model's folder are stored in; None where they differ."""
    import torch
    from safetensors import safe_open

    found = set()
    for weights in weights_files.read(place):
        with safe_open(weights, "pt") as file:
            found |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    known = {"BF16": torch.bfloat16, "F32": torch.float32, "F16": torch.float16}
    return known.get(found.pop()) if len(found) == 1 else None


def stop_ids(model: Any) -> frozenset[int]:
    """List a loaded model's end-of-sequence ids, whether they are given as a number or as a list."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    return _as_set(model.config.get_text_config().eos_token_id if ids is None else ids)


def stated_stop_ids(place: Path, config: Any) -> frozenset[int]:
    """List the end-of-sequence ids that a model in a folder will have once it is loaded."""
    file = place / "generation_config.json"
    stated = trust.read_json(file) if file.is_file() else None
    ids = stated.get("eos_token_id") if isinstance(stated, dict) else None
    return _as_set(config.get_text_config().eos_token_id if ids is None else ids)


def _as_set(ids: int | list[int] | None) -> frozenset[int]:
    return frozenset([] if ids is None else [ids] if isinstance(ids, int) else ids)


def resolved(model: ModelSpec) -> str:
    """Say what a model turned out to be: the commit of a hub repository, or a hash of what its files are; and whether
    its weights were converted."""
    used = folder(model)
    if model.get("package"):
        return f"{_files_fingerprint(model)} {used.name}"
    published = _published(model)
    known = f"{model['hub']}@{published.name}" if model.get("hub") else _files_fingerprint(model)
    return known if used == published else f"{known}, converted from pickles"


def chat_template(model: ModelSpec) -> str | None:
    """Read the Jinja file that a model's entry names, if it names one. UserError where it is none."""
    import jinja2

    if (named := model.get("chat_template")) is None:
        return None
    try:
        text = Path(named).read_text(encoding="utf-8-sig")
        # `generation` marks answers for who trains on them, in transformers alone.
        jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(GENERATION.sub("", text))
    except (OSError, UnicodeDecodeError, jinja2.TemplateSyntaxError) as error:
        raise UserError("chat_template", f"{named!r} cannot be read ({first_line(error)})", "a Jinja file") from None
    if not text.strip():  # transformers would take it for none, and the tokenizer's own in its place
        raise UserError("chat_template", f"{named!r} is empty", "a Jinja file")
    return text


def fingerprint(model: ModelSpec) -> str:
    """Identify the state of a model's files for planning; large weights are not read, nor is torch imported."""
    files, template = _files_fingerprint(model), chat_template(model)
    return files if template is None else f"{files} {hashlib.sha256(template.encode()).hexdigest()[:16]}"


def _files_fingerprint(model: ModelSpec) -> str:
    if model.get("package"):
        return f"{model['package']} {convert_gguf.version(model['package'])}"
    if model.get("hub"):
        return f"{model['hub']}@{model.get('revision')}"
    place, digest = Path(model["path"]), hashlib.sha256()
    _require_weights(place, model)
    for name in PLANNED_FILES:
        if (place / name).is_file():
            digest.update(name.encode() + (place / name).read_bytes())
    for weights in sorted(place.glob("*.safetensors")) or sorted(place.glob(convert_pickles.NAMES)):
        status = weights.stat()
        small = status.st_size <= SMALL
        known = (
            user_cache.content_key(weights, status.st_mtime_ns) if small else f"{status.st_size} {status.st_mtime_ns}"
        )
        digest.update(f"{weights.name} {known}".encode())
    return digest.hexdigest()[:16]


def tokenizer(place: Path, trusted: bool = False) -> Any:
    """Load the tokenizer in a model's folder; `trusted` allows its own code to run. UserError where there is none."""
    try:
        with uncollected():
            from transformers import AutoTokenizer

            # trust_remote_code is always given: by default, transformers would ask at the terminal.
            return AutoTokenizer.from_pretrained(place, trust_remote_code=trusted)
    except Exception as error:  # tokenizer files fail with whatever their parsers raise
        raise UserError(
            str(place), f"no tokenizer can be read ({first_line(error)})", "a tokenizer's files beside config.json"
        ) from None


def configuration(place: Path, trusted: bool = False) -> Any:
    """Read a model's configuration with transformers; UserError when it cannot. `trusted`: its own code may run."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(place, trust_remote_code=trusted)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            str(place), f"its config.json cannot be used ({first_line(error)})", "one that transformers reads"
        ) from None


def context(config: Any, wanted: int | None = None) -> int | None:
    """Tell the context limit in tokens: the `wanted` one, or what the model's configuration states, if it does.
    UserError when more is wanted than there are positions."""
    text = config.get_text_config()
    table = tabled_context(text)
    if wanted is not None and table is not None and wanted > table:
        raise UserError("context", f"{wanted}, but {config.name_or_path} has {table} positions", f"at most {table}")
    return wanted or stated_context(text)


def vocabulary(config: Any) -> int | None:
    """Count the ids that a model has embeddings for; None where its configuration does not say."""
    size = getattr(config.get_text_config(), "vocab_size", None)
    return int(size) if size else None


def stated_context(config: Any) -> int | None:
    """Read the context limit, in tokens, from a model's text configuration; None where it states none."""
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit and limit > 0 else None  # XLNet says -1


def tabled_context(config: Any) -> int | None:
    """Count the positions of a model that looks them up in a table; None where it computes them (rotary)."""
    rotary = getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)
    return None if rotary else stated_context(config)


def _published(model: ModelSpec) -> Path:
    """Find the folder of a model as it was published: fetched from its hub if need be, or the local one."""
    return _downloaded(model, model["hub"], model.get("revision")) if model.get("hub") else Path(model["path"])


def _require_weights(place: Path, model: ModelSpec) -> None:
    """Require a configuration, and safetensors weights or pickles that the model's entry wants converted."""
    weights_files.require_configuration(place)
    if any(place.glob("*.safetensors")):
        return
    if not model.get("convert_pickles"):
        wanted = "such weights, or `convert_pickles: true` on this model where it has pickles (pytorch_model*.bin)"
        raise UserError(str(place), "has no *.safetensors", wanted)
    if not convert_pickles.pickles(place):
        raise UserError(str(place), f"has neither *.safetensors nor {convert_pickles.NAMES}", "weights")


def _downloaded(model: ModelSpec, name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def fetch(state: str | None, files: list[str]) -> Path:
        return Path(snapshot_download(name, revision=state, allow_patterns=files, ignore_patterns=OF_OTHERS))

    try:
        place = fetch(revision, [*HUB_FILES, "*.py"] if model.get("trust_remote_code") else HUB_FILES)
        commit = place.name  # the hub's cache names a snapshot by it
        others = ["*.safetensors"], *([[convert_pickles.NAMES]] if model.get("convert_pickles") else [])
        for files in ([weights_files.WHOLE, *weights_files.named(place)], *others):
            fetch(commit, files)
            if any(place.glob("*.safetensors")):
                break
        return place
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"model {name}@{revision or 'main'}",
            f"cannot be fetched ({first_line(error)})",
            "it on the hub or in its cache, or `path:` to a local copy",
        ) from None
