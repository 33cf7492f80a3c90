"""The short commands on a data directory of their own, with the embedded servers they start for themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tocsin.__main__ import app
from tocsin.datadir import DataDir


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with streams and tables, made once."""
    path = tmp_path_factory.mktemp("data")
    assert tocsin(path, "streams", "apply").exit_code == 0
    assert tocsin(path, "migrate").exit_code == 0
    return path


def tocsin(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data-dir", str(data_dir)])


def test_streams_are_shown_as_declared(data_dir: Path) -> None:
    result = tocsin(data_dir, "streams", "show")
    assert result.exit_code == 0, result.output
    assert "TRADES" in result.output
    assert "missing" not in result.output


def test_migrating_again_does_nothing(data_dir: Path) -> None:
    assert "up to date" in tocsin(data_dir, "migrate").output


def test_the_doctor_finds_everything_well(data_dir: Path) -> None:
    result = tocsin(data_dir, "doctor")
    assert result.exit_code == 0, result.output
    for subject in ("config", "disk", "nats", "jetstream", "sync", "streams", "clock", "postgresql", "migrations"):
        assert subject in result.output
    assert "everything is well" in result.output


def test_an_empty_system_passes_the_audit(data_dir: Path) -> None:
    result = tocsin(data_dir, "audit", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ok"] is True


def test_an_empty_system_rebuilds_to_itself(data_dir: Path) -> None:
    result = tocsin(data_dir, "rebuild")
    assert result.exit_code == 0, result.output
    assert "every row is the same" in result.output


def test_a_key_is_made_listed_and_revoked(data_dir: Path) -> None:
    made = tocsin(data_dir, "keys", "create", "dashboard", "--days", "2")
    assert made.exit_code == 0, made.output
    token = made.stdout.strip().splitlines()[-1]
    key_id = token.split("_")[1]
    listed = tocsin(data_dir, "keys", "list").output
    assert key_id in listed
    assert "dashboard" in listed
    assert token not in listed
    assert tocsin(data_dir, "keys", "revoke", key_id).exit_code == 0
    assert key_id not in tocsin(data_dir, "keys", "list").output
    assert tocsin(data_dir, "keys", "revoke", key_id).exit_code == 2


def test_a_held_data_directory_is_refused_with_its_holder(data_dir: Path) -> None:
    with DataDir(data_dir).hold("up"):
        result = tocsin(data_dir, "audit")
    assert result.exit_code == 2
    assert "held by `tocsin up`" in " ".join(result.output.split())


def test_the_configured_documents_are_seeded_and_a_second_time_left_alone(data_dir: Path) -> None:
    first = tocsin(data_dir, "seed")
    assert first.exit_code == 0, first.output
    assert "written portfolios/demo" in first.output
    again = tocsin(data_dir, "seed").output
    assert "written" not in again
    assert "were right already" in again
