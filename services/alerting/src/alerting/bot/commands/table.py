"""Every command there is, and every button."""

from __future__ import annotations

from alerting.bot.commands import figures, first, market, menu, operators, own, rules, why
from alerting.bot.dispatch import Commands

FAMILIES = (first, market, figures, own, rules, menu, why, operators)
TABLE = Commands(
    typed={name: one for family in FAMILIES for name, one in family.COMMANDS.items()},
    pressed=own.PRESSED | rules.PRESSED | menu.PRESSED | operators.PRESSED,
)
