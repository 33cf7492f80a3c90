"""The pure trading domain, used live, in paper and in backtests. No I/O, no clock, no global state."""
