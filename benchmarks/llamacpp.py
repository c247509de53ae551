"""Tokens per second of our vanilla decoding and n-gram drafts beside llama.cpp's, on the same bfloat16 weights.

    python benchmarks/llamacpp.py --server PATH/llama-server [--samples N] [--context 256] [--new-tokens N]
                                  [--dtype float32] [--output FILE]

`llama-server` is llama.cpp's own program; the source archive of llama-cpp-python on PyPI carries its sources in
vendor/llama.cpp (0.3.36 was measured; CMake builds the target llama-server in ten minutes on two cores with
-DGGML_NATIVE=ON -DLLAMA_CURL=OFF). Copy-heavy prompts: the default experiment's `stdlib_code`, their first `context`
tokens. The default model's GGUF is widened to bfloat16 for llama.cpp, so both sides hold the same numbers. Decode only,
all sides in turn, prompt by prompt: of ours by our clock, of llama.cpp by the same one, from the first to the last
streamed chunk, and by its own.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import setup  # before longspec: it finds the package
import torch

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla
from longspec.models import gguf_files

DATASET = "stdlib_code"
SIDES = {"llama.cpp": [], "llama.cpp ngram-simple": ["--spec-type", "ngram-simple", "--spec-draft-n-max", "8"]}
START_SECONDS = 60


@contextlib.contextmanager
def server(binary: str, model: Path, options: list[str]) -> Iterator[str]:
    """A running llama-server's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(torch.get_num_threads())
    command = [binary, "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-c", "8192", "-np", "1",
               "-t", threads, "-tb", threads, "--no-webui", *options]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(10 * START_SECONDS):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{address}/health", timeout=5).ok:
                    break
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def answer(address: str, ids: list[int], new_tokens: int) -> dict[str, Any]:
    """Tokens a second after the first by the client's clock and by the server's, and the tokens."""
    asked = {"prompt": ids, "n_predict": new_tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False,
             "stream": True, "return_tokens": True}  # fmt: skip
    first = last = None
    tokens: list[int] = []
    with requests.post(f"{address}/completion", json=asked, stream=True, timeout=600) as response:
        for line in response.iter_lines(chunk_size=1):
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if event.get("tokens"):
                last = time.perf_counter()
                first = first or (last, len(event["tokens"]))
                tokens += event["tokens"]
    assert first is not None
    assert last is not None
    assert event["timings"]["cache_n"] == 0
    assert len(tokens) == new_tokens == event["timings"]["predicted_n"]
    own = 1e3 * (new_tokens - 1) / event["timings"]["predicted_ms"]
    return {"client": (new_tokens - first[1]) / (last - first[0]), "server": own, "tokens": tokens}


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--server", default="llama-server")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    complete = setup.experiment()
    prompts = [prompt.prompt_ids[: args.context] for prompt in setup.prompts(complete, DATASET, args.samples)]
    target, raw = setup.target(args.dtype), []
    methods = {"vanilla": (vanilla.Method(), None), **setup.ngram_variants(complete, target)}
    file, _ = gguf_files.weights(setup.MODEL, "bfloat16")
    with contextlib.ExitStack() as running:
        places = {name: running.enter_context(server(args.server, file, more)) for name, more in SIDES.items()}
        for number, ids in enumerate([prompts[0], *prompts]):
            row: dict[str, Any] = {}
            for name, address in places.items():
                row[name] = answer(address, ids, args.new_tokens)
            for name, (method, drafter) in methods.items():
                turn = generate(target, method, drafter, ids, Limits((), args.new_tokens))
                row[name] = {"client": (args.new_tokens - 1) / turn.decode_seconds, "tokens": turn.output_ids}
            if number:  # the first is a warm-up
                raw.append(row)
    for name in [*SIDES, *methods]:
        ratios = [row["vanilla"]["client"] / row[name]["client"] for row in raw]
        own = [row["vanilla"]["client"] / row[name]["server"] for row in raw if "server" in row[name]]
        by_server = f", {statistics.median(own):.2f} by the server's own clock" if own else ""
        alike = sum(row["vanilla"]["tokens"] == row[name]["tokens"] for row in raw)
        speed = statistics.median(row[name]["client"] for row in raw)
        print(f"{name}: {speed:.1f} tokens/s; our vanilla is {statistics.median(ratios):.2f} times as fast{by_server}; "
              f"{alike} of {len(raw)} texts are our vanilla's")  # fmt: skip
    setup.keep(args.output, target, tokens_per_second=raw)


if __name__ == "__main__":
    main()
