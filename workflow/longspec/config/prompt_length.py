"""How long a prompt may be: what a data set says, and never so much that no answer has room."""

from __future__ import annotations

from longspec.core.errors import UserError
from longspec.core.spec import DatasetSpec


def longest(dataset: DatasetSpec, context: int | None) -> int | None:
    """Find the most tokens of a prompt, None for no limit; `context`: the model's, in tokens, where it is known.
    UserError when that leaves no prompt at all."""
    where, wanted = f"dataset {dataset['name']}", dataset["max_prompt_tokens"]
    if context is not None:
        key = "max_new_tokens" if dataset["prompt_reserve"] is None else "prompt_reserve"
        reserved = dataset["prompt_reserve"] or dataset["max_new_tokens"]
        if context <= reserved:
            raise UserError(
                where,
                f"{key} {reserved} leaves no room for a prompt",
                f"less than the model's context of {context} tokens",
            )
        wanted = context - reserved if wanted is None else min(wanted, context - reserved)
    least, drops = dataset["min_prompt_tokens"], dataset["too_long"] == "drop"
    if wanted is not None and drops and least > wanted:
        raise UserError(where, f"min_prompt_tokens {least}, and longer prompts are dropped", f"at most {wanted}")
    return wanted
