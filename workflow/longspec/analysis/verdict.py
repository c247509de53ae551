"""Judge losslessness from the comparisons of one job.

Keyed rule (and greedy): `identical`; `ties only`, when every first divergence is one that rounding explains (`tie`);
else `not lossless`. Other rules (residual, and whatever a peer draws): outputs differ by design, so the places of the
output tokens in the target's distribution are tested for being uniform: `same distribution`, or `not lossless`.

A peer is judged by its own engine: its tokens must be what its modelling code chooses. Where that and our engine say
of the same text what no number format explains, one of them is not the model: `engines differ`, which is said of the
whole group (speedup_table.py). A peer that was told to run in another number format than the baseline is a reference
of speed alone: `other number format`.

A served engine that speculates is held against itself without speculation, in its own scores. Where it parts by more
than a tie, and without speculation does not give its own tokens once more either, it is `engine not batch-invariant`:
nothing is shown of its speculation. Without speculation it is held against our loop, in our target's scores: `ties
only` as long as the number format explains each first divergence between two engines (BETWEEN), else `engines differ`.
"""

from __future__ import annotations

from collections import Counter

from scipy import optimize, stats

from longspec.analysis.tables import NAMES
from longspec.core.errors import UserError, one_of
from longspec.core.records import Comparison
from longspec.core.run_record import RunRecord

BINS = 20
LEVEL = 1e-4
"""Chance that a lossless job is called `not lossless` by the distribution test."""
POWER = 0.9
EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Number format to the step of its numbers above 1."""
WITHIN = {"float32": 256, "bfloat16": 16, "float16": 16}
BETWEEN = {"float32": 256, "bfloat16": 48, "float16": 48}
"""How many times `eps` and the scale of the scores two of them may move against each other: between two ways to run one
engine, and between two engines. Above all that was measured (benchmarks/rounding.py, docs/losslessness.md)."""
NOT_INVARIANT = "engine not batch-invariant"
NOT_THE_MODEL = ("engines differ", "not lossless", NOT_INVARIANT)
"""Verdicts that take a speedup's worth away."""
COLUMNS = [
    *NAMES,
    "samples",
    "identical",
    "first_divergence_position",
    "top2_logit_gap",
    "verdict",
    "ties",
    "rounding",
    "worst_sample",
    "tokens_tested",
    "p_value",
    "detectable_shift",
    "bound",
    "engines_apart",
]


def row(run: RunRecord, baseline: RunRecord, comparisons: list[Comparison]) -> dict[str, object]:
    """Make one row of lossless.csv; `run`, `baseline`: run.json of the job and of its baseline.

    Samples without an outcome are in no figure."""
    comparisons = [comparison for comparison in comparisons if not comparison.lost]
    parted = [c for c in comparisons if not c.identical]
    facts = {
        **run.names,
        "samples": len(comparisons),
        "identical": len(comparisons) - len(parted),
        "first_divergence_position": min((c.position for c in parted if c.position is not None), default=None),
    }
    if other_format(run, baseline):
        return {**facts, "verdict": "other number format"}
    dtype = str(run.conditions.dtype)
    plain = run.served and not baseline.served
    if run.conditions.verification != "keyed":
        drawn = _drawn(comparisons, dtype)
        if plain and drawn["verdict"] == "not lossless":
            drawn["verdict"] = "engines differ"
        return {**facts, **drawn}
    judged = [((of_plain if plain else judge)(c, dtype), c) for c in parted]
    worst = max(judged, key=_badness, default=(None, None))[1]
    verdicts = [verdict for verdict, _ in judged]
    return {
        **facts,
        "top2_logit_gap": worst.gap if worst else None,
        "verdict": next((verdict for verdict in (*NOT_THE_MODEL, "ties only") if verdict in verdicts), "identical"),
        "ties": verdicts.count("ties only"),
        "rounding": worst.rounding if worst else None,
        "worst_sample": worst.sample_id if worst else None,
        "bound": _bound_of(worst, dtype, plain) if worst else None,
        "engines_apart": worst.engines_apart if worst else None,
    }


def other_format(run: RunRecord, baseline: RunRecord) -> str | None:
    """Name the number format of a peer that was told to run in another one than the baseline; None of all others."""
    mine = run.conditions.dtype
    return str(mine) if run.variant.get("dtype") and mine != baseline.conditions.dtype else None


def in_its_group(method: str, verdicts: dict[str, str]) -> str:
    """Return a method's verdict among those of all methods of its model and data set that share a baseline.

    Where two engines differ, nobody's output is known to be the model's."""
    ours = verdicts[method]
    return "engines differ" if ours != "not lossless" and "engines differ" in verdicts.values() else ours


def bound(dtype: str, scale: float, units: dict[str, int]) -> float:
    """Return how far rounding may move two scores against each other, by the number format and the scale of the scores;
    `units` is WITHIN or BETWEEN."""
    if dtype not in units:
        raise UserError("conditions.dtype", repr(dtype), one_of(units))
    return EPS[dtype] * units[dtype] * scale


def judge(comparison: Comparison, dtype: str) -> str:
    """Call one divergence `ties only`, `not lossless`, `engines differ` or `engine not batch-invariant`."""
    if comparison.engines_apart is None or comparison.scale is None:
        if tie(comparison, dtype):
            return "ties only"
        return NOT_INVARIANT if comparison.engine_repeats is False else "not lossless"
    gap, limit = comparison.gap, bound(dtype, comparison.scale, BETWEEN)
    # Vanilla's token must be about as good to the peer's engine as the peer's own: else another engine chose it.
    if not comparison.engines_apart <= limit or (gap is not None and gap < -limit):
        return "engines differ"
    faithful = gap is not None and gap <= min(comparison.rounding or 0.0, bound(dtype, comparison.scale, WITHIN))
    return "ties only" if faithful else "not lossless"


def of_plain(comparison: Comparison, dtype: str) -> str:
    """Call one divergence of a served engine without speculation from our loop `ties only` or `engines differ`."""
    gap, scale = comparison.gap, comparison.scale
    if gap is None or scale is None:
        return "engines differ"  # one output ends where the other goes on
    return "ties only" if abs(gap) <= bound(dtype, scale, BETWEEN) else "engines differ"


def tie(comparison: Comparison, dtype: str) -> bool:
    """Tell whether rounding explains a divergence of our own: it was measured there, and the format explains it."""
    gap, rounding = comparison.gap, comparison.rounding
    if rounding is None or comparison.scale is None:
        return False  # one output ends where the other goes on
    if not rounding <= bound(dtype, comparison.scale, WITHIN):
        return False  # an engine whose scores depend on how a text is run by more than its format explains
    if gap is not None and not abs(gap) <= rounding:
        return False  # below -rounding vanilla's own token is not the target's choice: to part from it proves nothing
    # Equal is close enough: such a move makes the two scores equal, and then the lower id wins.
    return (gap is not None and rounding > 0) or bool(comparison.flips)


def _bound_of(comparison: Comparison, dtype: str, plain: bool) -> float | None:
    units = BETWEEN if plain or comparison.engines_apart is not None else WITHIN
    return None if comparison.scale is None else bound(dtype, comparison.scale, units)


def _badness(judged: tuple[str, Comparison]) -> tuple[int, bool, float]:
    verdict, c = judged
    order = ("ties only", NOT_INVARIANT, "not lossless", "engines differ").index(verdict)
    return order, c.gap is None, c.gap or 0.0 if c.engines_apart is None else c.engines_apart


def _drawn(comparisons: list[Comparison], dtype: str) -> dict[str, object]:
    """Make the columns of a job whose outputs differ by design."""
    once: dict[str, Comparison] = {}  # a repeat draws the same noise again: it is no further evidence
    for comparison in sorted(comparisons, key=lambda c: c.repeat):
        once.setdefault(comparison.sample_id, comparison)
    quantiles = [q for c in once.values() for q in c.quantiles]
    p_value, shift = uniform(quantiles)
    verdict = "same distribution" if p_value >= LEVEL else "not lossless"
    tested = {"tokens_tested": len(quantiles), "p_value": p_value, "detectable_shift": shift}
    known = [(c.engines_apart, c.scale) for c in comparisons if c.engines_apart is not None and c.scale is not None]
    if not known:
        return {"verdict": verdict, **tested}
    apart, scale = max(known, key=lambda pair: pair[0] / pair[1])
    limit = bound(dtype, scale, BETWEEN)
    verdict = verdict if apart <= limit else "engines differ"
    return {"verdict": verdict, **tested, "bound": limit, "engines_apart": apart}


def uniform(quantiles: list[float]) -> tuple[float, float]:
    """Test the hypothesis that the quantiles are uniform: p-value (chi-squared, BINS bins), and the smallest shift that
    would have been found: in total variation of the quantiles, spread over the bins, with probability POWER."""
    if not quantiles:
        return 1.0, 1.0
    counts = Counter(min(int(q * BINS), BINS - 1) for q in quantiles)
    p_value = float(stats.chisquare([counts[number] for number in range(BINS)]).pvalue)
    edge = stats.chi2.isf(LEVEL, BINS - 1)
    # A shift of d moves 2 d / BINS into or out of each bin: noncentrality 4 n d^2.
    needed = optimize.brentq(lambda x: stats.ncx2.sf(edge, BINS - 1, x) - POWER, 1e-6, 1e4)
    return p_value, min(1.0, float((needed / (4 * len(quantiles))) ** 0.5))
