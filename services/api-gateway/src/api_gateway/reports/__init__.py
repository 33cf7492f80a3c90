"""What happened in a period: `windows` says what it is compared to, `queries` counts, `summary` draws conclusions."""
