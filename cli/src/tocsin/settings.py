"""The configuration as the command reads it: one file, checked for every service before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path

from pydantic import SecretStr, ValidationError

from tocsin.seed import Seed, SeedSection, check
from tocsin.services import SERVICES
from tocsin_common.config import ENV_CONFIG_FILE, ENV_PREFIX, CommonSettings, PostgresSection, load, merged
from tocsin_common.errors import ConfigError

DEMO_CONFIG = Path(str(files("tocsin") / "demo.yaml"))


class Settings(CommonSettings):
    """What the command itself uses. A server is embedded unless its URL is set."""

    postgres: PostgresSection = PostgresSection()
    seed: SeedSection = SeedSection()

    @property
    def nats_url(self) -> str | None:
        return self.nats.url if "url" in self.nats.model_fields_set else None

    @property
    def postgres_url(self) -> SecretStr | None:
        return self.postgres.url if "url" in self.postgres.model_fields_set else None


def environment(config: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """Our environment with a configuration file and overrides (`section.key`: YAML value) put on top."""
    return with_overrides({**os.environ, ENV_CONFIG_FILE: str(config.resolve())}, overrides)


def with_overrides(carried: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    """The same environment, with more configuration values."""
    return {**carried, **{ENV_PREFIX + key.upper().replace(".", "__"): value for key, value in overrides.items()}}


def load_own(environ: Mapping[str, str]) -> tuple[Settings, list[Seed]]:
    """The command's own part of the configuration. Raises ConfigError with every problem in it."""
    settings = load(Settings, environ=environ)
    return settings, check(settings.seed)


def check_everything(environ: Mapping[str, str]) -> None:
    """Load the configuration as the command and as every service would. Raises ConfigError with all problems."""
    problems: dict[str, None] = {}
    kinds: list[type[CommonSettings]] = [Settings, *(service.settings() for service in SERVICES)]
    for kind in kinds:
        with _noted(problems):
            load(kind, environ=environ)
    with _noted(problems), suppress(ValidationError):  # a section that is no section has been noted above
        check(SeedSection.model_validate(merged(Settings, environ=environ).get("seed", {})))
    if problems:
        raise ConfigError(list(problems))


@contextmanager
def _noted(problems: dict[str, None]) -> Iterator[None]:
    """Collect the sentences of a ConfigError, each once: sections that services share are loaded by each."""
    try:
        yield
    except ConfigError as error:
        problems |= dict.fromkeys(error.problems)
