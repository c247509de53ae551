"""Cases of tree attention and their expected results: a plain softmax in float64, without the code under test."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from longspec.models.attention.on_device import StaticLayout

EXACT, ROUNDED = (1e-5, 1e-5), (4e-3, 1e-3)
"""Largest and root-mean-square error allowed in float32 and in half precision, as shares of the largest value: rounding
acts on weighted means of the values. A bfloat16 result alone is rounded by 2e-3 of itself, and so are the weights."""
UNUSED = 3
"""Tail nodes that a bucket has room for beyond the real ones."""


@dataclass(frozen=True)
class Case:
    """Describe a case: `tail` nodes after the prefix, the last `rows` of them queries; `width`: how many branches."""

    heads: int = 4
    kv_heads: int = 2
    d: int = 16
    dv: int | None = None
    prefix: int = 70
    rows: int = 5
    tail: int = 5
    width: int = 2
    window: int | None = None
    softcap: float | None = None
    dtype: torch.dtype = torch.float32


CASES = {
    "one row": Case(rows=1, tail=1),
    "no prefix": Case(prefix=0),
    "a prefix of one": Case(prefix=1),
    "a block exactly": Case(prefix=64),
    "a block and one": Case(prefix=65),
    "many blocks in every part": Case(prefix=401, rows=3, tail=3),
    "multi-head": Case(kv_heads=4),
    "multi-query": Case(kv_heads=1),
    "nine heads in three groups": Case(heads=9, kv_heads=3),
    "a head size of 80": Case(d=80, rows=2, tail=2),
    "a head size of 5": Case(d=5),
    "values of another size": Case(d=24, dv=40),
    "a chain": Case(rows=9, tail=9, width=1),
    "a star": Case(rows=9, tail=9, width=9),
    "more rows than a block": Case(kv_heads=1, rows=20, tail=20, width=3),
    "a tail longer than a block": Case(prefix=30, rows=4, tail=70, width=3),
    "a later level of a drafter's tree": Case(rows=3, tail=11, width=3),
    "window inside the prefix": Case(window=20),
    "window at the tail's edge": Case(rows=6, tail=6, width=1, window=6),
    "window in the tail": Case(rows=9, tail=9, width=1, window=4),
    "window longer than the text": Case(window=1000),
    "window of one": Case(window=1),
    "softcap": Case(softcap=5.0),
    "softcap and window": Case(softcap=30.0, window=33),
}
HALF = {f"{name}, bfloat16": Case(**{**vars(case), "dtype": torch.bfloat16}) for name, case in CASES.items()}


@dataclass(frozen=True)
class Inputs:
    """Hold the arguments of the function under test, and the rows of the tree that are queries."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    layout: StaticLayout
    scaling: float
    parents: list[int]


def make(case: Case, device: str = "cpu") -> Inputs:
    """Make inputs with the strides of the model and the cache; unwritten slots hold NaN."""
    torch.manual_seed(0)
    rng, dv = random.Random(0), case.dv or case.d
    parents = [-1]
    while len(parents) < case.tail:
        newest = max(0, len(parents) - case.width)
        parents.append(rng.randrange(newest, len(parents)))
    visible, depths = ancestors(parents)
    capacity = case.prefix + case.tail + 40
    query = torch.randn(1, case.rows, case.heads, case.d).to(case.dtype).transpose(1, 2)
    storage = torch.randn(2, 3, case.kv_heads, capacity, max(case.d, dv)).to(case.dtype)  # keys and values of 3 layers
    storage[..., case.prefix + case.tail :, :] = float("nan")
    hidden = torch.ones(case.rows, case.tail + UNUSED, dtype=torch.bool)
    hidden[:, : case.tail] = ~visible[case.tail - case.rows :]
    positions = torch.zeros(case.tail + UNUSED, dtype=torch.int64)
    positions[: case.tail] = depths + case.prefix
    layout = StaticLayout(
        lengths=torch.tensor([case.prefix, case.tail], device=device),
        hidden=hidden.to(device),
        positions=positions[case.tail - case.rows : case.tail].to(device),
        tail_positions=positions.to(device),
    )
    key, value = storage[0, 1, None, ..., : case.d].to(device), storage[1, 1, None, ..., :dv].to(device)
    return Inputs(query.to(device), key, value, layout, case.d**-0.5, parents)


def ancestors(parents: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute which nodes see each other ([n, n] bool), and their depths [n]."""
    visible, depths = torch.eye(len(parents), dtype=torch.bool), torch.zeros(len(parents), dtype=torch.int64)
    for node, parent in enumerate(parents):
        if parent >= 0:
            visible[node] |= visible[parent]
            depths[node] = depths[parent] + 1
    return visible, depths


def expected(case: Case, inputs: Inputs) -> torch.Tensor:
    """Compute the expected result [1, rows, heads, dv] in float64, row by row and head by head."""
    visible, depths = ancestors(inputs.parents)
    out = torch.empty(1, case.rows, case.heads, inputs.value.shape[3], dtype=torch.float64)
    for row in range(case.rows):
        node = case.tail - case.rows + row
        nodes = torch.nonzero(visible[node]).flatten()
        slots = torch.cat([torch.arange(case.prefix), case.prefix + nodes])
        positions = torch.cat([torch.arange(case.prefix), case.prefix + depths[nodes]])
        if case.window is not None:
            slots = slots[case.prefix + depths[node] - positions < case.window]
        for head in range(case.heads):
            group = head * case.kv_heads // case.heads
            q = inputs.query[0, head, row].cpu().double()
            scores = inputs.key[0, group].cpu().double()[slots] @ q * inputs.scaling
            if case.softcap is not None:
                scores = case.softcap * torch.tanh(scores / case.softcap)
            out[0, row, head] = scores.softmax(0) @ inputs.value[0, group].cpu().double()[slots]
    return out


def assert_right(attend, case: Case, device: str = "cpu") -> None:
    """Check that `attend` gives what is expected, within the rounding of the dtype."""
    inputs = make(case, device)
    query, key, value, layout = inputs.query, inputs.key, inputs.value, inputs.layout
    got = attend(query, key, value, layout, inputs.scaling, case.window, case.softcap).cpu()
    right = expected(case, inputs)
    assert got.dtype == case.dtype
    assert got.shape == right.shape
    error = (got.double() - right).abs() / value.nan_to_num().abs().max().item()
    largest, mean = error.max().item(), error.square().mean().sqrt().item()
    most = EXACT if case.dtype == torch.float32 else ROUNDED
    assert (largest < most[0]) & (mean < most[1]), f"errors of {largest:.1e} at most, {mean:.1e} in the mean"
