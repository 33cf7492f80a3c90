"""A time limit ends code that would not end by itself, and leaves alone what does."""

from __future__ import annotations

import _thread
import signal
import threading
import time

import polars as pl
import pytest

from signal_engine.limited import TooSlow, limited

HOUR_S = 3600.0


def loop() -> None:
    while True:
        pass


def sleep() -> None:
    while True:
        time.sleep(HOUR_S)


def loop_that_swallows_errors() -> None:
    while True:
        try:
            loop()
        except Exception:
            continue


def forever(_: pl.Series) -> pl.Series:
    while True:
        pass


IN_A_THREAD = pl.col("x").map_batches(forever, return_dtype=pl.Float64).over("y").alias("z")


@pytest.mark.parametrize("endless", [loop, sleep, loop_that_swallows_errors])
def test_code_that_does_not_end_is_ended_where_it_stands(endless: object) -> None:
    assert callable(endless)
    with (
        pytest.raises(TooSlow, match=r"still in \w+ \(.*test_signal_limited.py, line \d+\) after 0.05 s"),
        limited(0.05),
    ):
        endless()


def test_code_that_catches_everything_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal_engine.limited.AGAIN_S", 0.05)
    caught = []

    def stubborn() -> None:
        try:
            loop()
        except BaseException as error:
            caught.append(error)
        loop()

    with pytest.raises(TooSlow), limited(0.05):
        stubborn()
    assert len(caught) == 1


def test_python_in_a_thread_of_polars_is_ended_too_and_polars_goes_on() -> None:
    frame = pl.DataFrame({"x": [1.0] * 100, "y": [1, 2] * 50})
    with (
        pytest.raises(TooSlow, match=r"still in forever \(test_signal_limited.py, line \d+\) after 0.05 s"),
        limited(0.05),
    ):
        frame.with_columns(IN_A_THREAD)
    assert frame.with_columns(pl.col("x").sum().over("y"))["x"].sum() == 5_000


def test_code_that_ends_in_time_is_left_alone_and_nothing_stays_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with limited(60):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_an_error_of_the_code_itself_comes_through() -> None:
    with pytest.raises(ZeroDivisionError), limited(60):
        1 / 0  # noqa: B018
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_thread_that_ran_before_is_none_of_its_business() -> None:
    """Such as the one by which a test runner hears of its next test, which Python does not know as its own."""
    ended, stop = [], threading.Event()

    def beside() -> None:
        there.set()
        try:
            while not stop.wait(0.01):
                pass
        except BaseException as error:
            ended.append(error)
        finally:
            gone.set()

    there, gone = threading.Event(), threading.Event()
    _thread.start_new_thread(beside, ())
    assert there.wait(10)
    with pytest.raises(TooSlow), limited(0.05):
        pl.DataFrame({"x": [1.0], "y": [1]}).with_columns(IN_A_THREAD)
    stop.set()
    assert gone.wait(10)
    assert ended == []
