"""Candles of the past: fetched from exchanges page by page, put before our own, served by range, written to files."""
