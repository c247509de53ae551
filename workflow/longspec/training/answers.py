"""Generates a target's own answers to many questions in a batch, with the tensors that training a drafter needs.

Every answer comes with its token ids and, for each position that the target ran, the best ids of its next-token
distribution, the features of some layers, and the last layer's keys and values (after rotation): all of it is computed
by decoding anyway. Each row of the batch (a slot) decodes one answer, and takes the next question when it is done.
Questions that end in "…" are continued by sampling (temperature 1, top-p); answers are greedy, as they are measured. An
answer that starts to repeat itself is cut there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from longspec.data import prompting
from longspec.models.target import CausalLM
from longspec.training import slots
from longspec.training.questions import OPEN

TOP = 16
"""Ids kept of each next-token distribution; they hold at least 0.97 of SmolLM2's probability."""
TOP_P = 0.95
QUESTION_TOKENS = 64
LONGEST_PERIOD = 32


@dataclass
class Answer:
    """Hold one answer, and what the target computed at each of its n positions that were run.

    `ids` [n + 1]: question and answer; the first `prompt` of them are the question. `top_ids` and `top_log_p` [n, TOP]
    of the next token; `features` [n, layers, hidden]; `keys` and `values` of the last layer [n, kv_heads, head_dim]."""

    ids: torch.Tensor
    prompt: int
    top_ids: torch.Tensor
    top_log_p: torch.Tensor
    features: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


@dataclass
class Slot:
    """Hold the state of one question and its answer while they are generated."""

    ids: list[int]
    asking: bool
    """True while the question's open end is sampled."""
    forced: list[int] = field(default_factory=list)
    """Tokens of the chat template after the question that are still to be run, one a step."""
    prompt: int = 0
    """Length of the question with its template; 0 until it is complete."""


def looped(ids: list[int]) -> int:
    """Count the tokens of `ids` before it repeats itself three times at its end; all of them if it does not."""
    for period in range(1, LONGEST_PERIOD + 1):
        length = 3 * max(period, 4)
        if len(ids) >= length + period and ids[-length:] == ids[-length - period : -period]:
            return len(ids) - length
    return len(ids)


class Answering:
    """Answer questions in a batch of slots over one target."""

    def __init__(
        self,
        target: CausalLM,
        tokenizer: Any,
        layers: list[int],
        count: int,
        answer_tokens: int,
        capacity: int,
        seed: int,
        stop_ids: frozenset[int] = frozenset(),
    ) -> None:
        """`target`: its model is used with another attention from here on; `layers`: whose features are kept;
        `count`: how many questions side by side; `stop_ids`: that end an answer beside the target's own."""
        self.target, self.tokenizer = target, tokenizer
        self.stop_ids = target.stop_ids | stop_ids
        self.model = target.model
        self.model.set_attn_implementation(slots.NAME)
        self.answer_tokens, self.capacity, self.count = answer_tokens, capacity, count
        device, hidden = target.device, target.config.hidden_size
        self.cache = slots.SlotCache(target.config.num_hidden_layers, count, capacity, device)
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self.features = torch.zeros(count, capacity, len(layers), hidden, dtype=target.dtype, device=device)
        self.top_ids = torch.zeros(count, capacity, TOP, dtype=torch.int32, device=device)
        self.top_log_p = torch.zeros(count, capacity, TOP, dtype=torch.float16, device=device)
        self.slots: list[Slot | None] = [None] * count
        self.dropped = 0
        self._seen: dict[int, torch.Tensor] = {}
        decoder = self.model.get_decoder()
        for place, layer in enumerate(layers):
            decoder.layers[layer].register_forward_hook(self._keeper(place))
        mark = "QUESTION"
        self.before, _, self.after = prompting.wrapped(tokenizer, [mark], []).partition(mark)
        self.after_ids = self._encode(self.after)

    def _keeper(self, place: int) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            self._seen[place] = output[0] if isinstance(output, tuple) else output

        return keep

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.inference_mode()
    def run(self, questions: Iterator[str]) -> Iterator[Answer]:
        """Yield answers as they are finished, until the questions end."""
        exhausted = False
        while True:
            free = [number for number, slot in enumerate(self.slots) if slot is None]
            # A prefill runs for all free slots at once, so it waits until some are free.
            if not exhausted and len(free) >= max(1, self.count // 16):
                exhausted = self._fill(free, questions)
            if all(slot is None for slot in self.slots):
                return
            yield from self._step()

    def _fill(self, free: list[int], questions: Iterator[str]) -> bool:
        """Give each free slot a question and run it but for its last token; returns true if the questions ran out."""
        taken: list[int] = []
        while len(taken) < len(free):
            question = next(questions, None)
            if question is None:
                break
            is_open = question.endswith(OPEN)
            text = question.removesuffix(OPEN).rstrip() if is_open else question + self.after
            slot = Slot(self._encode(self.before + text), asking=is_open)
            if len(slot.ids) + QUESTION_TOKENS + len(self.after_ids) + self.answer_tokens > self.capacity:
                continue
            if not is_open:
                slot.prompt = len(slot.ids)
            self.slots[free[len(taken)]] = slot
            taken.append(free[len(taken)])
        if taken:
            self._prefill(taken)
        return len(taken) < len(free)

    def _prefill(self, taken: list[int]) -> None:
        rows = [self.slots[number].ids[:-1] for number in taken]  # type: ignore[union-attr]
        longest = max(map(len, rows))
        device = self.target.device
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
        self.cache.filling = torch.tensor(taken, device=device)
        self.model(
            input_ids=ids,
            position_ids=torch.arange(longest, device=device).expand(len(taken), -1),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        for place, states in self._seen.items():
            self.features[self.cache.filling, :longest, place] = states
        self.cache.lengths[self.cache.filling] = torch.tensor([len(row) for row in rows], device=device)
        self.cache.filling = None

    def _step(self) -> list[Answer]:
        """Decode one token in every slot; returns the answers that are finished."""
        cache, device = self.cache, self.target.device
        tokens = torch.tensor([[slot.ids[-1] if slot else 0] for slot in self.slots], device=device)
        cache.longest = int(cache.lengths.max()) + 1
        later = torch.arange(cache.longest, device=device) > cache.lengths[:, None]
        hidden = torch.zeros(later.shape, dtype=self.target.dtype, device=device).masked_fill_(later, float("-inf"))
        logits = self.model(
            input_ids=tokens,
            position_ids=cache.lengths[:, None],
            past_key_values=cache,
            use_cache=True,
            hidden=hidden[:, None, None],
        ).logits[:, 0]
        best = logits.topk(TOP)
        log_p = best.values.float() - logits.float().logsumexp(-1, keepdim=True)
        self.top_ids[cache.rows, cache.lengths] = best.indices.int()
        self.top_log_p[cache.rows, cache.lengths] = log_p.half()
        for place, states in self._seen.items():
            self.features[cache.rows, cache.lengths, place] = states[:, 0]
        active = torch.tensor([slot is not None for slot in self.slots], device=device)
        cache.lengths += active
        return self._decide(best.indices[:, 0].tolist(), self._sampled(logits))

    def _sampled(self, logits: torch.Tensor) -> dict[int, int]:
        """Sample a token for each slot whose question is still open, by slot number."""
        asking = [number for number, slot in enumerate(self.slots) if slot and slot.asking and not slot.forced]
        if not asking:
            return {}
        values, ids = logits[asking].float().softmax(-1).topk(min(256, logits.shape[-1]))
        values[values.cumsum(-1) - values >= TOP_P] = 0
        picked = torch.multinomial(values, 1, generator=self.generator)
        return dict(zip(asking, ids.gather(1, picked)[:, 0].tolist(), strict=True))

    def _decide(self, greedy: list[int], sampled: dict[int, int]) -> list[Answer]:
        """Append each slot's next token: the template's, a sampled one, or the greedy one; returns finished answers."""
        done = []
        for number, slot in enumerate(self.slots):
            if slot is None:
                continue
            if slot.forced:  # the question is closed: run the template after it
                slot.ids.append(slot.forced.pop(0))
                if not slot.forced:
                    slot.asking, slot.prompt = False, len(slot.ids)
                continue
            if slot.asking:  # the question goes on until a stop id or its longest length
                start = len(slot.ids)
                if sampled[number] in self.stop_ids or start - len(self._encode(self.before)) > QUESTION_TOKENS:
                    slot.forced = list(self.after_ids)
                    slot.ids.append(slot.forced.pop(0))
                else:
                    slot.ids.append(sampled[number])
                continue
            slot.ids.append(greedy[number])
            length = len(slot.ids) - slot.prompt
            ended = greedy[number] in self.stop_ids or length == self.answer_tokens or len(slot.ids) == self.capacity
            kept = looped(slot.ids[slot.prompt :]) if ended or length % 8 == 0 else length
            if ended or kept < length:
                self.slots[number] = None
                if kept >= 8:
                    done.append(self._finished(number, slot, slot.prompt + kept))
                else:
                    self.dropped += 1
                self.cache.lengths[number] = 0
        return done

    def _finished(self, number: int, slot: Slot, length: int) -> Answer:
        last = self.cache.layers[-1]
        n = length - 1

        def rows(states: torch.Tensor | None) -> torch.Tensor:
            assert states is not None
            return states[number, :, :n].transpose(0, 1).contiguous()

        return Answer(
            ids=torch.tensor(slot.ids[:length], dtype=torch.int32),
            prompt=slot.prompt,
            top_ids=self.top_ids[number, :n].clone(),
            top_log_p=self.top_log_p[number, :n].clone(),
            features=self.features[number, :n].clone(),
            keys=rows(last.keys),
            values=rows(last.values),
        )
