"""Find and load a model's files: a package's GGUF (converted once), a hub repository, or a local folder.

Contract: `folder` returns a local folder with config, tokenizer and safetensors weights, which asks for no code of
its own to be run unless the configuration trusts it (trust.py). Of a hub's repository no weights are fetched but these;
where it has none, pickles are, if the configuration wants them converted (convert_pickles.py). `fingerprint` is cheap
enough for planning, `resolved` tells afterwards what was used. What loads models imports torch when it is called.
"""

from __future__ import annotations

import hashlib
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
"""Files that decide a local model's token ids, beside its weights."""
SMALL = 64 * 2**20
"""Bytes up to which local weights are known by content, so that a fresh checkout of a drafter's reruns nothing; larger
files are known by size and time."""
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
UNREAD = ["*/*", "consolidated*"]
"""Files of the same weights in other formats that a hub's repository may hold: `original/`, `onnx/`, Mistral's own."""


def folder(model: ModelSpec) -> Path:
    """Find, fetch or convert a model's files into a local folder, and check them. UserError for a folder that is
    refused. `model`: a config entry with one of `package`, `hub`, `path`."""
    trusted = trust.allowed(model)
    if model.get("package"):
        return convert_gguf.converted(convert_gguf.packaged(model["package"]))
    place = _published(model)
    weights_files.require_configuration(place)
    trust.refuse_unsafe(place, trusted)
    if not any(place.glob("*.safetensors")):
        _require_pickles(place, model)
        place = convert_pickles.converted(place, place.name if model.get("hub") else None)
    weights_files.require_whole(place)
    return place


def causal_lm(place: Path, dtype: Any, trusted: bool = False, **options: Any) -> Any:
    """Load transformers' causal LM from a model's folder, in evaluation mode; UserError when it cannot be read, or when
    the folder's weights are not the model's, all of them and no others."""
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
    """Load the model of a config entry on a device as transformers has it, with nothing of our engine in it."""
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
    """Read a loaded model's end-of-sequence ids, given as a number or as a list."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    if ids is None:
        ids = model.config.get_text_config().eos_token_id
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
    """Read the Jinja file that a model's config entry names as its chat template; None where it names none."""
    named = model.get("chat_template")
    try:
        return None if named is None else Path(named).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("chat_template", f"{named!r} cannot be read ({error})", "a Jinja file") from None


def fingerprint(model: ModelSpec) -> str:
    """Make a text that changes when the model does, for planning: large weights are not read, torch is not imported."""
    files, template = _files_fingerprint(model), chat_template(model)
    return files if template is None else f"{files} {hashlib.sha256(template.encode()).hexdigest()[:16]}"


def _files_fingerprint(model: ModelSpec) -> str:
    if model.get("package"):
        return f"{model['package']} {convert_gguf.version(model['package'])}"
    if model.get("hub"):
        return f"{model['hub']}@{model.get('revision')}"
    place, digest = Path(model["path"]), hashlib.sha256()
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
    """Load the tokenizer of a model's folder; UserError when it cannot. `trusted`: its own code may run."""
    try:
        with uncollected():
            from transformers import AutoTokenizer

            # Given and not left out: by default transformers asks a person at a terminal whether to run it.
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


def context(place: Path, trusted: bool = False, wanted: int | None = None) -> int | None:
    """Find the context limit in tokens: the `wanted` one, or what the model's own configuration states, if it does.
    UserError when more is wanted than there are positions."""
    config = configuration(place, trusted).get_text_config()
    table = tabled_context(config)
    if wanted is not None and table is not None and wanted > table:
        raise UserError("context", f"{wanted}, but {place} has {table} positions", f"at most {table}")
    return wanted or stated_context(config)


def vocabulary(place: Path, trusted: bool = False) -> int | None:
    """Count the ids that a model has embeddings for; None where its configuration does not say."""
    size = getattr(configuration(place, trusted).get_text_config(), "vocab_size", None)
    return int(size) if size else None


def stated_context(config: Any) -> int | None:
    """Read the context limit in tokens of a model's text configuration; preparing and generating must agree on it."""
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit else None


def tabled_context(config: Any) -> int | None:
    """Count the positions that a model looks up in a table and cannot run beyond; None where it computes them."""
    rotary = getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)
    return None if rotary else stated_context(config)


def _published(model: ModelSpec) -> Path:
    """Find or fetch the folder that a model's entry names, as it was published. One of the hub is named by its
    commit."""
    if not model.get("hub"):
        return Path(model["path"])
    files = [*HUB_FILES, "*.py"] if model.get("trust_remote_code") else HUB_FILES
    place = _downloaded(model["hub"], model.get("revision"), files)
    if not model.get("convert_pickles") or any(place.glob("*.safetensors")):
        return place
    return _downloaded(model["hub"], place.name, [convert_pickles.NAMES])


def _require_pickles(place: Path, model: ModelSpec) -> None:
    """Require pickles in a folder without safetensors, and `convert_pickles` in the model's entry."""
    if not model.get("convert_pickles"):
        wanted = "such weights, or `convert_pickles: true` on this model where it has pickles (pytorch_model*.bin)"
        raise UserError(str(place), "has no *.safetensors", wanted)
    if not convert_pickles.pickles(place):
        raise UserError(str(place), f"has neither *.safetensors nor {convert_pickles.NAMES}", "weights")


def _downloaded(name: str, revision: str | None, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files, ignore_patterns=UNREAD))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"model {name}@{revision or 'main'}",
            f"cannot be fetched ({first_line(error)})",
            "it on the hub or in its cache, or `path:` to a local copy",
        ) from None
