"""Data sets: where prompts come from, how they are made of rows, and how long they and their answers may be."""

from __future__ import annotations

from typing import Literal

from longspec.config.sections.base import Natural, Positive, Section, left_out


class Dataset(Section, extra="allow"):
    """A data set, as an entry of `datasets`; the options of its source are added where they are known (options.py)."""

    source: str
    """Where rows come from. See below; its options belong to this entry."""
    template: str | None = left_out()
    """The user's message, with fields of the row in braces."""
    template_name: str | None = None
    """Name of the template to take from the `prompt_templates` file, where one is given."""
    turns_field: str | None = None
    """A field with a list of messages, for conversations of several turns. Replaces `template`."""
    chat: bool = True
    """Whether the tokenizer's chat template wraps the messages."""
    samples: Positive | None = None
    """How many prompts, taken at even distances. All by default."""
    max_new_tokens: Positive
    """Most tokens of an answer."""
    min_prompt_tokens: Natural = 0
    """Shorter prompts are dropped."""
    max_prompt_tokens: Positive | None = None
    """Longest prompt. Never more than leaves room for the answer in the model's context."""
    prompt_reserve: Positive | None = None
    """Context kept free behind a prompt, in tokens. By default `max_new_tokens`; LongSpec keeps 2,000."""
    too_long: Literal["truncate", "drop"] = "truncate"
    """What happens to longer prompts. `truncate` cuts in the middle, `drop` leaves out; both are counted and
    reported."""
