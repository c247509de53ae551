"""Finds special tokens where they are rarely meant to be: a prompt that begins twice, or ends before its answer, and
answers that run on past the end of their turn.

All of it is allowed, since a model may be measured so; it changes what is measured, so it is said, with the key that
mends it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from longspec.core.errors import UserError
from longspec.core.records import Prompt
from longspec.data import prompting

QUESTION, ANSWER = "Is it?", "Yes."
MENDS = {
    "template": "`template` without {text}, which the tokenizer or the chat template adds by itself",
    "chat_template": "`chat_template` on the model to be one that leaves {text} out there",
    "chat: true": "`chat: true`, or a tokenizer that adds no {text} there",
}
"""Key of the configuration to what it should be."""


def doubled(tokenizer: Any, where: str, prompts: list[Prompt]) -> list[UserError]:
    """Find prompts that begin with two beginning-of-sequence tokens, or end with an end-of-sequence token."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    chat = any(prompt.chat for prompt in prompts)
    begun = [prompt for prompt in prompts if bos is not None and prompt.prompt_ids[:2] == [bos, bos]]
    ended = [prompt for prompt in prompts if eos is not None and eos != bos and prompt.prompt_ids[-1] == eos]
    found = []
    for named, token, state in ((begun, bos, "begin twice with"), (ended, eos, "end with")):
        if named:
            text = tokenizer.convert_ids_to_tokens(token)
            written = any(text in message for prompt in named for message in prompt.turns)
            key = "template" if written else "chat_template" if chat else "chat: true"
            told = f"{len(named)} of {len(prompts)} prompts {state} {text!r}"
            found.append(UserError(where, told, MENDS[key].format(text=repr(text))))
    return found


def unstopped(tokenizer: Any, where: str, stop_ids: Collection[int]) -> list[UserError]:
    """Find the token with which the chat template ends an answer, where generation does not stop at it."""
    try:
        text = prompting.wrapped(tokenizer, [QUESTION], [ANSWER])
    except UserError:
        return []  # it takes no answer at the end: nobody knows how one ends
    _, kept, rest = text.rpartition(ANSWER)
    after = tokenizer(rest.lstrip(), add_special_tokens=False)["input_ids"] if kept else []
    known = {*stop_ids, tokenizer.unk_token_id}
    if not after or after[0] in known or after[0] not in tokenizer.added_tokens_decoder:
        return []  # or it ends in plain text, which no single token is
    token = tokenizer.convert_ids_to_tokens(after[0])
    return [
        UserError(
            where,
            f"its chat template ends an answer with {token!r} (id {after[0]}), at which generation does not stop",
            f"`stop_tokens: [{token!r}]` on the model",
        )
    ]
