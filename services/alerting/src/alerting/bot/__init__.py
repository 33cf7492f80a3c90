"""The Telegram bot: one poller asks for updates, each is handled once, and its answer is recorded before it is sent.

An update's way: `poller` (who polls), `dispatch` (who asks, may they, what came of it), `commands` (the answer).
"""
