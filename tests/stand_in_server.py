"""A small server that speaks llama-server's protocol over a tiny real model, and fails as it is told to.

    python stand_in_server.py -m FILE --port N [llama-server's other flags]

It is what `method: llamacpp` starts as its `program` where no engine is installed. The model is the transformers folder
named by STAND_IN_MODEL, decoded greedily in float32. With --spec-type it drafts what followed the last token before,
and counts as llama-server does. STAND_IN_FAULT is `WHAT@N`: at the N-th question of its life (questions of health do
not count) it dies in the middle of the stream, hangs, and so on; STAND_IN_ONCE names a file that is made then, and
while it exists there is no fault.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

WHAT, _, AT = os.environ.get("STAND_IN_FAULT", "").partition("@")
ONCE = os.environ.get("STAND_IN_ONCE", "")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--spec-type", default="none")
    parser.add_argument("--spec-draft-n-max", type=int, default=3)
    return parser.parse_known_args()[0]


class Model:
    """Answer texts greedily, one at a time."""

    def __init__(self, folder: str) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.stop = self.model.generation_config.eos_token_id
        self.lock = threading.Lock()

    @torch.inference_mode()
    def scores(self, ids: list[int]) -> torch.Tensor:
        with self.lock:
            return self.model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model
    flags: argparse.Namespace
    asked = 0

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.whole({"status": "ok", "build_info": "stand-in", "total_slots": 1})

    def whole(self, answer: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        Handler.asked += 1
        fault = WHAT if AT and Handler.asked == int(AT) and not (ONCE and Path(ONCE).exists()) else ""
        if fault and ONCE:
            Path(ONCE).touch()
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if fault == "500":
            self.whole({"error": {"code": 500, "message": "planted"}}, 500)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in self.events(body, fault):
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.flush()

    def events(self, body: dict[str, Any], fault: str):
        ids, prompt = list(body["prompt"]), len(body["prompt"])
        started, first, drafted, accepted, guess = time.monotonic(), 0.0, 0, 0, []
        while len(ids) - prompt < body["n_predict"]:
            scores = self.model.scores(ids)
            token = int(scores.argmax())
            if fault == "other" and len(ids) == prompt + 2:
                token = int(scores.argmin())
            if guess and guess.pop(0) == token:
                accepted += 1
            else:
                guess = []
                if self.flags.spec_type != "none" and len(ids) > prompt:
                    guess = self.draft([*ids, token], body["n_predict"] - (len(ids) - prompt) - 2)
                    drafted += len(guess)
            ids.append(token)
            first = first or time.monotonic()
            yield {
                "tokens": [token],
                "content": "",
                "stop": False,
                **self.probabilities(scores, body.get("n_probs", 0)),
            }
            if fault == "dies":
                os._exit(9)
            if fault == "hangs":
                time.sleep(3600)
            if token == self.model.stop and not body.get("ignore_eos"):
                break
        made = len(ids) - prompt
        timings = {
            "cache_n": 1 if fault == "cached" else 0,
            "prompt_n": prompt,
            "prompt_ms": 1e3 * (first - started),
            "predicted_n": made,
            "predicted_ms": 1e3 * (time.monotonic() - first),
            **({"draft_n": drafted, "draft_n_accepted": accepted} if drafted else {}),
        }
        yield {
            "tokens": [],
            "content": "",
            "stop": True,
            "stop_type": "eos" if ids[-1] == self.model.stop and not body.get("ignore_eos") else "limit",
            "tokens_predicted": made + (fault == "counts"),
            "tokens_evaluated": prompt,
            "timings": timings,
        }

    @staticmethod
    def draft(ids: list[int], most: int) -> list[int]:
        """What followed the last token where it stood before."""
        most = min(most, Handler.flags.spec_draft_n_max)
        places = [n for n, token in enumerate(ids[:-1]) if token == ids[-1]]
        return ids[places[-1] + 1 :][:most] if places and most > 0 else []

    @staticmethod
    def probabilities(scores: torch.Tensor, count: int) -> dict[str, Any]:
        if not count:
            return {}
        best = scores.topk(min(count, len(scores)))
        rows = [{"id": int(i), "logprob": float(p)} for p, i in zip(best.values, best.indices, strict=True)]
        return {"completion_probabilities": [{**rows[0], "top_logprobs": rows}]}


if __name__ == "__main__":
    if WHAT == "refuses":
        sys.exit("planted: no such model")
    torch.set_num_threads(1)
    Handler.flags, Handler.model = parsed(), Model(os.environ["STAND_IN_MODEL"])
    if WHAT == "never":
        time.sleep(3600)
    ThreadingHTTPServer(("127.0.0.1", Handler.flags.port), Handler).serve_forever()
