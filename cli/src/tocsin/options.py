"""The options several commands share, and what they amount to: a data directory and a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from tocsin.datadir import DataDir
from tocsin.seed import Seed
from tocsin.settings import DEMO_CONFIG, Settings, check_everything, environment, load_own
from tocsin_common.config import ENV_CONFIG_FILE

DEFAULT_DATA_DIR = Path(".tocsin")

DataDirOption = Annotated[
    Path,
    typer.Option("--data-dir", envvar="TOCSIN_DATA_DIR", help="Where the embedded servers keep their data, and logs."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", envvar=ENV_CONFIG_FILE, help="YAML configuration file (default: the packaged demo)."),
]
NatsOption = Annotated[
    str | None,
    typer.Option("--nats", metavar="URL", help="Use this NATS server instead of an embedded one."),
]
PostgresOption = Annotated[
    str | None,
    typer.Option(
        "--postgres",
        metavar="URL",
        help="Use this PostgreSQL instead of an embedded one. A URL with a password is better given as "
        "TOCSIN__POSTGRES__URL: command lines are visible to others.",
    ),
]


@dataclass(frozen=True)
class Target:
    """What a command works on: the data directory, and the environment that carries the whole configuration."""

    data_dir: DataDir
    environment: Mapping[str, str] = field(repr=False)

    def load(self) -> tuple[Settings, list[Seed]]:
        """The command's own settings and seeds. Raises ConfigError."""
        return load_own(self.environment)

    def check(self) -> None:
        """Check the configuration for every service. Raises ConfigError with every problem."""
        check_everything(self.environment)


def target(
    data_dir: Path,
    config: Path | None,
    nats: str | None = None,
    postgres: str | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Target:
    """Put the shared options together. `overrides` are more configuration values: YAML by `section.key`."""
    urls = {name: url for name, url in (("nats.url", nats), ("postgres.url", postgres)) if url}
    return Target(DataDir(data_dir), environment(config or DEMO_CONFIG, {**(overrides or {}), **urls}))
