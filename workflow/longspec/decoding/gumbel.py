"""Random numbers that are a function of (seed, sample, turn, output position).

They are equal in every process, on every device, for every method, drafter and order of prompts; those of another key
or position are independent of them. They come from Philox (Salmon et al. 2011; numpy's), a counter-based generator, on
the host.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.random import Philox

PER_POSITION = 1 << 64
"""Counter steps between two positions: more than any vocabulary has ids."""
PER_STREAM = 1 << 192
"""Counter steps between the noise of positions (stream 0) and the next stream of the same key."""


def key(*parts: object) -> int:
    """Hash what identifies a text (seed, sample, turn) to a key of 128 bits."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:16], "little")


class GumbelNoise:
    """Generate standard Gumbel noise: one row [vocab] in float32 per output position."""

    def __init__(self, text_key: int, vocab_size: int, device: torch.device) -> None:
        self._key = text_key
        self._vocab_size = vocab_size
        self._device = device
        self._rows: dict[int, torch.Tensor] = {}

    def row(self, position: int) -> torch.Tensor:
        """Return the noise [vocab] of a position; kept until `forget`, since several steps may need it."""
        if position not in self._rows:
            bits = Philox(key=self._key, counter=position * PER_POSITION).random_raw((self._vocab_size + 1) // 2)
            words = bits.astype("<u8", copy=False).view("<u4")[: self._vocab_size]
            self._rows[position] = torch.from_numpy(_gumbel(words)).to(self._device)
        return self._rows[position]

    def rows(self, positions: list[int]) -> torch.Tensor:
        """Return the noise [n, vocab] of n positions."""
        if len(positions) == 1:
            return self.row(positions[0])[None]
        return torch.stack([self.row(position) for position in positions])

    def forget(self, before: int) -> None:
        """Drop the noise of all positions below `before`."""
        self._rows = {position: row for position, row in self._rows.items() if position >= before}


def _gumbel(bits: np.ndarray) -> np.ndarray:
    """Turn 32 random bits each into Gumbel noise: -log(E) with E = -log(1 - u) and u uniform.

    Computed in float32, and exact where it matters: the largest noise has a small E, so a small u, which float32
    holds to 24 bits however small it is. What is lost lies below u = 2^-32, where one id of 49,152 lands once in
    90,000 steps. A generator's own float32 uniforms have steps of 2^-24, and would give some id a certain win (u = 0)
    in one of 340 steps.
    """
    u = bits.astype(np.float32)
    u += np.float32(0.5)  # never 0
    u *= np.float32(-(2.0**-32) * (1 - 2.0**-24))  # never 1
    exponential = np.log1p(u, out=u)
    np.negative(exponential, out=exponential)
    gumbel = np.log(exponential, out=exponential)
    return np.negative(gumbel, out=gumbel)


class Draws:
    """Draw the residual verifier's random decisions from a stream that is separate from the Gumbel noise."""

    def __init__(self, text_key: int) -> None:
        self._generator = np.random.Generator(Philox(key=text_key, counter=PER_STREAM))

    def uniform(self) -> float:
        """Draw a number from [0, 1)."""
        return float(self._generator.random())

    def accepts(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.uniform() < probability

    def token(self, p: torch.Tensor) -> int:
        """Draw an id from p [vocab], which sums to 1 but for rounding."""
        edges = p.double().cumsum(0)
        at = self.uniform() * edges[-1].item()
        return int(torch.searchsorted(edges, at, right=True).clamp_(max=len(p) - 1))

    def subset(self, q: torch.Tensor, count: int) -> list[int]:
        """Draw at most `count` different ids from q [vocab] without replacement, in the order of drawing.

        Computed at once as the largest of q / E with E exponential (Efraimidis and Spirakis 2006; Gumbel top-k).
        """
        exponential = torch.from_numpy(self._generator.standard_exponential(len(q))).to(q.device)
        best = (q.double() / exponential).topk(min(count, len(q)))
        return [token for token, weight in zip(best.indices.tolist(), best.values.tolist(), strict=True) if weight > 0]
