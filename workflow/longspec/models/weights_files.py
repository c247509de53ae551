"""Refuse a model's folder whose weights cannot be read, before anything is loaded.

Contract: it reads JSON and the headers of safetensors files, no weights. UserError names the file. Whether the weights
are those of the configuration is for who loads them to say (model_files.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from longspec.core.errors import UserError, first_line
from longspec.models.trust import read_json

POINTER = b"version https://git-lfs"
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def require_configuration(place: Path) -> None:
    """Require a configuration in a model's folder."""
    if not (place / "config.json").is_file():
        raise UserError(str(place), "has no config.json", "a model folder with safetensors weights")


def named(place: Path, index: str = INDEX) -> list[str]:
    """List the weights that an index in a folder names, sorted; none where there is no index."""
    parts = _object(place / index).get("weight_map") if (place / index).is_file() else None
    return sorted({str(name) for name in parts.values()}) if isinstance(parts, dict) else []


def require_whole(place: Path) -> None:
    """Require a configuration of plain weights, and safetensors files that are whole and all there."""
    _refuse_quantised(place / "config.json")
    for name in named(place):
        if not (place / name).is_file():
            raise UserError(str(place / INDEX), f"names {name}, which is not there", "all files that it names")
    for weights in read(place):
        _require_whole(weights)


def read(place: Path) -> list[Path]:
    """List the safetensors files that a model of a folder is loaded from, as transformers chooses: the single one, else
    those of the index. A folder with neither, which transformers does not load, is a drafter's: all of them."""
    if (place / WHOLE).is_file():
        return [place / WHOLE]
    return [place / name for name in named(place)] or sorted(place.glob("*.safetensors"))


def _refuse_quantised(file: Path) -> None:
    stated = _object(file).get("quantization_config")
    if isinstance(stated, dict) and stated:
        raise UserError(
            str(file),
            f"quantization_config.quant_method is {stated.get('quant_method')!r}",
            "weights in bfloat16, float16 or float32: quantised ones are another model",
        )


def _require_whole(weights: Path) -> None:
    from safetensors import SafetensorError, safe_open

    with weights.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise UserError(str(weights), "is a pointer of Git LFS", "the file that it stands for: git lfs pull")
    try:
        with safe_open(weights, "np"):
            pass
    except SafetensorError as error:
        raise UserError(str(weights), f"is no whole safetensors file ({first_line(error)})", "the whole file") from None


def _object(file: Path) -> dict[str, Any]:
    content = read_json(file)
    return content if isinstance(content, dict) else {}
