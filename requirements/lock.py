"""Compile and check the locked requirements.

    python requirements/lock.py compile [--upgrade]   write the locks from the pyproject and .in files
    python requirements/lock.py check                 fail when they no longer belong together

`run.txt` is the closure of the packages' own dependencies; `build.txt` (what builds our wheels) and `dev.txt` (what
checks and tests them) are those of the `.in` files under the same pins. All are universal and hashed and name no index
host, so pip installs them anywhere (`pip install --require-hashes`). Each lock's first line is a digest of what it was
made from: the check needs no network.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "requirements"
PYTHON_VERSION = "3.11"
HOST = re.compile(r"https?://|--(extra-)?index-url|--find-links|file:")
LOCKS = ("run", "build", "dev")
MARK = "# made from: sha256:"


def packages() -> list[Path]:
    """The pyproject files of the workspace's packages."""
    return sorted(
        [*ROOT.glob("libs/*/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml"), ROOT / "cli/pyproject.toml"]
    )


def inputs_digest(lock: str) -> str:
    """Digest of everything a lock is made from: declared dependencies, or an .in file and run.txt's pins."""
    digest = hashlib.sha256()
    for path in packages():
        project = tomllib.loads(path.read_text())["project"]
        digest.update(repr((project["name"], project["requires-python"], sorted(project["dependencies"]))).encode())
    if lock != "run":
        digest.update((HERE / f"{lock}.in").read_bytes())
        digest.update((HERE / "run.txt").read_bytes())
    return digest.hexdigest()


def compile_lock(lock: str, upgrade: bool) -> None:
    """Resolve one lock with uv and stamp it."""
    output = HERE / f"{lock}.txt"
    ours = [tomllib.loads(path.read_text())["project"]["name"] for path in packages()]
    sources = (
        [str(path.relative_to(ROOT)) for path in packages()]
        if lock == "run"
        else [f"requirements/{lock}.in", "--constraints", "requirements/run.txt"]
    )
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header"]
    command += ["--python-version", PYTHON_VERSION, "--output-file", str(output.relative_to(ROOT))]
    command += [word for name in ours for word in ("--no-emit-package", name)]
    command += ["--upgrade"] if upgrade else []
    subprocess.run([*command, *sources], cwd=ROOT, check=True)  # noqa: S603
    output.write_text(f"{MARK}{inputs_digest(lock)}\n{output.read_text()}")


def check_lock(lock: str) -> list[str]:
    """Sentences about what is wrong with one lock."""
    path = HERE / f"{lock}.txt"
    if not path.exists():
        return [f"requirements/{lock}.txt is missing; run `make lock`."]
    text = path.read_text()
    problems = []
    if not text.startswith(f"{MARK}{inputs_digest(lock)}\n"):
        problems.append(f"requirements/{lock}.txt does not belong to the pyproject files any more; run `make lock`.")
    if HOST.search(text):
        problems.append(f"requirements/{lock}.txt names a host or path; compile it without index settings.")
    if "--hash=sha256:" not in text:
        problems.append(f"requirements/{lock}.txt has no hashes.")
    return problems


def main(arguments: list[str]) -> int:
    match arguments:
        case ["compile", *rest]:
            for lock in LOCKS:
                compile_lock(lock, "--upgrade" in rest)
            return 0
        case ["check"]:
            problems = [problem for lock in LOCKS for problem in check_lock(lock)]
            for problem in problems:
                print(problem, file=sys.stderr)
            return 1 if problems else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
