"""One line per figure, and a table at the end: what, how much, the limit, whether it holds."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

console = Console()


@dataclass(frozen=True)
class Figure:
    """A measured value. `limit` None: stated for information. `at_least` says which side of the limit is good."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = True

    @property
    def holds(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def print_table(figures: list[Figure]) -> None:
    """Print all figures with their limits."""
    table = Table(title="Benchmarks", title_justify="left")
    for column, justify in (("figure", "left"), ("value", "right"), ("limit", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # rich types the literal narrowly
    for figure in figures:
        sign = ">=" if figure.at_least else "<="
        limit = "" if figure.limit is None else f"{sign} {figure.limit:,g} {figure.unit}"
        verdict = "" if figure.limit is None else "[green]holds[/]" if figure.holds else "[red]missed[/]"
        table.add_row(figure.name, f"{figure.value:,.2f} {figure.unit}", limit, verdict)
    console.print(table)
