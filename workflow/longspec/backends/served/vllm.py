"""vLLM's server, over the target's own folder (read at version 0.32; docs/engines.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from longspec.backends.served._interface import Drafting, Get, Json, Launch, Question, Said, Start
from longspec.backends.served._programs import found
from longspec.core.errors import UserError
from longspec.models import model_files

OPTIONS: dict[str, Any] = {}

MODULE = ("-m", "vllm.entrypoints.openai.api_server")
ALONE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
"""The weights lie in a folder: nothing is asked of the network, and nothing told to it."""
CACHE_GIB = "2"
"""Memory for keys and values on a CPU, where an entry's `environment` has no VLLM_CPU_KVCACHE_SPACE."""
SCORES = ("--max-logprobs", "-1", "--skip-tokenizer-init")
"""For a server that tells the scores of all ids: to decode each of them for each token would take it minutes."""
MEMORY = "suffix_decoding_max_cached_requests"
NAMED = "token_id:"
"""What stands before an id that is asked for in place of its text."""


class VLLM:
    """Start and read vLLM's server."""

    health = "/health"
    answers = "/v1/completions"
    url: str | None = None

    def __init__(
        self,
        program: list[str],
        speculation: Mapping[str, Any] | None,
        arguments: list[str],
        environment: Mapping[str, str],
    ) -> None:
        self.program, self.speculation, self.arguments = program, speculation, arguments
        self.environment = dict(environment)

    def start(self, launch: Launch) -> Start:
        """Make the command line."""
        flags = [
            *("--dtype", launch.dtype, "--seed", str(launch.seed), "--max-num-seqs", str(launch.slots)),
            *("--max-model-len", str(launch.context_tokens)) * (launch.context_tokens is not None),
            *("--tensor-parallel-size", str(launch.gpus)) * (launch.gpus > 1),
            *("--generation-config", "vllm", "--no-enable-prefix-caching", "--enable-prompt-tokens-details"),
            "--enable-per-request-metrics",
            *["--trust-remote-code"] * bool(launch.model.get("trust_remote_code")),
            *self.arguments,
        ]
        known = dict(ALONE)
        if launch.device == "cpu":
            threads = {"OMP_NUM_THREADS": str(launch.threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
            known |= {**threads, "VLLM_CPU_KVCACHE_SPACE": CACHE_GIB}
        known |= self.environment
        place = ["--model", str(model_files.folder(launch.model)), "--served-model-name", "model"]
        place += ["--host", "127.0.0.1", "--port", str(launch.port)]
        own = list(SCORES) if launch.scores else []
        if self.speculation:
            own += ["--per-request-spec-decode-metrics", "detailed"]
            own += ["--speculative-config", json.dumps(self.speculation, sort_keys=True)]
        shared = [f"{name}={known[name]}" for name in sorted(known.keys() - self.environment.keys())]
        return Start([*self.program, *place, *flags, *own], [*shared, *flags], known)

    def question(self, question: Question) -> Json:
        """Make the body. Raises UserError for settings that the engine would take for others, or pass over."""
        sampling = question.sampling
        if sampling["min_p"] and (self.speculation or sampling["top_p"] < 1):
            raise UserError(
                "sampling.min_p",
                f"{sampling['min_p']}, which vLLM applies before top-p, and not at all while it speculates",
                "0, or top_p: 1 without speculation",
            )
        body: Json = {
            "prompt": question.ids,
            "max_tokens": question.room,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            # The model's own end is one of the ids below, or is none: ids alone decide, as in our loop.
            "ignore_eos": True,
            "stop_token_ids": list(question.stop_ids),
            "temperature": sampling["temperature"],
            "top_k": sampling["top_k"] or 0,
            "top_p": sampling["top_p"],
            "min_p": sampling["min_p"],
            "repetition_penalty": sampling["repetition_penalty"],
            "seed": question.seed,
        }
        if question.scores:
            body |= {"logprobs": question.scores, "return_tokens_as_token_ids": True}
        return body

    def said(self, events: Sequence[Json]) -> Said:
        """Read the events: some with tokens, and a last one with counts and times."""
        for event in events:
            if "error" in event:
                raise ValueError(f"it reports an error: {event['error']}")
        choices = [choice for event in events for choice in event["choices"]]
        ended, last = choices[-1]["finish_reason"], events[-1]
        if ended not in ("stop", "length") or last["choices"]:
            raise ValueError(f"it ends with finish_reason {ended!r}, and counts that are missing")
        usage, metrics = last["usage"], last.get("metrics") or {}
        details = usage.get("prompt_tokens_details") or {}
        times = {"prefill": "time_to_first_token_ms", "decode": "generation_time_ms", "queue": "queue_time_ms"}
        return Said(
            ids=[[token for c in event["choices"] for token in c.get("token_ids") or ()] for event in events],
            ended=ended,
            prompt_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            cached_tokens=details.get("cached_tokens"),
            seconds={name: metrics[key] / 1e3 for name, key in times.items() if metrics.get(key) is not None},
            drafting=_drafting(metrics.get("speculative_decoding")),
            scores=[_by_id(token) for c in choices if c.get("logprobs") for token in c["logprobs"]["top_logprobs"]],
        )

    def version(self, get: Get) -> str:
        """Name vLLM and its version."""
        return f"vllm {get('/version')['version']}"


def _drafting(told: Json | None) -> Drafting | None:
    if told is None:
        return None
    steps = None
    if "per_step_drafted" in told:
        steps = [*zip(told["per_step_drafted"], told["per_step_accepted"], strict=True)]
    return Drafting(
        drafted=told["num_draft_tokens"],
        accepted=told["num_accepted_draft_tokens"],
        steps=told["num_spec_steps"],
        per_step=steps,
        histogram=told["acceptance_histogram"],
    )


def _by_id(scores: Mapping[str, float]) -> dict[int, float]:
    return {int(name.removeprefix(NAMED)): value for name, value in scores.items()}


def make(
    program: str | None,
    speculation: Mapping[str, Any] | None,
    arguments: list[str],
    environment: Mapping[str, str],
) -> VLLM:
    """Make the engine. Raises UserError where vLLM is not found, or where `speculation` is not its words."""
    if speculation is not None and not {"method", "model"} & speculation.keys():
        raise UserError("speculation", json.dumps(dict(speculation)), "vLLM's --speculative-config, as an object")
    if (speculation or {}).get("method") == "suffix" and (speculation or {}).get(MEMORY) != 0:
        raise UserError(
            f"speculation.{MEMORY}", "not 0, so that drafts come from the texts that it answered before", "0"
        )
    words = found(program, [".engines/vllm/bin/python", *MODULE], "vllm serve")
    return VLLM(words, speculation, arguments, environment)
