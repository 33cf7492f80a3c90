"""Check of the configuration: as every service would load it, all mistakes at once."""

from __future__ import annotations

from tocsin.doctor.finding import Finding
from tocsin.options import Target
from tocsin.services import SERVICES
from tocsin_common.config import ENV_CONFIG_FILE
from tocsin_common.errors import ConfigError


def check_configuration(where: Target) -> list[Finding]:
    """One finding per mistake, or one that says all is well."""
    path = where.environment[ENV_CONFIG_FILE]
    try:
        where.check()
    except ConfigError as error:
        remedy = f"correct it in {path} or in the environment"
        return [Finding("config", problem=problem, remedy=remedy) for problem in error.problems]
    return [Finding("config", f"{path} loads for all {len(SERVICES)} services")]
