"""One command at a time runs on a data directory, and a crash never locks it for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tocsin.datadir import DataDir, HeldByAnother
from tocsin.processes import reference, this_process
from tocsin_common.errors import TocsinError


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with DataDir(tmp_path).hold("up") as running:
        DataDir(tmp_path).describe(msgspec.structs.replace(running, api_url="http://127.0.0.1:8000"))
        with (
            pytest.raises(HeldByAnother, match=r"held by `tocsin up` \(process \d+, since .*http://127.0.0.1:8000"),
            DataDir(tmp_path).hold("replay"),
        ):
            pass


def test_what_runs_is_described_only_while_it_runs(tmp_path: Path) -> None:
    where = DataDir(tmp_path / "new")
    assert where.running() is None
    with where.hold("up"):
        assert where.running() is not None
    assert where.running() is None


def test_the_description_may_be_read_by_its_owner_only(tmp_path: Path) -> None:
    with DataDir(tmp_path).hold("up"):
        assert (tmp_path / "run.json").stat().st_mode & 0o077 == 0


def test_a_killed_holder_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    left = reference(orphan.pid)
    assert left is not None
    gone.wait()
    description = {
        "command": "up",
        "holder": {"pid": gone.pid, "started_s": 1.0},
        "started_ms": 1,
        "processes": {"nats": {"pid": left.pid, "started_s": left.started_s}},
    }
    (tmp_path / "run.json").write_text(json.dumps(description))
    where = DataDir(tmp_path)
    assert where.running() is None
    with where.hold("up") as running:
        assert running.holder == this_process()
        assert not left.alive()
    orphan.wait()


def test_an_unreadable_description_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with DataDir(tmp_path).hold("up") as running:
        assert running.command == "up"


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(TocsinError, match=r"data cannot be used.*--data-dir"), DataDir(tmp_path / "data").hold("up"):
        pass
