"""Asks a served engine how close its choice was where two of its outputs part: it scores the known text again, alone.

The server is the baseline's, without speculation, so that a fault of drafts cannot pass for rounding. The scores of all
ids after the text are asked for in several ways: after the whole text as a prompt, and after its last tokens were made
one by one, as without speculation. What moves between these ways is the engine's own rounding. Beside that, the engine
is asked for the baseline's answer once more: an engine that gives other tokens alone than it gave among others, or at
another time, does not repeat itself, and a part of two outputs there proves nothing about speculation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch

from longspec.backends import served_engine
from longspec.backends.served._interface import Question, Said
from longspec.backends.server import ServerError
from longspec.core.errors import UserError
from longspec.core.records import Comparison, Prompt, Sample, first_divergence
from longspec.core.spec import GenerateSpec
from longspec.data import prompting
from longspec.models import model_files
from longspec.verify import replays

MADE_BEFORE = (1, 0, 2, 4)
"""How many of a text's last tokens are made before the scores are taken; the first is how vanilla decoding does it."""


class Asker:
    """Ask a running server about the places where outputs part."""

    def __init__(self, spec: GenerateSpec, prompts: Iterable[Prompt], logs: Path) -> None:
        """Start the server of a spec, a baseline's; it writes into `server-gate.log` of the folder `logs`."""
        self.spec = spec
        self.tokenizer = prompting.tokenizer(spec["model"])
        self.prompts = {prompt.sample_id: prompt for prompt in prompts}
        config = model_files.configuration(model_files.folder(spec["model"]))
        vocabulary = model_files.vocabulary(config)
        assert vocabulary is not None
        self.vocabulary = vocabulary
        self.stop_ids = sorted(model_files.stated_stop_ids(model_files.folder(spec["model"]), config))
        self.engine, self.server, _ = served_engine.run(spec, logs / "server-gate.log", scores=True)

    def compare(self, ours: Sample, baseline: Sample) -> Comparison:
        """Compare a sample with the baseline's: find where they part, and ask how close the choice was there."""
        parted = first_divergence(ours, baseline)
        if parted is None:
            return Comparison(ours.sample_id, ours.repeat, identical=True)
        turn, position = parted
        outputs = [s.turns[turn].output_ids if turn < len(s.turns) else [] for s in (ours, baseline)]
        prompt = prompting.answered_ids(self.tokenizer, self.prompts[baseline.sample_id], baseline, turn)
        again = self.ask(prompt, position + 1)
        repeats = [token for ids in again.ids for token in ids] == outputs[1][: position + 1]
        if position >= min(map(len, outputs)) or self.spec["sampling"]["repetition_penalty"] != 1:
            return Comparison(ours.sample_id, ours.repeat, False, turn, position, engine_repeats=repeats)
        mine, theirs = (output[position] for output in outputs)
        alone, *others = self.scores(prompt, outputs[1][:position])
        gap = float(alone[theirs] - alone[mine])
        return Comparison(
            *(ours.sample_id, ours.repeat, False, turn, position),
            gap=gap if abs(gap) < float("inf") else None,
            rounding=max([0.0, *(float(replays.moved(alone, scores)) for scores in others)]),
            flips=any(int(scores.argmax()) == mine for scores in others),
            scale=float(alone.max() - alone.median()),  # log-probabilities have no zero of their own
            engine_repeats=repeats,
        )

    def ask(self, ids: list[int], room: int, scores: int = 0) -> Said:
        """Ask for at most `room` tokens after a text, greedily and alone."""
        question = Question(
            ids, room, self.stop_ids, {**self.spec["sampling"], "temperature": 0.0}, self.spec["seed"], scores
        )
        _, events = self.server.stream(self.engine.answers, self.engine.question(question))
        return self.engine.said([json.loads(line) for _, line in events])

    def scores(self, prompt: list[int], ids: list[int]) -> list[torch.Tensor]:
        """List the log-probabilities [vocab] after a prompt and `ids`, each made in another way."""
        found = []
        for before in MADE_BEFORE:
            if before > len(ids):
                continue
            start = len(ids) - before
            said = self.ask(prompt + ids[:start], before + 1, self.vocabulary)
            if [token for some in said.ids for token in some][:before] == ids[start:]:
                row = torch.full((self.vocabulary,), float("-inf"), dtype=torch.float64)
                for token, value in said.scores[before].items():
                    row[token] = value
                found.append(row)
        return found


def measure(
    spec: GenerateSpec, prompts: list[Prompt], pairs: list[tuple[Sample, Sample]], logs: Path
) -> list[Comparison]:
    """Compare each pair of samples (a speculating method's, its baseline's) by the server of `spec`, the baseline's."""
    asker = Asker(spec, prompts, logs)
    try:
        return [asker.compare(*pair) for pair in pairs]
    except (ServerError, ValueError, LookupError) as error:
        raise UserError(str(logs / "server-gate.log"), f"the server failed: {error}", "a server that answers") from None
    finally:
        asker.server.end()
