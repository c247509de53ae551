"""Drafters that the workflow trains: on what, how long, and what they can draft."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from longspec.config.sections.base import Natural, Positive, PositiveNumber, Section, Share, left_out
from longspec.config.sections.model import Model


class TrainedDrafter(Section):
    """A drafter that the workflow trains, as an entry of `drafters`."""

    model: str
    """The target, one of `models`. The drafter is made for it alone."""
    kind: Literal["glide", "hybrid"] = "hybrid"
    """What is trained. `glide`: LongSpec's layer and a norm; `hybrid`: it also reads features of three of the target's
    layers, the better one where it was measured."""
    questions: str | None = "config/prompts/seeds.yaml"
    """A YAML file of tasks and topics; the target's own answers to them are the training data. None of it may be what
    you measure."""
    texts: str | None = None
    """A JSON Lines file with texts (field `text`) to train on as they are, beside the questions or (questions null)
    alone."""
    answers: str | None = None
    """Another entry of `drafters`, whose answers this one is trained on too. Its own by default."""
    train_tokens: Annotated[int, Field(ge=1000)] = 1000000
    """Answer tokens to generate. More unique data is what helps most."""
    answer_tokens: Annotated[int, Field(ge=16)] = 128
    """Longest answer, and longest piece of a text. Both end with the target's context."""
    slots: Positive = 128
    """Questions that are answered side by side."""
    epochs: PositiveNumber = 3
    """How often each answer is trained on."""
    batch_tokens: Annotated[int, Field(ge=16)] = 640
    """Answer tokens of a training step, on each process."""
    learning_rate: PositiveNumber = 0.0015
    """Of AdamW, after a hundred steps of warm-up; the last fifth of the steps falls linearly to nothing."""
    shifted: Share = 0.2
    """Share of the steps whose sequences are moved along by a random offset (anchor-offset indices)."""
    draft_vocabulary: Annotated[int, Field(ge=2)] | None = 12288
    """Ids that the drafter has candidates for, the most frequent ones; null for all. The text's own ids are added while
    drafting."""
    window: Positive = 512
    """Earlier tokens that the self-attention sees."""
    start: Model | None = left_out()
    """A checkpoint (`hub` or `path`) to go on from. Without it, copies of the target's layers."""
    report_steps: Positive = 300
    """Steps between two lines of training.csv."""
    seed: Natural = 0
    """Seed of questions, lags, offsets and order."""
