"""The picture of a signal: its candles, its levels, and what it is about, as a PNG that is read on a phone.

`chart` says what is shown and where, `draw` draws it; both are pure. `painter` draws in a process of its own, `desk`
gets the candles and `readings` the lines, has every signal drawn once, and keeps the newest pictures.
"""
