"""The commands, one file per family: each is given a `Question` and the `Desk`, and answers or raises `Refusal`."""
