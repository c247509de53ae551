"""Bad input ends in one message, before anything is written, and without a traceback."""

from __future__ import annotations

import pytest

PREPARED = "results/tiny/b/prompts.jsonl"
GENERATED = "results/tiny/b/wide/samples.jsonl"


def refuse(clone, *parts, target=PREPARED):
    done = clone.snakemake("--force", target)
    text = done.stdout + done.stderr
    assert done.returncode != 0, text
    assert "Traceback" not in text
    for part in parts:
        assert part in text, text
    return text


def test_an_error_in_the_configuration_is_one_message(clone):
    clone.edit(methods__chain__gamma=0)
    text = refuse(clone, "methods.chain.gamma: 0", "at least 1")
    assert text.count("methods.chain.gamma") == 1
    assert "prepare" not in text.split("methods.chain.gamma")[1]


def test_two_methods_of_one_name(clone):
    clone.append("config.yaml", "  chain: {method: vanilla}\n")
    refuse(clone, "config.yaml, line", "'chain' stands twice")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "the source has no rows"),
        ('{"id": "x", "q": "a"}\n{"id"\n', "b.jsonl, line 2: not JSON"),
        ('{"id": "x", "q": "a"}\n{"id": "x", "q": "b"}\n', "two samples are called 'x'"),
        ('{"id": "x", "p": "a"}\n', "sample x: has no field 'q'"),
        ('{"q": "a"}\n', "b.jsonl, line 1: has no field 'id'"),
    ],
)
def test_bad_rows(clone, rows, message):
    (clone.place / "b.jsonl").write_text(rows)
    refuse(clone, message)


def test_what_no_commit_pins_is_said_once_before_all_else(clone):
    clone.edit(models__loose={"hub": "owner/name"})
    text = refuse(clone, "cannot be fetched", target="results/loose/b/prompts.jsonl")
    assert text.count("warning: not pinned to a commit by `revision`: models.loose (owner/name)\n") == 1
    assert text.index("not pinned") < text.index("rule prepare")


def test_a_missing_data_file(clone):
    (clone.place / "b.jsonl").unlink()
    refuse(clone, "b.jsonl: cannot be read")


def test_a_model_without_weights(clone):
    for file in (clone.place / "model").glob("*.safetensors"):
        file.unlink()
    refuse(clone, "model: has no *.safetensors")


def test_a_gpu_where_there_is_none(clone):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    clone.edit(device="gpu")
    refuse(clone, "device: gpu", "no GPU", target=GENERATED)


def test_a_drafter_of_another_tokenizer(clone):
    import tiny_folder

    tiny_folder.make(clone.place / "other", words=[*tiny_folder.WORDS, "!"])
    clone.edit(methods__wide__model={"path": "other"})
    refuse(clone, "same tokenizer", target=GENERATED)


def test_a_speedup_over_other_conditions_is_refused(clone):
    run = clone.place / "results/tiny/a/vanilla/run.json"
    run.write_text(run.read_text().replace('"threads": 1,\n    "stop', '"threads": 2,\n    "stop'))
    done = clone.snakemake("--force", "results/speedup.csv")
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "threads is 1 for chain and 2 for vanilla" in text


def test_results_of_another_version_are_refused(clone):
    samples = clone.place / "results/tiny/a/chain/samples.jsonl"
    samples.write_text(samples.read_text().replace('"schema_version": 5', '"schema_version": 99'))
    done = clone.snakemake("--force", "results/timings.csv")
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "samples.jsonl, line 1: schema_version is 99" in text


@pytest.mark.parametrize("name", ["../out", "a;touch x", "a b", "$(touch x)", ""])
def test_names_cannot_leave_the_results(clone, name):
    clone.edit(**{f"methods__{name}": {"method": "vanilla"}})
    refuse(clone, "methods")
    assert not (clone.place / "x").exists()
