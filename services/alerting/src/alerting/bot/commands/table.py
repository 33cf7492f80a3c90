"""Every command there is, and every button."""

from __future__ import annotations

from alerting.bot.commands import figures, first, market
from alerting.bot.dispatch import Commands

TABLE = Commands(typed=first.COMMANDS | market.COMMANDS | figures.COMMANDS, pressed={})
