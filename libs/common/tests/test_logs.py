"""What a service logs."""

from __future__ import annotations

import subprocess
import sys

import pytest

CRASH = """
import structlog
from tocsin_common import logs
logs.configure("test", json={json})
password = "hunter2"
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("failed")
"""


@pytest.mark.parametrize("json", [True, False])
def test_a_traceback_never_shows_the_values_of_variables(json: bool) -> None:
    done = subprocess.run([sys.executable, "-c", CRASH.format(json=json)], capture_output=True, text=True, check=True)
    assert "ZeroDivisionError" in done.stderr
    assert "hunter2" not in done.stderr
