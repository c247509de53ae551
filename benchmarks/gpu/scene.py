"""What all sections of the GPU benchmark share: device, sizes, clocks, models, and a verifier with a set outcome."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import setup  # before longspec: it finds the package
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from longspec.decoding.sampling import GREEDY
from longspec.decoding.verifiers import keyed
from longspec.models import model_files
from longspec.models.target import CausalLM

LLAMA_3_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
}  # fmt: skip
TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 1024,
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One H100's worth of work, or with `tiny` seconds of a CPU through the same lines."""

    tiny: bool

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.tiny else "cuda")

    @property
    def engine(self) -> str:
        """The one under test."""
        return "static" if self.tiny else "graphs"

    @property
    def contexts(self) -> tuple[int, ...]:
        return (48, 96) if self.tiny else (8192, 32768)

    @property
    def repeats(self) -> int:
        return 2 if self.tiny else 30

    @property
    def new_tokens(self) -> int:
        return 9 if self.tiny else 129

    def seconds(self, work: Callable[[], object], repeats: int | None = None) -> float:
        """Median over calls of `work` after one that does not count; on a GPU between two events on its stream."""
        work()
        if self.tiny:
            return statistics.median(self._host_seconds(work) for _ in range(repeats or self.repeats))
        marks = []
        for _ in range(repeats or self.repeats):
            pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            pair[0].record()
            work()
            pair[1].record()
            marks.append(pair)
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) / 1e3 for start, end in marks)

    def copies(self, size: int) -> int:
        """How many tensors of so many bytes are needed so that none is still in a cache when its turn comes again."""
        return 1 if self.tiny else max(2, 2**28 // size)

    def seconds_each(self, works: list[Callable[[], object]]) -> float:
        """Of one of `works`, run one after the other; on a GPU as one graph, for launching costs more than a kernel."""
        if self.tiny:
            return self.seconds(works[0])
        for work in works[:2]:
            work()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for work in works:
                work()
        return self.seconds(graph.replay) / len(works)

    @staticmethod
    def _host_seconds(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    def eight_b(self) -> torch.nn.Module:
        """Llama-3-8B's shape in bfloat16, with random weights: time does not depend on what they are."""
        torch.manual_seed(0)
        config = AutoConfig.for_model("llama", **(TINY if self.tiny else LLAMA_3_8B))
        with self.device:
            return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()

    def smollm2(self, dtype: torch.dtype) -> torch.nn.Module:
        """The default model; its stand-in has random weights."""
        if self.tiny:
            return self.eight_b().to(dtype)
        folder = model_files.folder(setup.MODEL)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(self.device).eval()

    def copy_bytes_per_second(self) -> float:
        """Bytes read and written by a copy of a tensor larger than any cache."""
        source = torch.ones(2**22 if self.tiny else 2**31, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * source.numel() / self.seconds(lambda: target.copy_(source))


def step_bytes(target: CausalLM, context: int) -> int:
    """Bytes that one step must read: weights once, keys and values of the context. Of the embedding one row counts."""
    config = target.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * config.num_key_value_heads * head * context
    unread = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return (target.parameters - unread + cache) * target.dtype.itemsize


class Recorded(keyed.Verifier):
    """Reads the logits as greedy decoding does, and then emits what is on record: acceptance as set, at real cost."""

    def __init__(self, recorded: list[int], target: CausalLM) -> None:
        super().__init__(GREEDY, 0, target.vocab_size, target.device)
        self._recorded = recorded

    def verify(self, tree, logits, stop_ids, room):
        """The interface is that of every verifier."""
        at = self._text.position
        _, finite = keyed.choices(logits)
        chosen = [self._recorded[min(at + depth, len(self._recorded) - 1)] for depth in tree.depths]
        acceptance = keyed.descend(tree, chosen, finite, stop_ids, room)
        self._text.grow(acceptance.emitted)
        return acceptance
