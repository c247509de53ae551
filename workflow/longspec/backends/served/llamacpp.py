"""llama.cpp's server, `llama-server`, over a GGUF made of the target's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longspec.backends.served._interface import Drafting, Get, Json, Launch, Question, Said, Start
from longspec.backends.served._programs import found
from longspec.core.errors import UserError
from longspec.models import gguf_files, model_files, trust

OPTIONS = {
    "gguf": {
        "type": ["string", "null"],
        "default": None,
        "description": "A GGUF file of your own instead of the target's weights; the report names it, and its "
        "output is held against its own baseline alone.",
    },
    "converter": {
        "type": ["string", "null"],
        "default": None,
        "description": "llama.cpp's convert_hf_to_gguf.py, which makes the GGUF of a model that is a folder. By "
        "default the one of `make engines`.",
    },
}
IN_FLOAT32 = ("--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off")
"""Beside float32 weights: keys and values in that format, and the attention that sums in it. llama-server's own choices
(float16, and an attention whose sums are off by 1e-3 in a logit) stay beside 16 bits; `arguments` may ask for them."""
REMEMBER = {"ngram-mod", "ngram-cache"}
"""Types of drafts with one memory for all texts, which a repeat would find filled with its own answer."""


class LlamaCpp:
    """Start and read llama-server."""

    health = "/health"
    answers = "/completion"
    url: str | None = None

    def __init__(
        self,
        program: list[str],
        speculation: Mapping[str, Any] | None,
        arguments: list[str],
        environment: Mapping[str, str],
        gguf: str | None,
        converter: str | None,
    ) -> None:
        self.program, self.arguments, self.environment = program, arguments, dict(environment)
        self.speculates = bool(speculation)
        self.speculation = [word for key, value in (speculation or {}).items() for word in (f"--{key}", str(value))]
        self.gguf, self.converter = gguf, converter

    def start(self, launch: Launch) -> Start:
        """Make the command line; the GGUF is made first, if it is not the user's own."""
        weights, said = gguf_files.weights(launch.model, launch.dtype, self.gguf, self.converter)
        # Slots share what -c says; 0, the model's own, is as much as one of them may need.
        room = launch.context_tokens or _own_context(launch)
        on_gpus = ["-ngl", "999", *(["--split-mode", "none"] if launch.gpus == 1 else [])]
        flags = [
            *("-c", str(room * launch.slots), "-np", str(launch.slots)),
            *("-t", str(launch.threads), "-tb", str(launch.threads), "--seed", str(launch.seed)),
            *(["--device", "none"] if launch.device == "cpu" else on_gpus),
            *IN_FLOAT32 * (launch.dtype == "float32"),
            *("--fit", "off", "--cache-ram", "0", "--no-cache-prompt", "--no-webui", "--offline", "--metrics"),
            *self.arguments,
        ]
        place = ["-m", str(weights), "--host", "127.0.0.1", "--port", str(launch.port)]
        return Start([*self.program, *place, *flags, *self.speculation], [said, *flags], self.environment)

    def question(self, question: Question) -> Json:
        """Make the body: all samplers of the server's own choice are off."""
        sampling = question.sampling
        return {
            "prompt": question.ids,
            "n_predict": question.room,
            "stream": True,
            "return_tokens": True,
            "cache_prompt": False,
            "ignore_eos": not question.stop_ids,  # the warm-up's
            # These samplers, in our order (decoding/sampling.py), and none of its own choice.
            "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
            "min_keep": 0,
            "temperature": sampling["temperature"],
            "top_k": sampling["top_k"] or 0,
            "top_p": sampling["top_p"],
            "min_p": sampling["min_p"],
            "repeat_penalty": sampling["repetition_penalty"],
            "repeat_last_n": len(question.ids) + question.room,
            "seed": question.seed,
            "n_probs": question.scores,
        }

    def said(self, events: Sequence[Json]) -> Said:
        """Read the events: one a token, and a last one with counts and times."""
        last = events[-1]
        if not last["stop"]:
            raise ValueError("the stream ends without its last event")
        timings, ids = last["timings"], [list(event.get("tokens") or []) for event in events]
        if (arrived := sum(map(len, ids))) < last["tokens_predicted"]:
            raise ValueError(
                f"{arrived} of {last['tokens_predicted']} ids arrived: llama-server streams none of the first parts "
                "of a character of several tokens"
            )
        drafting = Drafting(timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)) if self.speculates else None
        return Said(
            ids=ids,
            ended="length" if last["stop_type"] == "limit" else "stop",
            prompt_tokens=last["tokens_evaluated"],
            output_tokens=last["tokens_predicted"],
            cached_tokens=timings["cache_n"],
            seconds={"prefill": timings["prompt_ms"] / 1e3, "decode": timings["predicted_ms"] / 1e3},
            drafting=drafting,
            scores=[
                {row["id"]: row["logprob"] for row in token["top_logprobs"]}
                for event in events
                for token in event.get("completion_probabilities", ())
            ],
        )

    def version(self, get: Get) -> str:
        """Name llama.cpp and its build."""
        return f"llama.cpp {get('/props').get('build_info', 'of an unknown build')}"


def _own_context(launch: Launch) -> int:
    config = model_files.configuration(model_files.folder(launch.model), trust.allowed(launch.model))
    return model_files.stated_context(config.get_text_config()) or 0


def make(
    program: str | None,
    speculation: Mapping[str, Any] | None,
    arguments: list[str],
    environment: Mapping[str, str],
    gguf: str | None,
    converter: str | None,
) -> LlamaCpp:
    """Make the engine. Raises UserError where llama-server, or the user's own GGUF, is not found."""
    if gguf and not Path(gguf).is_file():
        raise UserError("gguf", repr(gguf), "a GGUF file, relative to the working directory")
    for key, value in (speculation or {}).items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise UserError(f"speculation.{key}", repr(value), "the text or number of llama-server's flag of this name")
        if remembering := set(str(value).split(",")) & REMEMBER:
            raise UserError(
                f"speculation.{key}",
                f"{', '.join(sorted(remembering))}, which drafts from the texts that it answered before",
                "a type that knows its own text alone, such as ngram-simple",
            )
    words = found(program, [".engines/llama.cpp/llama-server"], "llama-server")
    return LlamaCpp(words, speculation, arguments, environment, gguf, converter)
