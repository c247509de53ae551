"""GGUF files for llama.cpp: the target's weights in one number format, made once in the user's cache.

Of a package that carries a GGUF every quantised matrix is widened to bfloat16, as the converted model's are
(convert_gguf.py), and from there to the number format that is asked for; of a folder llama.cpp's own converter makes
one. So llama.cpp holds the numbers that our engine and the others hold.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from longspec.core.errors import UserError, first_line
from longspec.core.spec import ModelSpec
from longspec.models import convert_gguf, model_files, user_cache

FORMATS = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
"""Number format to llama.cpp's word for it."""
CONVERTER = Path(__file__).resolve().parents[3] / ".engines/llama.cpp/convert_hf_to_gguf.py"
NAME = "model.gguf"


def weights(model: ModelSpec, dtype: str, own: str | None = None, converter: str | None = None) -> tuple[Path, str]:
    """Find the GGUF of a model, or the user's `own`: (path, which weights these are). Raises UserError where it cannot
    be made."""
    if own is not None:
        return Path(own).resolve(), f"weights of {Path(own).name}, a GGUF of the user's own"
    if package := model.get("package"):
        source = convert_gguf.packaged(package)
        key = user_cache.content_key(source, source.stat().st_mtime_ns)
        place = user_cache.made_once(f"{key}-bfloat16-in-{FORMATS[dtype]}-gguf", partial(_widen, dtype=dtype), source)
    else:
        folder = model_files.folder(model)
        script = Path(converter) if converter else CONVERTER
        if not script.is_file():
            raise UserError("converter", f"{script} is not there", "llama.cpp's convert_hf_to_gguf.py (`make engines`)")
        key = model_files.fingerprint(model).replace("/", "-")
        make = partial(_convert, script=script, dtype=dtype)
        place = user_cache.made_once(f"{key}-{FORMATS[dtype]}-gguf", make, folder)
    return place / NAME, f"weights of the model in {dtype}"


def _widen(source: Path, place: Path, dtype: str) -> None:
    widened(source, place / NAME, FORMATS[dtype])


def widened(source: Path, target: Path, form: str = "bf16") -> Path:
    """Write a GGUF's model, rounded to bfloat16, with every matrix in the number format `form` and norms in float32."""
    import gguf

    rounded = gguf.GGMLQuantizationType.BF16
    kind = {"bf16": gguf.GGMLQuantizationType.BF16, "f16": gguf.GGMLQuantizationType.F16}.get(
        form, gguf.GGMLQuantizationType.F32
    )
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        what, *items = field.types
        writer.add_key_value(name, field.contents(), what, items[-1] if items else None)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{form.upper()}" if form != "f32" else "ALL_F32"])
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        values = gguf.quants.dequantize(gguf.quants.quantize(values, rounded), rounded)
        if len(tensor.shape) == 1:  # norms are kept in float32, as llama.cpp's own conversion does
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _convert(folder: Path, place: Path, script: Path, dtype: str) -> None:
    command = [sys.executable, str(script), str(folder), "--outfile", str(place / NAME), "--outtype", FORMATS[dtype]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [""]
        raise UserError(str(folder), f"llama.cpp's converter fails: {first_line(ValueError(said[-1]))}", "a model that "
                        "llama.cpp knows, or a GGUF of your own (`gguf`)")  # fmt: skip
