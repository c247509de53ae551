"""Random numbers that depend on what they are for, and on nothing that happened before.

Contract: the numbers for (seed, sample, turn, output position) are the same in every process, on every device, for
every method, drafter and batch order; those for another key or position are independent of them. They come from
Philox (Salmon et al. 2011; numpy's), a counter-based generator, on the host. This module does not know distributions.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.random import Philox

PER_POSITION = 1 << 64
"""Counter steps between two positions: more than any vocabulary has ids."""
PER_STREAM = 1 << 192
"""Between the noise of positions (stream 0) and other streams of the same key."""


def key(*parts: object) -> int:
    """128 bits from whatever names a text: the seed, the sample, the turn."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:16], "little")


class GumbelNoise:
    """One row of standard Gumbel noise per output position, over the vocabulary; float32."""

    def __init__(self, text_key: int, vocab_size: int, device: torch.device) -> None:
        self._key = text_key
        self._vocab_size = vocab_size
        self._device = device
        self._rows: dict[int, torch.Tensor] = {}

    def row(self, position: int) -> torch.Tensor:
        """[vocab]; kept until `forget`, since a position may be asked for in several steps."""
        if position not in self._rows:
            bits = Philox(key=self._key, counter=position * PER_POSITION).random_raw((self._vocab_size + 1) // 2)
            words = bits.astype("<u8", copy=False).view("<u4")[: self._vocab_size]
            self._rows[position] = torch.from_numpy(_gumbel(words)).to(self._device)
        return self._rows[position]

    def rows(self, positions: list[int]) -> torch.Tensor:
        """[n, vocab]"""
        if len(positions) == 1:
            return self.row(positions[0])[None]
        return torch.stack([self.row(position) for position in positions])

    def forget(self, before: int) -> None:
        """Drop the rows of positions that are decided."""
        self._rows = {position: row for position, row in self._rows.items() if position >= before}


def _gumbel(bits: np.ndarray) -> np.ndarray:
    """-log(E) with E = -log(1 - u), u from 32 random bits.

    In float32, and exact where it matters: winners have a small E, so a small u, which float32 holds to 24 bits
    however small it is. What is lost lies below u = 2^-32, where one id of 49,152 lands once in 90,000 steps.
    A generator's own float32 uniforms have steps of 2^-24, and would give some id a certain win (u = 0) in one of
    340 steps.
    """
    u = bits.astype(np.float32)
    u += np.float32(0.5)  # never 0
    u *= np.float32(-(2.0**-32) * (1 - 2.0**-24))  # never 1
    exponential = np.log1p(u, out=u)
    np.negative(exponential, out=exponential)
    gumbel = np.log(exponential, out=exponential)
    return np.negative(gumbel, out=gumbel)


class Draws:
    """Decisions of the residual rule, drawn one after the other from a stream of their own."""

    def __init__(self, text_key: int) -> None:
        self._generator = np.random.Generator(Philox(key=text_key, counter=PER_STREAM))

    def uniform(self) -> float:
        """From 0 to 1."""
        return float(self._generator.random())

    def accepts(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def token(self, p: torch.Tensor) -> int:
        """An id drawn from p [vocab], which sums to 1 but for rounding."""
        edges = p.double().cumsum(0)
        at = self.uniform() * edges[-1].item()
        return int(torch.searchsorted(edges, at, right=True).clamp_(max=len(p) - 1))

    def subset(self, q: torch.Tensor, count: int) -> list[int]:
        """At most `count` different ids, drawn one by one from q [vocab], each time among those that are left.

        All at once, as the largest of q / E with E exponential (Efraimidis and Spirakis 2006; Gumbel top-k).
        """
        exponential = torch.from_numpy(self._generator.standard_exponential(len(q))).to(q.device)
        best = (q.double() / exponential).topk(min(count, len(q)))
        return [token for token, weight in zip(best.indices.tolist(), best.values.tolist(), strict=True) if weight > 0]
