"""vLLM's OpenAI-compatible server, over the target's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from longspec.backends.served._interface import Drafting, Get, Json, Launch, Question, Said, Start
from longspec.backends.served._programs import found
from longspec.models import model_files

OPTIONS: dict[str, dict[str, object]] = {}
ON_A_CPU = {"VLLM_CPU_KVCACHE_SPACE": "2"}
"""GiB of cache, of which vLLM would take half of the machine's memory."""
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
HERE = [".engines/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]


class VLLM:
    """Start and read vLLM's server (0.29 and later, which tells each request's drafts)."""

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
        self.program, self.arguments, self.environment = program, arguments, dict(environment)
        self.speculation = dict(speculation) if speculation else None

    def start(self, launch: Launch) -> Start:
        """Make the command line."""
        flags = [
            *("--dtype", launch.dtype, "--max-num-seqs", str(launch.slots), "--seed", str(launch.seed)),
            *("--no-enable-prefix-caching", "--enable-prompt-tokens-details", "--generation-config", "vllm"),
            "--enable-per-request-metrics",
            *(("--max-model-len", str(launch.context_tokens)) if launch.context_tokens else ()),
            *(("--tensor-parallel-size", str(launch.gpus)) if launch.device != "cpu" and launch.gpus > 1 else ()),
            *(("--trust-remote-code",) if launch.model.get("trust_remote_code") else ()),
            *(("--max-logprobs", "-1", "--return-tokens-as-token-ids") if launch.scores else ()),
            *self.arguments,
        ]
        drafts = []
        if self.speculation:
            drafts = ["--per-request-spec-decode-metrics", "detailed", "--speculative-config"]
            drafts.append(json.dumps(self.speculation, sort_keys=True))
        place = ["--model", str(model_files.folder(launch.model)), "--served-model-name", "model"]
        place += ["--host", "127.0.0.1", "--port", str(launch.port)]
        threads = {"OMP_NUM_THREADS": str(launch.threads), **ON_A_CPU} if launch.device == "cpu" else {}
        return Start([*self.program, *place, *flags, *drafts], flags, {**QUIET, **threads, **self.environment})

    def question(self, question: Question) -> Json:
        """Make the body of /v1/completions; texts end at our stop ids and at no others."""
        sampling = question.sampling
        return {
            "model": "model",
            "prompt": question.ids,
            "max_tokens": question.room,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            "ignore_eos": True,
            "stop_token_ids": list(question.stop_ids),
            "temperature": sampling["temperature"],
            "top_k": sampling["top_k"] or 0,
            "top_p": sampling["top_p"],
            "min_p": sampling["min_p"],
            "repetition_penalty": sampling["repetition_penalty"],
            "seed": question.seed,
            **({"logprobs": question.scores} if question.scores else {}),
        }

    def said(self, events: Sequence[Json]) -> Said:
        """Read the events: tokens as they come, and a last one with usage and metrics."""
        if broken := next((event["error"] for event in events if "error" in event), None):
            raise ValueError(str(broken))
        choices = [event["choices"][0] if event["choices"] else {} for event in events]
        usage, metrics = events[-1]["usage"], events[-1].get("metrics") or {}
        ended = next(choice["finish_reason"] for choice in choices if choice.get("finish_reason"))
        return Said(
            ids=[list(choice.get("token_ids") or []) for choice in choices],
            ended=ended,
            prompt_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
            seconds={
                name: metrics[key] / 1e3
                for name, key in (("prefill", "time_to_first_token_ms"), ("decode", "generation_time_ms"))
                if metrics.get(key) is not None
            },
            drafting=_drafting(metrics.get("speculative_decoding")),
            scores=[row for choice in choices for row in _scores(choice.get("logprobs"))],
        )

    def version(self, get: Get) -> str:
        """Name vLLM and its version."""
        return f"vllm {get('/version')['version']}"


def _drafting(told: Json | None) -> Drafting | None:
    if not told:
        return None
    steps = None
    if told.get("per_step_drafted") is not None:
        steps = list(zip(told["per_step_drafted"], told["per_step_accepted"], strict=True))
    counts = told["num_draft_tokens"], told["num_accepted_draft_tokens"], told["num_spec_steps"]
    return Drafting(*counts, steps, told.get("acceptance_histogram"))


def _scores(told: Json | None) -> list[dict[int, float]]:
    """Read the log-probabilities of each token: keys are "token_id:ID" (--return-tokens-as-token-ids)."""
    rows = (told or {}).get("top_logprobs") or []
    return [{int(name.rpartition(":")[2]): value for name, value in row.items()} for row in rows]


def make(
    program: str | None,
    speculation: Mapping[str, Any] | None,
    arguments: list[str],
    environment: Mapping[str, str],
) -> VLLM:
    """Make the engine. Raises UserError where vLLM is not found."""
    return VLLM(found(program, HERE, "vllm serve"), speculation, arguments, environment)
