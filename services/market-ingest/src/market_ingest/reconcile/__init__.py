"""Closed candles against the exchange's own: what differs, or is missing because of a gap, is published corrected."""
