"""Choose the shape of a method whose option is `auto`: the one with the best predicted throughput.

On a few texts, none of which is measured later, the method drafts a tree of its widest shape before every token. Each
candidate shape is then evaluated on these trees, cut down to it, with measured costs (prediction.py); the choice is
deterministic given these measurements. The prediction for the chosen shape is biased upwards, since it is the best of
many on few texts.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Collection

import torch

from longspec.core.records import Prompt
from longspec.core.run_record import Tuning
from longspec.decoding.autotune.prediction import Costs, Prediction, Step, acceptance_by_rank, predict, recorded
from longspec.decoding.interfaces import Candidate, Candidates, Drafter, Method, Tunable, Verifier
from longspec.decoding.loop import Limits, generate, now
from longspec.decoding.tree import TokenTree
from longspec.models.target import CausalLM

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""Rows of the forwards that are timed; between them time is interpolated, above them extrapolated."""
ROUNDS = 5
PROBE_SECONDS = 14.0
"""No further tree is drafted after this time."""
NEW_TOKENS = 128
FALLBACK_TEXTS = 8
SPARE = "rows that are not measured"
EXCHANGED = "measured messages with their halves exchanged"
"""Kinds of text that a shape may be chosen on, as run.json names them."""


def texts(
    measured: list[Prompt], spare: list[Prompt], ids_of: Callable[[str, bool], list[int]]
) -> tuple[list[list[int]], str]:
    """Return the token ids to tune on, none of them a measured prompt, and their kind (`SPARE` or `EXCHANGED`).

    `ids_of(message, chat)` tokenizes a message, in the chat template if `chat` is true."""
    known = {tuple(prompt.prompt_ids) for prompt in measured}
    named = {prompt.sample_id for prompt in measured}
    found = [p.prompt_ids for p in spare if p.sample_id not in named and tuple(p.prompt_ids) not in known]
    if found:
        return found, SPARE
    # Without spare rows: measured prompts, spread evenly over their lengths, with the halves of each exchanged.
    by_length = sorted(measured, key=lambda prompt: len(prompt.prompt_ids))
    count = min(FALLBACK_TEXTS, len(by_length))
    for number in range(count):
        prompt = by_length[(2 * number + 1) * len(by_length) // (2 * count)]
        words = prompt.turns[0].split(" ")
        words = words[len(words) // 2 :] + words[: len(words) // 2]
        while tuple(ids := ids_of(" ".join(words), prompt.chat)) in known:
            words.append(words[0].strip() or "and")
        found.append(ids)
    return found, EXCHANGED


def choose(candidates: list[Candidate], texts: list[list[Step]], costs: Costs) -> tuple[Candidate, Prediction | None]:
    """Choose the candidate with the highest predicted throughput, of equals the first.

    Where nothing was recorded: the first candidate, and None for its prediction."""
    if not any(texts):
        return candidates[0], None
    predictions = [predict(texts, candidate.widths, costs) for candidate in candidates]
    best = max(range(len(candidates)), key=lambda number: predictions[number].tokens_per_second)
    return candidates[best], predictions[best]


class TimedDrafter:
    """Time the `expand` and `commit` calls of a drafter."""

    def __init__(self, drafter: Drafter, device: torch.device) -> None:
        self.drafter, self.device = drafter, device
        self.prefill = drafter.prefill
        self._expand: defaultdict[int, list[float]] = defaultdict(list)
        self._commit: list[float] = []

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        """Call the drafter's `expand`, and keep its seconds by the number of nodes."""
        started = now(self.device)
        found = self.drafter.expand(tree, nodes, width, verifier)
        self._expand[len(nodes)].append(now(self.device) - started)
        return found

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Call the drafter's `commit`, and keep its seconds."""
        started = now(self.device)
        self.drafter.commit(emitted, tree, path)
        self._commit.append(now(self.device) - started)

    def costs(self, target_seconds: dict[int, float]) -> Costs:
        """Return the median seconds of the timed calls together with those of the target."""
        expand = {nodes: statistics.median(seconds) for nodes, seconds in sorted(self._expand.items())}
        return Costs(target_seconds, expand or {1: 0.0}, statistics.median(self._commit or [0.0]))


class Probe:
    """Record the tree that a method would propose at every position, while decoding one token a step.

    Stops recording `seconds` after it was made."""

    def __init__(self, method: Method, seconds: float = PROBE_SECONDS) -> None:
        self.method, self.max_nodes = method, method.max_nodes
        self.trees: list[TokenTree] = []
        self._end = time.perf_counter() + seconds

    @property
    def over(self) -> bool:
        """Tell if the time for recording has run out."""
        return time.perf_counter() > self._end

    def propose(
        self, root: int, drafter: Drafter | None, verifier: Verifier, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """Record the method's tree, and propose the root alone."""
        if not self.over or not self.trees:
            self.trees.append(self.method.propose(root, drafter, verifier, stop_ids, room))
        return TokenTree.rooted_at(root)

    def steps(self, output_ids: list[int]) -> list[Step]:
        """Compare the recorded trees with the text they were drafted on, and forget them."""
        trees, self.trees = self.trees, []
        return [recorded(tree, output_ids[at:]) for at, tree in enumerate(trees, start=1)]


def within(ids: list[int], context_tokens: int | None, nodes: int = 0) -> list[int]:
    """Cut ids from the left so that they and `nodes` more tokens fit into the context; keeps at least one id."""
    return ids if context_tokens is None else ids[-max(1, context_tokens - nodes) :]


def target_seconds(
    target: CausalLM, ids: list[int], tree: TokenTree, verifier: Verifier, context_tokens: int | None = None
) -> dict[int, float]:
    """Measure T(q): median seconds of forward, verification and commit of q tree nodes after the text `ids`.

    For every q of `BUCKETS` that fits into the context after `ids`; nodes are the first q of `tree`."""
    buckets = [rows for rows in BUCKETS if context_tokens is None or len(ids) + rows <= context_tokens]
    tree = TokenTree(list(tree.tokens), list(tree.parents), list(tree.depths))
    while len(tree) < BUCKETS[-1]:
        tree.add(ids[0], len(tree) - 1)
    target.reset(len(ids) + BUCKETS[-1])
    target.append(ids)
    verifier.start(ids)
    seconds = {}
    for rows in buckets:
        part = TokenTree(tree.tokens[:rows], tree.parents[:rows], tree.depths[:rows])
        times = []
        for _ in range(1 + ROUNDS):
            target.rewind(len(ids))
            started = now(target.device)
            acceptance = verifier.verify(part, target.extend(part.tokens, part.parents), (), rows)
            target.commit(acceptance.path)
            times.append(now(target.device) - started)
        seconds[rows] = statistics.median(times[1:])  # the first round warms up
    return seconds


@torch.inference_mode()
def tune(
    method: Tunable,
    target: CausalLM,
    drafter: Drafter,
    prompts: list[list[int]],
    limits: Limits,
    verifier_of: Callable[[int], Verifier],
) -> tuple[Method, Tuning]:
    """Choose a method's shape on `prompts`; returns the method with it, and the measurements behind the choice.

    `verifier_of(number)` makes the verifier of the text with that number."""
    started = time.perf_counter()
    short = Limits(limits.stop_ids, min(limits.max_new_tokens, NEW_TOKENS), limits.context_tokens)
    probe, timed = Probe(method), TimedDrafter(drafter, target.device)
    used: list[list[int]] = []
    tried: list[list[Step]] = []
    largest = TokenTree.rooted_at(prompts[0][-1])
    for number, prompt_ids in enumerate(prompts):
        ids = within(prompt_ids, limits.context_tokens)
        if tried and probe.over:
            break
        turn = generate(target, probe, timed, ids, short, verifier_of(number))
        largest = max([largest, *probe.trees], key=len)
        used.append(ids)
        tried.append(probe.steps(turn.output_ids))
    median = sorted(used, key=len)[len(used) // 2]
    median = within(median, limits.context_tokens, BUCKETS[-1])
    costs = timed.costs(target_seconds(target, median, largest, verifier_of(len(used)), limits.context_tokens))
    acceptance = acceptance_by_rank([step for steps in tried for step in steps])
    candidates = method.candidates(acceptance)
    chosen, prediction = choose(candidates, tried, costs)
    facts: Tuning = {
        "options": chosen.options,
        "predicted": None if prediction is None else vars(prediction),
        "candidates": len(candidates),
        "texts": len(used),
        "context_tokens": len(median),
        "positions": sum(map(len, tried)),
        "acceptance": acceptance,
        "costs": vars(costs),
        "seconds": time.perf_counter() - started,
    }
    return type(method)(**chosen.options), facts
