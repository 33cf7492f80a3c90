"""Unreadable files: one line that names file, row and column. Bad rows: rejected and counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from market_ingest.sources.files import PIECE_ROWS
from market_ingest.sources.replay import UnreadableFile, check_files
from market_ingest.sources.timeline import load

HEADER = "exchange,symbol,ts_ms,price,amount,side,trade_id\n"
GOOD = "binance,BTC/USDT,1700000000000,37000.5,0.25,buy,1\n"
NOW_MS = 1_800_000_000_000


def trades_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "exchange": ["binance"] * 3,
            "symbol": ["BTC/USDT"] * 3,
            "ts_ms": [1_700_000_000_000, 1_700_000_000_001, 1_700_000_060_000],
            "price": [1.0, 2.0, 3.0],
            "amount": [0.1, 0.2, 0.3],
            "side": ["buy", "sell", None],
            "trade_id": ["7", "8", None],
        }
    )


def problem(path: Path) -> str:
    with pytest.raises(UnreadableFile) as caught:
        check_files([path])
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message.removeprefix(str(path))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("binance,BTC/USDT,yesterday,1,1,buy,2", ": row 2, column 'ts_ms': 'yesterday' was found, a whole number"),
        ("binance,BTC/USDT,1700000000000,abc,1,buy,2", ": row 2, column 'price': 'abc' was found, a number"),
        ("binance,BTC/USDT,1700000000000,1,,buy,2", ": row 2, column 'amount': nothing was found, a number"),
        (",BTC/USDT,1700000000000,1,1,buy,2", ": row 2, column 'exchange': nothing was found, text"),
        ("binance,BTC/USDT,1700000000000,1,1,bid,2", ": row 2, column 'side': 'bid' was found, one of buy, sell"),
        ("binance,BTC/USDT,1700000000000,1,1,buy,2,more", ": row 2 has 8 fields, the header 7"),
    ],
)
def test_a_bad_value_is_named_with_row_and_column(tmp_path: Path, row: str, expected: str) -> None:
    assert problem(written(tmp_path / "trades.csv", HEADER + GOOD + row + "\n")).startswith(expected)


def test_a_missing_column_is_named_with_what_the_layout_wants(tmp_path: Path) -> None:
    path = written(tmp_path / "trades.csv", "exchange,symbol,ts_ms,price\nbinance,BTC/USDT,1,1\n")
    assert problem(path).startswith(": column 'amount' is missing; a file of trades has exchange, symbol, ts_ms")


def test_a_candle_file_of_an_unknown_timeframe_is_named_with_its_row(tmp_path: Path) -> None:
    header = "exchange,symbol,timeframe,ts_ms,open,high,low,close,volume\n"
    path = written(tmp_path / "candles.csv", header + "binance,BTC/USDT,3m,1700000000000,1,1,1,1,1\n")
    assert problem(path).startswith(": row 1, column 'timeframe': '3m' was found, one of 1m, 5m")


def test_a_parquet_column_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    trades_frame().with_columns(price=pl.lit(True)).write_parquet(path)
    assert problem(path).startswith(": row 1, column 'price': Boolean was found, a number was expected")


def test_a_parquet_value_that_is_missing_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    trades_frame().with_columns(price=pl.Series([1.0, None, 3.0])).write_parquet(path)
    assert problem(path).startswith(": row 2, column 'price': nothing was found")


def test_a_cut_off_parquet_file_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    trades_frame().write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "damaged or cut-off" in problem(path)


def test_files_that_are_not_there_empty_or_something_else_are_unreadable(tmp_path: Path) -> None:
    assert "No such file" in problem(tmp_path / "nowhere.parquet")
    assert "is empty" in problem(written(tmp_path / "empty.csv", ""))
    assert "holds no rows" in problem(written(tmp_path / "header.csv", HEADER))
    assert "not a parquet file" in problem(written(tmp_path / "text.parquet", HEADER + GOOD))
    assert "cannot be read" in problem(tmp_path)


def test_the_same_content_twice_is_refused(tmp_path: Path) -> None:
    files = [written(tmp_path / name, HEADER + GOOD) for name in ("a.csv", "b.csv")]
    with pytest.raises(UnreadableFile, match="same content"):
        check_files(files)


def test_csv_gzip_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    frame = trades_frame()
    frame.write_parquet(tmp_path / "trades.parquet")
    frame.write_csv(tmp_path / "trades.csv")
    (tmp_path / "trades.csv.gz").write_bytes(gzip.compress((tmp_path / "trades.csv").read_bytes()))
    stretches = []
    for name in ("trades.parquet", "trades.csv", "trades.csv.gz"):
        timeline = load([tmp_path / name], NOW_MS)
        (rows,) = timeline.between(0, len(timeline)).trades
        trades = rows.trades
        columns = [column.tolist() for column in (trades.ts_ms, trades.price, trades.amount)]
        stretches.append((rows.instrument, columns, trades.side.tobytes(), trades.trade_id))
    assert stretches[0] == stretches[1] == stretches[2]
    assert stretches[0][2:] == (b"bs-", ["7", "8", None])


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    first = written(tmp_path / "a.csv", HEADER + GOOD)
    second = written(tmp_path / "b.csv", HEADER + GOOD.replace("37000.5", "37001"))
    assert check_files([first, second]) == check_files([second, first])


def test_bad_rows_are_rejected_by_reason_and_never_move_the_clock(tmp_path: Path) -> None:
    rows = [
        GOOD,
        "binance,BTC/USDT,1700000001000,nan,1,buy,2\n",
        "binance,BTC/USDT,1700000001000,inf,1,buy,3\n",
        "binance,BTC/USDT,1700000001000,0,1,buy,4\n",
        "binance,BTC/USDT,1700000001000,-1,1,buy,5\n",
        "binance,BTC/USDT,1700000001000,1,0,buy,6\n",
        "binance,BTC/USDT,1200000000000,1,1,buy,7\n",
        f"binance,BTC/USDT,{NOW_MS + 3_600_001},1,1,buy,8\n",
        "binance,bitcoin,1700000001000,1,1,buy,9\n",
        "not an exchange,BTC/USDT,1700000001000,1,1,buy,9\n",
        GOOD,
    ]
    timeline = load([written(tmp_path / "trades.csv", HEADER + "".join(rows))], NOW_MS)
    stretch = timeline.between(0, len(timeline))
    assert [len(found.trades) for found in stretch.trades] == [1]
    assert stretch.trades_rejected == {"bad_price": 4, "bad_amount": 1, "bad_time": 2, "bad_symbol": 2}
    assert stretch.duplicates == 1
    assert timeline.at_ms.max() == 1_700_000_001_000
    assert timeline.instruments == [("binance", "BTC/USDT")]


def test_impossible_candles_are_rejected_by_reason(tmp_path: Path) -> None:
    header = "exchange,symbol,timeframe,ts_ms,open,high,low,close,volume\n"
    rows = [
        "binance,BTC/USDT,1m,1700000040000,2,3,1,2,0\n",
        "binance,BTC/USDT,1m,1700000100000,2,1,3,2,1\n",
        "binance,BTC/USDT,1m,1700000160000,2,3,1,nan,1\n",
        "binance,BTC/USDT,1m,1700000220000,2,3,1,2,-1\n",
        "binance,BTC/USDT,1m,1700000220001,2,3,1,2,1\n",
    ]
    timeline = load([written(tmp_path / "candles.csv", header + "".join(rows))], NOW_MS)
    stretch = timeline.between(0, len(timeline))
    assert [len(found.candles) for found in stretch.candles] == [1]
    assert stretch.candles_rejected == {"bad_price": 2, "bad_amount": 1, "bad_time": 1}


@pytest.mark.parametrize("ids", [["10", "7", "11", "8"], ["10", "07", "11", "8"], ["a", "7", "11", None]])
def test_ids_stay_the_text_they_are_in_whatever_order_the_rows_lie(tmp_path: Path, ids: list[str | None]) -> None:
    """Two instruments row by row: plain numbers are kept as numbers, everything else as text."""
    frame = pl.DataFrame(
        {
            "exchange": ["binance"] * 4,
            "symbol": ["ETH/USDT", "BTC/USDT"] * 2,
            "ts_ms": [1_700_000_000_000 + n for n in range(4)],
            "price": [1.0, 2.0, 3.0, 4.0],
            "amount": [0.1, 0.2, 0.3, 0.4],
            "trade_id": ids,
        }
    )
    frame.write_parquet(tmp_path / "trades.parquet")
    timeline = load([tmp_path / "trades.parquet"], NOW_MS)
    whole = timeline.between(0, 4).trades
    assert [(rows.instrument.symbol, list(rows.trades.trade_id)) for rows in whole] == [
        ("BTC/USDT", ids[1::2]),
        ("ETH/USDT", ids[::2]),
    ]
    pieces = [timeline.between(at, at + 1).trades for at in range(4)]
    assert [list(piece[0].trades.trade_id) for piece in pieces] == [[name] for name in ids]


@pytest.mark.parametrize("again", [["7", "8"], ["x-7", "8"]])
def test_a_trade_that_is_there_twice_is_a_duplicate_however_its_ids_look(tmp_path: Path, again: list[str]) -> None:
    frame = trades_frame()[:2].with_columns(trade_id=pl.Series(again))
    for name, rows in (("a", frame), ("b", frame.with_columns(price=pl.lit(9.0)))):
        rows.write_parquet(tmp_path / f"{name}.parquet")
    timeline = load([tmp_path / "a.parquet", tmp_path / "b.parquet"], NOW_MS)
    stretch = timeline.between(0, 4)
    assert (stretch.duplicates, [len(rows.trades) for rows in stretch.trades]) == (2, [2])


def long_frame() -> pl.DataFrame:
    """More rows than are read at once, of two instruments in turn."""
    count = PIECE_ROWS + 4
    at = pl.int_range(count, eager=True)
    return trades_frame()[[0] * count].with_columns(
        symbol=pl.Series(["BTC/USDT", "ETH/USDT"] * (count // 2)), ts_ms=pl.lit(at) + 1_700_000_000_000, trade_id=at
    )


@pytest.mark.parametrize("last", ["99999", "x", None])
def test_a_file_read_in_pieces_gives_the_rows_of_the_whole(tmp_path: Path, last: str | None) -> None:
    frame = long_frame()
    ids = [*map(str, range(frame.height - 1)), last]
    frame = frame.with_columns(trade_id=pl.Series(ids))
    frame.write_parquet(tmp_path / "trades.parquet", row_group_size=10_000)
    timeline = load([tmp_path / "trades.parquet"], NOW_MS)
    whole = timeline.between(0, frame.height).trades
    assert [list(rows.trades.trade_id) for rows in whole] == [ids[::2], ids[1::2]]
    assert [rows.trades.ts_ms.tolist() for rows in whole] == [frame["ts_ms"][part::2].to_list() for part in (0, 1)]


def test_a_bad_value_far_into_a_file_is_named_with_its_row(tmp_path: Path) -> None:
    frame = long_frame()
    row = frame.height - 1
    prices = pl.when(pl.int_range(pl.len()) == row - 1).then(None).otherwise(pl.col("price"))
    frame.with_columns(price=prices).write_parquet(tmp_path / "trades.parquet")
    assert problem(tmp_path / "trades.parquet").startswith(f": row {row}, column 'price': nothing was found")


def test_a_parquet_file_damaged_in_the_middle_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    long_frame().write_parquet(path, row_group_size=10_000)
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 3, len(content) // 2)
    content[middle] = b"?" * len(content[middle])
    path.write_bytes(content)
    assert "damaged or cut-off" in problem(path)
