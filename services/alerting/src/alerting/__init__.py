"""Signals and prices become alerts, and alerts become deliveries."""

import os

os.environ.setdefault("PTB_TIMEDELTA", "true")  # python-telegram-bot: times to wait are timedelta, without a warning
