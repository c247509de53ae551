"""From a user's messages to token ids, by one rule for preparing and for generating.

It does not know data sets or limits.
"""

from __future__ import annotations

import datetime
from typing import Any

from longspec.core.errors import UserError, one_line
from longspec.core.records import Prompt, Sample, ids_sha256
from longspec.core.spec import ModelSpec
from longspec.models import model_files, trust


def tokenizer(model: ModelSpec) -> Any:
    """The tokenizer of a model's config entry, with the chat template that the entry names, if it names one."""
    loaded = model_files.tokenizer(model_files.folder(model), trust.allowed(model))
    loaded.chat_template = model_files.chat_template(model) or loaded.chat_template
    return loaded


def asked_ids(tokenizer: Any, prompt: Prompt, answers: list[str]) -> list[int]:
    """Ids of the prompt of turn `len(answers)` of a sample; the first turn's were fixed when it was prepared."""
    return turn_ids(tokenizer, prompt.turns, answers, prompt.chat) if answers else prompt.prompt_ids


def answered_ids(tokenizer: Any, prompt: Prompt, sample: Sample, turn: int) -> list[int]:
    """The same for a turn that was answered. UserError when it is not what the recorded run was asked."""
    ids = asked_ids(tokenizer, prompt, sample.texts[:turn])
    asked, answered = ids_sha256(ids), sample.turns[turn].prompt_sha256
    if asked != answered:
        raise UserError(
            f"sample {sample.sample_id!r}, turn {turn}",
            f"the ids of its prompt have the SHA-256 {asked}, and others were answered",
            f"{answered}, by the tokenizer, chat template and prompts of the recorded run",
        )
    return ids


def turn_ids(tokenizer: Any, turns: list[str], answers: list[str], chat: bool) -> list[int]:
    """Ids of the prompt of turn `len(answers)`: what was said so far and the next message.

    With `chat` the tokenizer's chat template wraps the messages; without, the texts follow each other.
    UserError when there is no such template, or it refuses the messages: to go on without one would quietly
    measure another task.
    """
    asked = turns[: len(answers) + 1]
    if not chat:
        text = "".join(part for pair in zip(asked, [*answers, ""], strict=True) for part in pair)
        ids: list[int] = tokenizer(text)["input_ids"]
        return ids
    messages = []
    for number, turn in enumerate(asked):
        messages.append({"role": "user", "content": turn})
        if number < len(answers):
            messages.append({"role": "assistant", "content": answers[number]})
    ids = tokenizer(_wrapped(tokenizer, messages), add_special_tokens=False)["input_ids"]
    return ids


def _today(form: str) -> str:
    """A day of the clock that chat templates may print, the same for ever: prompts must not change overnight."""
    return datetime.datetime(2026, 1, 1).strftime(form)


def _wrapped(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    if not tokenizer.chat_template:
        raise UserError(
            tokenizer.name_or_path,
            "this model has no chat template",
            "`chat_template:` on the model, or `chat: false` on the data set",
        )
    try:
        # transformers (5.23) compiles a template once and keeps it; an argument would reach the template as a text.
        _compile_jinja_template(tokenizer.get_chat_template()).globals["strftime_now"] = _today
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program: it may divide by zero
        raise UserError(
            tokenizer.name_or_path,
            f"the chat template refuses these messages ({one_line(error)})",
            "one that takes them by `chat_template:` on the model, or `chat: false` on the data set",
        ) from None
    for message in messages:
        # Of answers some templates keep a part, on purpose.
        if message["role"] == "user" and message["content"].strip() not in text:
            raise UserError(
                tokenizer.name_or_path,
                f"the chat template leaves out or changes the message {message['content'].strip()[:60]!r}",
                "one that keeps messages by `chat_template:` on the model, or `chat: false` on the data set",
            )
    return text


def pieces(tokenizer: Any) -> list[str]:
    """Text of each id of the vocabulary; special tokens have none.

    A token is decoded behind a letter, as it would be inside a text; one that holds part of a character shows as �."""
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    lead = len(tokenizer.decode(before))
    special = set(tokenizer.all_special_ids)
    ids = range(len(tokenizer))
    return ["" if token in special else tokenizer.decode([*before, token])[lead:] for token in ids]
