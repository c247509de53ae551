"""The job that Kubernetes would be given for a generate job of ours, beside the schema of a Job and docs/cluster.md.

Real: Snakemake, its Kubernetes plugin and client, profiles/kubernetes, the files that are sent. A stand-in: the cluster
itself. A server in this process takes what the client posts, answers that the job has failed, and runs nothing. So
scheduling, images, GPUs and the pod's own work are not tested here. The profile's bucket is replaced by a folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny_folder
import yaml
from experiments import PARTS, REPOSITORY, write_rows

PLUGINS = ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs", "kubernetes_validate")
missing = [name for name in PLUGINS if importlib.util.find_spec(name) is None]
missing += [tool for tool in ("git", "rsync") if shutil.which(tool) is None]
INSTALL = "pip install --target DIR snakemake-executor-plugin-kubernetes==0.5.1 snakemake-storage-plugin-fs "
pytestmark = [
    pytest.mark.skipif(
        bool(missing), reason=f"needs {', '.join(missing)}: {INSTALL}kubernetes-validate, then run with PYTHONPATH=DIR"
    ),
    pytest.mark.timeout(600),
]
KEYS = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "planted-access-key", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "planted-secret"}
VERSIONS = ("1.32", "1.37")
"""Of Kubernetes: schemas to hold the job against."""


class Cluster(ThreadingHTTPServer):
    """Stands in for a cluster's API: keeps what is posted; every job has failed when it is asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.posted: dict[str, list[dict]] = {"jobs": [], "secrets": []}
        self.storage: Path | None = None
        self.sources: set[str] = set()
        """Files of the workflow that lay in the storage when a job was posted; Snakemake deletes them at its end."""


class Answers(BaseHTTPRequestHandler):
    """What a client of ours asks."""

    server: Cluster

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted[self.path.split("?")[0].rsplit("/", 1)[1]].append(body)
        for archive in self.server.storage.glob("snakemake-workflow-sources.*"):
            with tarfile.open(archive) as packed:
                self.server.sources |= {str(Path(name)) for name in packed.getnames()}
        self._answer(body, 201)

    def do_GET(self):
        self._answer({"status": {"failed": 1}} if self.path.endswith("/status") else {"items": []})

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer({"status": "Success"})

    def _answer(self, body, code=200):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def cluster():
    """Listening while the tests of this file run."""
    server = Cluster()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def kubeconfig(file, server):
    """Where the client finds its cluster."""
    named = {"contexts": {"context": {"cluster": "c", "user": "u"}}, "users": {"user": {}}}
    clusters = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}]
    entries = {key: [{"name": {"contexts": "x", "users": "u"}[key], **value}] for key, value in named.items()}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": clusters, **entries}
    file.write_text(yaml.safe_dump(config))
    return str(file)


def checkout(place):
    """A git repository with the workflow and a tiny experiment: what a job gets of it are the files that git knows."""
    for part in PARTS:
        source = REPOSITORY / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, place / part)
    tiny_folder.make(place / "model")
    write_rows(place / "b.jsonl", ["what is a b c?"])
    rows = {"source": "jsonl", "path": "b.jsonl", "id_field": "id", "template": "{q}", "max_new_tokens": 6}
    methods = {"vanilla": {"method": "vanilla"}, "chain": {"method": "sequential", "drafter": "ngram"}}
    config = {"models": {"tiny": {"path": "model"}}, "datasets": {"b": rows}, "methods": methods}
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *arguments], cwd=place, check=True)


@pytest.fixture(scope="module")
def submitted(tmp_path_factory, cluster):
    """(job, secret) of a generate job whose prompts lie in the storage, as they went to the cluster."""
    place = tmp_path_factory.mktemp("kubernetes")
    cluster.storage = place / "storage"
    prepared = cluster.storage / "results" / "tiny" / "b"
    prepared.mkdir(parents=True)
    for name in ("prompts.jsonl", "prompts_tuning.jsonl"):
        (prepared / name).write_text("{}\n")  # nothing reads it
    (place / "clone").mkdir()
    checkout(place / "clone")
    command = [sys.executable, "-m", "snakemake", "--configfile", "config.yaml", "--profile", "profiles/kubernetes"]
    command += ["--default-storage-provider", "fs", "--default-storage-prefix", str(cluster.storage)]
    command += ["--retries", "0", "--seconds-between-status-checks", "1", "results/tiny/b/chain/samples.jsonl"]
    environment = {**os.environ, **KEYS, "KUBECONFIG": kubeconfig(place / "kubeconfig", cluster)}
    environment["PATH"] = f"{os.path.dirname(sys.executable)}:{environment['PATH']}"
    done = subprocess.run(
        command, cwd=place / "clone", env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert len(cluster.posted["jobs"]) == 1, done.stdout + done.stderr
    assert not [value for value in KEYS.values() if value in done.stdout + done.stderr]
    return cluster.posted["jobs"][0], cluster.posted["secrets"][0]


@pytest.fixture
def container(submitted):
    """The one container of the job's pod."""
    (found,) = submitted[0]["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_job_is_one_by_the_schema_of_kubernetes(submitted, version):
    import kubernetes_validate

    for resource, kind in zip(submitted, (("batch/v1", "Job"), ("v1", "Secret")), strict=True):
        # The client leaves these two to the address that it posts to.
        named = {**resource, "apiVersion": kind[0], "kind": kind[1]}
        kubernetes_validate.validate(named, version, strict=True)
    named["data"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(named, version, strict=True)


def test_a_gpu_memory_and_disk_are_limits(container, submitted):
    resources = container["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert resources["limits"]["memory"] == resources["requests"]["memory"] == "64000M"
    assert resources["limits"]["cpu"] == "8000m"
    # Snakemake's own default is 1000M, at which a pod that fetches a model is evicted.
    assert resources["limits"]["ephemeral-storage"] == "100000M"
    assert submitted[0]["spec"]["template"]["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_the_image_is_the_profiles(container):
    with open("profiles/kubernetes/config.yaml", encoding="utf-8") as file:
        assert container["image"] == yaml.safe_load(file)["container-image"]


def test_the_storages_keys_come_from_a_secret_and_stand_nowhere_else(container, submitted):
    job, secret = submitted
    for name in KEYS:
        (entry,) = [entry for entry in container["env"] if entry["name"] == name]
        reference = entry["valueFrom"]["secretKeyRef"]
        assert reference["name"] == secret["metadata"]["name"]
        assert reference["key"] in secret["data"]
    assert not [value for value in KEYS.values() if value in json.dumps(job)]


def test_the_container_runs_our_rule(container):
    assert container["command"] == ["/bin/sh"]
    script = container["args"][1]
    assert "--target-jobs 'generate:model=tiny,dataset=b,method=chain'" in script
    assert "python -m snakemake --deploy-sources " in script
    assert script.endswith("--mode 'remote'")


def test_the_workflow_comes_with_the_job(submitted, cluster):
    package = REPOSITORY / "workflow"
    needed = {str(file.relative_to(REPOSITORY)) for file in package.rglob("*") if file.suffix in (".py", ".smk")}
    assert needed | {"Snakefile", "config.yaml"} <= cluster.sources
