"""Train a drafter for one target on its answers."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import torch

from longspec.models import machine
from longspec.training.train import train


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=json.loads, required=True)
    parser.add_argument("--version", required=True, help="all that the result depends on")
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(args.spec["seed"])
    torch.set_num_threads(machine.resolve_threads(args.spec["threads"]))
    train(args.spec, args.version, args.answers, args.weights)
