"""Rules, subscribers and silences as people see and change them, and the answers to what became of alerts.

`core` is what every door uses: the endpoints in `serving`, and whoever else lets somebody in within this process.
"""
