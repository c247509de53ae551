"""Have the target answer questions, and keep on disk what training a drafter needs of that."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from pathlib import Path

from longspec.core.errors import UserError
from longspec.core.io import write_whole
from longspec.training import shards
from longspec.training.collect import announce, counted, feature_layers, fill


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, go on from what is there, write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True)
    parser.add_argument("--version", required=True, help="what the shards depend on beside the spec")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder, stamp = args.output.parent / "answers", args.output.parent / "answers" / "made_of.json"
    made_of = {"version": args.version, **{k: v for k, v in args.spec.items() if k not in ("train_tokens", "slots")}}
    if not stamp.is_file() or json.loads(stamp.read_text(encoding="utf-8")) != made_of:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_whole({stamp: json.dumps(made_of)})
    from longspec.models import model_files

    config = model_files.configuration(model_files.folder(args.spec["model"])).get_text_config()
    have = counted(folder)
    announce(folder, args.spec, shards.bytes_per_token(config, len(feature_layers(config.num_hidden_layers))), have)
    if have < args.spec["train_tokens"]:
        from longspec.verify.engine.jobs import with_engine

        fill(folder, with_engine(args.spec), have)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError("texts, questions", "gave nothing to train on", "texts or tasks")
    listed = {"shards": [f"answers/{file.name}" for file in files], "answer_tokens": counted(folder)}
    write_whole({args.output: json.dumps(listed, indent=1) + "\n"})
