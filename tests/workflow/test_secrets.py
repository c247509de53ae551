"""What is secret in the environment is in no file that a run writes."""

from __future__ import annotations

from experiments import PLANTED


def test_no_file_of_a_whole_run_holds_a_secret(finished):
    folders = [finished.place / name for name in ("results", "reports", ".snakemake")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 50
    for file in files:
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in PLANTED.values()), file
