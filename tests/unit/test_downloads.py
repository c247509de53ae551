"""Of a repository of the hub what is needed is fetched, and no more: from a hub of this machine's own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny_folder

from longspec.core import fingerprint

COMMIT = "0123456789" * 4
FETCH = "from longspec.models import model_files; print(model_files.folder({'hub': 'a/b'}))"


class Hub(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks of one repository, `a/b`, whose files are `files`."""

    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        head = {"X-Repo-Commit": COMMIT}
        if self.path.startswith("/api/models/a/b/tree/"):
            rows = [{"type": "file", "path": p, "size": len(c), "oid": self.name(c)} for p, c in self.files.items()]
            content = json.dumps(rows).encode()
        elif self.path.startswith("/api/models/a/b"):
            content = json.dumps({"id": "a/b", "sha": COMMIT, "siblings": []}).encode()
        else:
            content = self.files[self.path.removeprefix(f"/a/b/resolve/{COMMIT}/")]
            head["ETag"] = f'"{self.name(content)}"'
        self.send_response(200)
        for key, value in {**head, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    @staticmethod
    def name(content: bytes) -> str:
        return hashlib.sha1(content).hexdigest()

    def log_message(self, *said: object) -> None:
        """Nothing."""


@pytest.fixture
def fetched(tmp_path):
    """Serve a model with these files beside its own; the files that were fetched of it."""

    def run(without=(), **beside: bytes) -> set[str]:
        model = tiny_folder.make(tmp_path / "model")
        own = {file.name: file.read_bytes() for file in model.iterdir() if file.name not in without}
        handler = type("Served", (Hub,), {"files": own | beside})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "cache"),
            "PYTHONPATH": str(fingerprint.PACKAGE.parent),
        }
        done = subprocess.run([sys.executable, "-c", FETCH], env=environment, capture_output=True, text=True)
        server.shutdown()
        assert done.returncode == 0, done.stderr
        place = Path(done.stdout.strip())
        assert place.name == COMMIT
        return {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}

    return run


OTHERS = ("consolidated.safetensors", "onnx/model.safetensors", "original/model.safetensors", "model.fp16.safetensors")


def test_weights_in_other_forms_stay_where_they_are(fetched):
    found = fetched(**dict.fromkeys(("pytorch_model.bin", *OTHERS), b"never asked for"), **{"merges.txt": b"#"})
    assert {"config.json", "tokenizer.json", "model.safetensors", "merges.txt"} <= found
    assert not found & {"pytorch_model.bin", *OTHERS}


def test_weights_in_parts_are_those_of_the_index(fetched, tmp_path):
    part = (tiny_folder.make(tmp_path / "part") / "model.safetensors").read_bytes()
    parts = {f"model-0000{n}-of-00002.safetensors": part for n in (1, 2)}
    index = json.dumps({"weight_map": {f"w{n}": name for n, name in enumerate(parts)}}).encode()
    others = dict.fromkeys(OTHERS, b"never asked for")
    found = fetched(("model.safetensors",), **parts, **others, **{"model.safetensors.index.json": index})
    assert {name for name in found if name.endswith(".safetensors")} == set(parts)


def test_a_file_of_another_name_is_fetched_where_there_is_no_usual_one(fetched, tmp_path):
    weights = (tiny_folder.make(tmp_path / "part") / "model.safetensors").read_bytes()
    assert "drafter.safetensors" in fetched(("model.safetensors",), **{"drafter.safetensors": weights})
