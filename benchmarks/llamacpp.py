"""Tokens per second of our n-gram drafting against llama.cpp with its prompt lookup, on the same bfloat16 weights.

    pip install llama-cpp-python==0.3.36     (an extra of this benchmark alone; builds with a C++ compiler)
    python benchmarks/llamacpp.py [--samples N] [--new-tokens N] [--output FILE]

Copy-heavy prompts: the default experiment's `stdlib_code`. The default model's GGUF is widened to bfloat16 for
llama.cpp, so both sides hold the same numbers. Decode only: llama.cpp's prefill is timed as a run of one new token and
subtracted. All sides are interleaved, prompt by prompt.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

import gguf
import setup  # before longspec: it finds the package
import torch
from llama_cpp import Llama
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla
from longspec.models import convert_gguf

DATASET = "stdlib_code"
BF16 = gguf.GGMLQuantizationType.BF16


def widened(source: Path, target: Path) -> Path:
    """The same model with every quantised matrix written out in bfloat16."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, *items = field.types
        writer.add_key_value(name, field.contents(), kind, items[-1] if items else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) == 1:  # norms are kept in float32, as llama.cpp's own conversion does
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, BF16), raw_dtype=BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def llama_seconds(model: Llama, ids: list[int], new_tokens: int) -> float:
    """Of the tokens after the first: a run of all, less a run of one."""
    seconds = {}
    for tokens in (1, new_tokens):
        model.reset()
        started = time.perf_counter()
        for _ in itertools.islice(model.generate(ids, temp=0.0, repeat_penalty=1.0), tokens):
            pass
        seconds[tokens] = time.perf_counter() - started
    return seconds[new_tokens] - seconds[1]


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    complete = setup.experiment()
    prompts = setup.prompts(complete, DATASET, args.samples)
    target, raw = setup.target(args.dtype), []
    methods = {"vanilla": (vanilla.Method(), None), **setup.ngram_variants(complete, target)}
    with tempfile.TemporaryDirectory() as folder:
        file = widened(convert_gguf.packaged(setup.MODEL["package"]), Path(folder) / "bf16.gguf")
        # With a draft model llama-cpp-python keeps every row's logits, and has room for them only if told so.
        lookup = {"logits_all": True, "draft_model": LlamaPromptLookupDecoding(num_pred_tokens=8)}
        options = {"model_path": str(file), "n_ctx": 2048, "n_threads": torch.get_num_threads(), "verbose": False}
        peers = {
            "llama.cpp": Llama(**options),
            "llama.cpp lookup": Llama(**options, **lookup),
        }
        for prompt in prompts:
            row: dict[str, object] = {"sample": prompt.sample_id}
            for key, peer in peers.items():
                row[key] = (args.new_tokens - 1) / llama_seconds(peer, prompt.prompt_ids, args.new_tokens)
            for key, (method, drafter) in methods.items():
                turn = generate(target, method, drafter, prompt.prompt_ids, Limits((), args.new_tokens))
                row[key] = (args.new_tokens - 1) / turn.decode_seconds
            raw.append(row)
    for key in [*peers, *methods]:
        seconds = sum(1 / row[key] for row in raw)
        print(f"{key}: {len(raw) / seconds:.1f} tokens/s")
    setup.keep(args.output, target, tokens_per_second=raw)


if __name__ == "__main__":
    main()
