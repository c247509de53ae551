"""Checks that a model's folder is safe to load, before anything in it is loaded.

Contract: code of a model runs only where its entry trusts it and names one state of it for ever: a local folder, or a
commit of the hub. Raises UserError, naming file and key, for a folder whose configuration asks for Python of its own to
be run, unless transformers has the architecture itself, or whose index names weights that are not safetensors (such
files are pickles, and unpickling runs code). It reads JSON and nothing else. It does not know whether the weights are
what they say.
Sources: transformers loads code named by `auto_map`; before 5.3 also kernels named by an internal attention key
(CVE-2026-4372); torch.load runs code from pickles (CVE-2025-32434, CVE-2026-24747).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from longspec.core import revisions
from longspec.core.errors import UserError
from longspec.core.spec import ModelSpec

ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Implementations that transformers brings itself; another name may be fetched from the hub and run."""
INTERNAL = ("_attn_implementation_internal", "_experts_implementation_internal", "_from_auto")


def allowed(model: ModelSpec, where: str = "model") -> bool:
    """Tell if a model's configuration entry allows its code to run; UserError at `where` if that code is not pinned."""
    trusted = bool(model.get("trust_remote_code"))
    if trusted and not model.get("path") and not revisions.is_commit(model.get("revision")):
        raise UserError(
            f"{where}.trust_remote_code",
            f"true with revision {model.get('revision')!r}, so its code could change under you",
            "`revision` to be a commit of 40 hexadecimal digits",
        )
    return trusted


def refuse_unpinned(value: Any, where: str) -> None:
    """Refuse, at any depth of a configuration, an entry whose code may run and which no commit pins."""
    if isinstance(value, dict):
        allowed(cast(ModelSpec, value), where)
        for key, inner in value.items():
            refuse_unpinned(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            refuse_unpinned(inner, f"{where}.{number}")


def refuse_unsafe(place: Path, trusted: bool) -> None:
    """Refuse a model's folder that asks for more than to be read; `trusted` allows its own code and no other's."""
    for file in sorted(place.glob("*.json")):
        content = read_json(file)
        if file.name.endswith(".bin.index.json"):
            continue  # of pickles, which only convert_pickles.py opens
        if file.name.endswith(".index.json"):
            _refuse_other_weights(file, content)
        elif trusted:
            _refuse_code_of_others(file, content)
        else:
            _refuse_code(file, content)
    if (place / "adapter_config.json").exists():
        raise UserError(str(place), "has an adapter_config.json, so its weights are an adapter's", "a whole model")


def read_json(file: Path) -> Any:
    """Read a JSON file of a model's folder; raises UserError that names the file if it cannot be read."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(str(file), f"cannot be read as JSON ({type(error).__name__})", "a JSON file in UTF-8") from None


def _refuse_other_weights(file: Path, content: Any) -> None:
    names = content.get("weight_map") if isinstance(content, dict) else None
    for name in sorted({str(name) for name in names.values()}) if isinstance(names, dict) else []:
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise UserError(str(file), f"weight_map names {name!r}", "safetensors files beside it")


def _refuse_code_of_others(file: Path, content: Any) -> None:
    """Refuse an `auto_map` like `owner/name--file.Class`, which fetches code that the entry's commit does not pin."""
    for key, value in _entries(content):
        if key == "auto_map" and "--" in json.dumps(value):
            raise UserError(
                str(file), f"auto_map is {str(value)[:80]!r}, which runs another repository's code", "files beside it"
            )


def _transformers_has(content: Any) -> bool:
    """Check whether a configuration is of an architecture that transformers has: the code that it names is then what
    older versions needed. It does not run, since every loader is told not to run any (model_files.py)."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return content.get("architectures") == [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(content.get("model_type"))]


def _refuse_code(file: Path, content: Any) -> None:
    if file.name == "config.json" and content.get("auto_map") and _transformers_has(content):
        content = {key: value for key, value in content.items() if key != "auto_map"}
    for key, value in _entries(content):
        other = key in ("_attn_implementation", "attn_implementation") and value not in (None, *ATTENTION)
        if (key == "auto_map" and value) or key in INTERNAL or other:
            raise UserError(
                str(file),
                f"{key} is {str(value)[:80]!r}, which runs code that the model names",
                "a model without, or `trust_remote_code: true` on it, if you have read that code",
            )


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of nested configurations at any depth; not of vocabularies, whose keys are words."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            if key.endswith("config"):
                yield from _entries(value)
