"""SGLang's server, over the target's own folder: by its documentation and sources (0.5), never run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from longspec.backends.served._interface import Drafting, Get, Json, Launch, Question, Said, Start
from longspec.backends.served._programs import found
from longspec.core.errors import UserError
from longspec.models import model_files

OPTIONS: dict[str, Any] = {}

REMEMBER = {"NGRAM"}
"""Algorithms with one memory for all texts, which a repeat would find filled with its own answer."""
DRAFTED = ("spec_num_proposed_drafts", "spec_proposed_drafts", "spec_draft_token_num")
ACCEPTED = ("spec_num_correct_drafts", "spec_accepted_drafts", "spec_accept_token_num")
HISTOGRAM = ("spec_correct_drafts_histogram", "spec_accept_histogram")
"""Names of one count, the newest first."""


class SGLang:
    """Start and read SGLang's server."""

    health = "/health"
    answers = "/generate"
    url: str | None = None

    def __init__(
        self,
        program: list[str],
        speculation: Mapping[str, Any] | None,
        arguments: list[str],
        environment: Mapping[str, str],
    ) -> None:
        self.program, self.arguments, self.environment = program, arguments, dict(environment)
        self.speculation = [
            word
            for key, value in (speculation or {}).items()
            for word in (f"--speculative-{key.replace('_', '-')}", *(() if value is True else (str(value),)))
        ]

    def start(self, launch: Launch) -> Start:
        """Make the command line."""
        flags = [
            *("--dtype", launch.dtype, "--random-seed", str(launch.seed), "--device", launch.device),
            *("--max-running-requests", str(launch.slots), "--tp-size", str(launch.gpus)),
            *("--context-length", str(launch.context_tokens)) * (launch.context_tokens is not None),
            *["--trust-remote-code"] * bool(launch.model.get("trust_remote_code")),
            *("--disable-radix-cache", "--sampling-defaults", "openai", "--stream-interval", "1"),
            *self.arguments,
        ]
        known = {"HF_HUB_OFFLINE": "1"}
        if launch.device == "cpu":
            known["OMP_NUM_THREADS"] = str(launch.threads)
        known |= self.environment
        place = ["--model-path", str(model_files.folder(launch.model)), "--served-model-name", "model"]
        place += ["--host", "127.0.0.1", "--port", str(launch.port)]
        shared = [f"{name}={known[name]}" for name in sorted(known.keys() - self.environment.keys())]
        return Start([*self.program, *place, *flags, *self.speculation], [*shared, *flags], known)

    def question(self, question: Question) -> Json:
        """Make the body. Raises UserError for a setting that a speculating server would pass over."""
        sampling = question.sampling
        if sampling["min_p"] and self.speculation:
            raise UserError("sampling.min_p", f"{sampling['min_p']}, which SGLang's drafts are not verified by", "0")
        asked = {
            "max_new_tokens": question.room,
            # With `ignore_eos`, SGLang passes over stop_token_ids too.
            "ignore_eos": not question.stop_ids,
            "stop_token_ids": list(question.stop_ids),
            "temperature": sampling["temperature"],
            "top_k": sampling["top_k"] or -1,
            "top_p": sampling["top_p"],
            "min_p": sampling["min_p"],
            "repetition_penalty": sampling["repetition_penalty"],
            "sampling_seed": question.seed,
        }
        scores = {"return_logprob": True, "top_logprobs_num": question.scores} if question.scores else {}
        return {"input_ids": question.ids, "sampling_params": asked, "stream": True, **scores}

    def said(self, events: Sequence[Json]) -> Said:
        """Read the events, each with the counts so far; its ids and scores are the new ones or all, by a flag."""
        ids: list[list[int]] = []
        scores: list[dict[int, float]] = []
        before = 0
        for event in events:
            if "error" in event:
                raise ValueError(f"it reports an error: {event['error']}")
            new = event["meta_info"]["completion_tokens"] - before
            before += new
            ids.append(list(event["output_ids"][-new:]) if new else [])
            rows = event["meta_info"].get("output_top_logprobs") or []
            scores += [{row[1]: row[0] for row in token} for token in (rows[-new:] if new else [])]
        last = events[-1]["meta_info"]
        ended = (last["finish_reason"] or {}).get("type")
        if ended not in ("stop", "length"):
            raise ValueError(f"it ends with finish_reason {last['finish_reason']!r}")
        return Said(
            ids=ids,
            ended=ended,
            prompt_tokens=last["prompt_tokens"],
            output_tokens=last["completion_tokens"],
            cached_tokens=last.get("cached_tokens"),
            seconds={"total": last["e2e_latency"]} if last.get("e2e_latency") else {},
            drafting=_drafting(last),
            scores=scores,
        )

    def version(self, get: Get) -> str:
        """Name SGLang and its version."""
        return f"sglang {get('/server_info')['version']}"


def _drafting(told: Json) -> Drafting | None:
    """Read the counts of drafts; None where they count what lies past the answer's end, or are not told.

    Every step after the prompt's, which gives one token, verifies drafts and gives one token more than it accepts."""
    steps, accepted, drafted = (_first(told, names) for names in (("spec_verify_ct",), ACCEPTED, DRAFTED))
    if steps is None or accepted is None or drafted is None:
        return None
    if 1 + steps + accepted != told["completion_tokens"]:
        return None
    return Drafting(drafted, accepted, steps, histogram=_first(told, HISTOGRAM))


def _first(told: Json, names: Sequence[str]) -> Any:
    return next((told[name] for name in names if told.get(name) is not None), None)


def make(
    program: str | None,
    speculation: Mapping[str, Any] | None,
    arguments: list[str],
    environment: Mapping[str, str],
) -> SGLang:
    """Make the engine. Raises UserError where SGLang is not found, or where `speculation` is not its words."""
    for key, value in (speculation or {}).items():
        if value is not True and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            expected = f"the text or number of SGLang's --speculative-{key}, or true for a flag without one"
            raise UserError(f"speculation.{key}", repr(value), expected)
        if str(value) in REMEMBER:
            raise UserError(
                f"speculation.{key}",
                f"{value}, which drafts from the texts that it answered before",
                "an algorithm that knows its own text alone, such as EAGLE3",
            )
    if speculation and "algorithm" not in speculation:
        raise UserError("speculation", ", ".join(speculation), "`algorithm`, as in SGLang's --speculative-algorithm")
    words = found(program, [".engines/sglang/bin/python", "-m", "sglang.launch_server"], "sglang serve")
    return SGLang(words, speculation, arguments, environment)
