"""Makes token ids of a user's messages, by one rule for preparing and for generating.

It does not know data sets or limits.
"""

from __future__ import annotations

import datetime
from typing import Any

from longspec.core.errors import UserError, one_line
from longspec.core.records import Prompt, Sample, ids_sha256
from longspec.core.spec import ModelSpec
from longspec.models import model_files, trust

MARK = "\ufeff"
"""The byte order mark, which some editors put before a file's text."""
PART = "\ufffd"
"""What a decoder writes for a part of a character."""


def tokenizer(model: ModelSpec) -> Any:
    """Load the tokenizer of a model's entry, with the chat template that the entry names, if it names one."""
    loaded = model_files.tokenizer(model_files.folder(model), trust.allowed(model))
    template = model_files.chat_template(model) or loaded.chat_template
    loaded.chat_template = template.removeprefix(MARK) if isinstance(template, str) else template
    return loaded


def stop_ids(tokenizer: Any, model: ModelSpec) -> frozenset[int]:
    """Look up the ids of the `stop_tokens` of a model's entry. UserError for one that is no token of its own."""
    known = tokenizer.get_vocab()
    for token in model.get("stop_tokens", ()):
        if token not in known:
            raise UserError(
                "stop_tokens", f"{token!r} is no token of {tokenizer.name_or_path}", "one of its vocabulary"
            )
    return frozenset(known[token] for token in model.get("stop_tokens", ()))


def asked_ids(tokenizer: Any, prompt: Prompt, answers: list[str]) -> list[int]:
    """Make the ids of the prompt of turn `len(answers)`; the first turn's were fixed when it was prepared."""
    return turn_ids(tokenizer, prompt.turns, answers, prompt.chat) if answers else prompt.prompt_ids


def answered_ids(tokenizer: Any, prompt: Prompt, sample: Sample, turn: int) -> list[int]:
    """Make the ids of the prompt of a turn that was answered. UserError when the recorded run was asked others."""
    ids = asked_ids(tokenizer, prompt, sample.texts[:turn])
    asked, answered = ids_sha256(ids), sample.turns[turn].prompt_sha256
    if asked != answered:
        raise UserError(
            f"sample {sample.sample_id!r}, turn {turn}",
            f"the ids of its prompt have the SHA-256 {asked}, and others were answered",
            f"{answered}, by the tokenizer, chat template and prompts of the recorded run",
        )
    return ids


def answer_text(tokenizer: Any, ids: list[int]) -> str:
    """Decode an answer, without special tokens and without the part of a character that a limit may leave at its end:
    the next turn's prompt has this text in it."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text.rstrip(PART)


def turn_ids(tokenizer: Any, turns: list[str], answers: list[str], chat: bool) -> list[int]:
    """Make the ids of the prompt of turn `len(answers)`: what was said so far and the next message.

    With `chat` the tokenizer's chat template wraps the messages; without, the texts follow each other.
    UserError when there is no such template, or it refuses the messages: to go on without one would quietly
    measure another task.
    """
    asked = turns[: len(answers) + 1]
    if not chat:
        text = "".join(part for pair in zip(asked, [*answers, ""], strict=True) for part in pair)
        ids: list[int] = tokenizer(text)["input_ids"]
        return ids
    ids = tokenizer(wrapped(tokenizer, asked, answers), add_special_tokens=False)["input_ids"]
    return ids


def wrapped(tokenizer: Any, asked: list[str], answers: list[str]) -> str:
    """Render the chat template over the messages of the user (`asked`) and the answers between them, up to where the
    next answer begins; where there are as many answers as messages, up to the end of the last one.

    UserError when there is no template, or it does not take these messages, all of them as they are.
    """
    if not tokenizer.chat_template:
        raise UserError(
            tokenizer.name_or_path,
            "this model has no chat template",
            "`chat_template:` on the model, or `chat: false` on the data set",
        )
    messages = []
    for number, message in enumerate(asked):
        messages.append({"role": "user", "content": message})
        if number < len(answers):
            messages.append({"role": "assistant", "content": answers[number]})
    try:
        text = _rendered(tokenizer, messages, add_generation_prompt=len(answers) < len(asked))
    except Exception as error:  # a template is a program: it may divide by zero
        raise UserError(
            tokenizer.name_or_path,
            f"the chat template refuses these messages ({one_line(error)})",
            "one that takes them by `chat_template:` on the model, or `chat: false` on the data set",
        ) from None
    for message in asked:  # of answers some templates keep a part, on purpose
        if message.strip() not in text:
            raise UserError(
                tokenizer.name_or_path,
                f"the chat template leaves out or changes the message {message.strip()[:60]!r}",
                "one that keeps messages by `chat_template:` on the model, or `chat: false` on the data set",
            )
    return text


def _rendered(tokenizer: Any, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    # transformers (5.23) compiles a template once and keeps it; an argument would reach the template as a text.
    _compile_jinja_template(tokenizer.get_chat_template()).globals["strftime_now"] = _today
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    return text


def _today(form: str) -> str:
    """Write a day that is the same for ever, where chat templates ask the clock: prompts must not change overnight."""
    return datetime.datetime(2026, 1, 1).strftime(form)


def pieces(tokenizer: Any) -> list[str]:
    """Decode each id of the vocabulary; special tokens have no text.

    A token is decoded behind a letter, as it would be inside a text; one that holds part of a character shows as �."""
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    lead = len(tokenizer.decode(before))
    special = set(tokenizer.all_special_ids)
    ids = range(len(tokenizer))
    return ["" if token in special else tokenizer.decode([*before, token])[lead:] for token in ids]
