"""Every command there is, and every button."""

from __future__ import annotations

from alerting.bot.commands import figures, first, market, menu, operators, own, rules, why
from alerting.bot.dispatch import Commands

TYPED = (
    first.COMMANDS | market.COMMANDS | figures.COMMANDS | own.COMMANDS | rules.COMMANDS | menu.COMMANDS | why.COMMANDS
)
TABLE = Commands(typed=TYPED | operators.COMMANDS, pressed=own.PRESSED | rules.PRESSED | menu.PRESSED)
