"""The hub repositories of config/paper.yaml, scaled down: their names, commits, files and formats, as a hub's cache.

What a repository lists and the cache lacks is not needed: huggingface_hub itself refuses a snapshot without a file that
it was asked for. The figures are those of the published configurations, but for the sizes of layers.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

from longspec.drafters.glide.checkpoints import UNUSED, stored
from longspec.drafters.glide.model import Glide, Sizes

WORDS = [
    "the",
    "council",
    "said",
    "that",
    "we",
    "should",
    "build",
    "a",
    "new",
    "road",
    "by",
    "the",
    "river",
    "this",
    "year",
]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHERS = (
    "README.md",
    "consolidated.safetensors",
    "original/consolidated.00.pth",
    "onnx/model.safetensors",
    "onnx/a.json",
)
"""Listed beside each model, and in no cache."""
CHAT = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}<|user|>"
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SIZES, "bos_token_id": 1, "eos_token_id": 2}
VICUNA = {**LLAMA, "num_key_value_heads": 4, "max_position_embeddings": 4096, "torch_dtype": "float16"}
LINEAR = {"factor": 4.0, "type": "linear"}
TARGETS: dict[str, dict[str, Any]] = {
    "lmsys/vicuna-7b-v1.5-16k": {"config": {**VICUNA, "rope_scaling": LINEAR}, "pickles": 2},
    "lmsys/vicuna-13b-v1.5-16k": {"config": {**VICUNA, "rope_scaling": LINEAR}, "pickles": 3, "safetensors": 3},
    "lmsys/longchat-7b-v1.5-32k": {"config": {**VICUNA, "rope_scaling": {**LINEAR, "factor": 8.0}}, "pickles": 2},
    "lmsys/longchat-13b-16k": {"config": VICUNA, "pickles": 3, "safetensors": 3},
    "gradientai/Llama-3-8B-Instruct-262k": {
        "config": {**LLAMA, "num_key_value_heads": 2, "max_position_embeddings": 262144, "rope_theta": 283461213.0},
        "safetensors": 4,
    },
    "Qwen/QwQ-32B-Preview": {
        "config": {
            **LLAMA,
            **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_key_value_heads": 2},
            **{"max_position_embeddings": 32768, "rope_theta": 1000000.0},
        },
        "safetensors": 17,
    },
}


def make(place: Path, experiment: dict[str, Any]) -> dict[str, str]:
    """Lay out what a complete configuration reads from the hub below `place`; returns the environment to read it in."""
    hub, sentences = place / "hub", [text(number, 60) for number in range(40)]
    for number, entry in enumerate(experiment["models"].values()):
        facts = TARGETS[entry["hub"]]
        folder = snapshot(hub, entry)
        vocabulary = sentence_pieces(folder, sentences) if "pickles" in facts else byte_pairs(folder, sentences)
        torch.manual_seed(number)
        config = AutoConfig.for_model(**facts["config"], vocab_size=vocabulary, initializer_range=0.3)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
        _publish(folder, facts, model.state_dict(), {**facts["config"], "vocab_size": vocabulary})
        draft = snapshot(hub, entry["drafter"])
        save_file(_drafter(config), draft / "model.safetensors", metadata={"format": "pt"})
        (draft / "config.json").write_text(json.dumps(facts["config"]))
    _longbench(hub, experiment["datasets"])
    _aime(place / "datasets", experiment["datasets"]["aime24"])
    return {
        **{"HF_HUB_CACHE": str(hub), "HF_DATASETS_CACHE": str(place / "datasets"), "HF_HUB_OFFLINE": "1"},
        **{"LONGSPEC_CACHE": str(place / "made"), "HF_HOME": str(place / "home")},
    }


def snapshot(hub: Path, entry: dict[str, Any], kind: str = "models") -> Path:
    """Make the folder of a repository's commit; `main` is one of its own where the entry names none."""
    repository = hub / f"{kind}--{entry['hub'].replace('/', '--')}"
    commit = entry.get("revision") or "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    return repository / "snapshots" / commit


def text(seed: int, words: int) -> str:
    """Make a text of so many words."""
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(words))


def sentence_pieces(folder: Path, sentences: list[str]) -> int:
    """Write a tokenizer as Vicuna and LongChat have it, a SentencePiece model alone; returns the size."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="bpe",
        byte_fallback=True,
        vocab_size=320,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    more = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps({**special, **more, "model_max_length": 16384}))
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "temperature": 0.9, "top_p": 0.6})
    )
    return 320


def byte_pairs(folder: Path, sentences: list[str]) -> int:
    """Write a tokenizer as Llama 3 and Qwen have it; returns the size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken(name) for name in ("<|user|>", "<|end|>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    entries = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(entries))
    end = tokenizer.token_to_id("<|end|>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end], "do_sample": True}))
    return tokenizer.get_vocab_size()


def _publish(folder: Path, facts: dict[str, Any], weights: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write a model's weights in the files that its repository has; beside safetensors, pickles are listed only."""
    (folder / "config.json").write_text(json.dumps(config))
    listed = {*OTHERS}
    if count := facts.get("pickles"):
        files = dict(_split(weights, count, "pytorch_model-{:05d}-of-{:05d}.bin"))
        _index(folder / "pytorch_model.bin.index.json", files)
        listed |= files.keys()
        for name, tensors in files.items() if "safetensors" not in facts else ():
            torch.save(tensors, folder / name)
    if count := facts.get("safetensors"):
        files = dict(_split(weights, count, "model-{:05d}-of-{:05d}.safetensors"))
        _index(folder / "model.safetensors.index.json", files)
        for name, tensors in files.items():
            save_file(tensors, folder / name, metadata={"format": "pt"})
    list_files(folder, listed)


def list_files(folder: Path, others: Iterable[str]) -> None:
    """Have the cache know what a commit's repository holds: what is in the snapshot's folder, and others."""
    listed = {*others, *(file.name for file in folder.iterdir())}
    tree = folder.parents[1] / "trees" / f"{folder.name}.json"
    tree.parent.mkdir()
    entries = {name: {"size": 1, "blob_id": "0" * 40} for name in sorted(listed)}
    tree.write_text(json.dumps({"format_version": 1, "files": entries}))


def _split(weights: dict[str, torch.Tensor], count: int, form: str) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    names = list(weights)
    for number in range(count):
        part = names[number * len(names) // count : (number + 1) * len(names) // count]
        yield form.format(number + 1, count), {name: weights[name] for name in part}


def _index(file: Path, files: dict[str, dict[str, torch.Tensor]]) -> None:
    named = {tensor: name for name, tensors in files.items() for tensor in tensors}
    file.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": named}))


def _drafter(config: Any) -> dict[str, torch.Tensor]:
    """Make the 20 tensors of a published drafter, of which four are never used."""
    model = Glide(Sizes.of(config), bias=True, norm=False, feature_layers=0)
    tensors = {name: torch.randn_like(tensor) * 0.3 for name, tensor in stored(model.state_dict()).items()}
    tensors |= {name: tensors[name.replace("cross", "self")].clone() for name in sorted(UNUSED)}
    assert len(tensors) == 20
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}


def _longbench(hub: Path, datasets: dict[str, Any]) -> None:
    """Write data.zip: of each task's rows one is too short, one too long, and two are kept."""
    tasks = {entry["task"]: entry["revision"] for entry in datasets.values() if entry["source"] == "longbench"}
    folder = snapshot(hub, {"hub": "THUDM/LongBench", "revision": next(iter(tasks.values()))}, "datasets")
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        for task in tasks:
            rows = [{"input": text(9, 8), "context": text(n, words)} for n, words in enumerate((50, 1500, 1600, 6600))]
            archive.writestr(f"data/{task}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _aime(cache: Path, entry: dict[str, Any]) -> None:
    """Write the 90 rows of AIME as the `datasets` library keeps them."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    owner, name = entry["repository"].split("/")
    place = cache / f"{owner}___{name}" / "default" / "0.0.0" / entry["revision"]
    place.mkdir(parents=True)
    with ArrowWriter(path=str(place / f"{name}-{entry['split']}.arrow")) as writer:
        for number in range(90):
            writer.write({"id": number, "problem": text(number, 40), "solution": "", "answer": "1", "url": ""})
        examples, size = writer.finalize()
    split = {"name": entry["split"], "num_examples": examples, "num_bytes": size}
    datasets.DatasetInfo(
        dataset_name=name, config_name="default", version="0.0.0", splits={entry["split"]: split}
    ).write_to_directory(str(place))
