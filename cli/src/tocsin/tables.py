"""Tables of results."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tocsin.console import out


def results(left: Sequence[str], right: Sequence[str], *, piped_columns: int) -> Table:
    """A table with columns of words, then columns of figures. `piped_columns` is its width where nobody's terminal
    limits it: so wide that no value is cut."""
    width = None if out.is_terminal else piped_columns
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title_justify="left", width=width)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, no_wrap=True, justify="right")
    return table
