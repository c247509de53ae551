"""A tiny model as a folder on disk, the way a user would give one: config, tokenizer, safetensors."""

from __future__ import annotations

from pathlib import Path

from tiny import hf_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", *"0123456789", " ", ".", "\n", "?"]
CHAT = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"


def make(place: Path, seed: int = 0, words: list[str] | None = None) -> Path:
    """Save a model and a character tokenizer to `place`."""
    words = words or WORDS
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=CHAT
    )
    fast.save_pretrained(place)
    hf_model("llama", seed, vocab_size=len(words), max_position_embeddings=256).save_pretrained(place)
    return place
