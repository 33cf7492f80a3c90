"""`tocsin doctor`: is everything the system needs there and right?"""

from __future__ import annotations

import typer
from rich.markup import escape

from alerting.config import AlertingSection
from alerting.config import Settings as AlertingSettings
from tocsin.console import EXIT_FAILED, out, run
from tocsin.doctor.channels import check_email, check_telegram
from tocsin.doctor.configuration import check_configuration
from tocsin.doctor.finding import Finding
from tocsin.doctor.machine import check_disk
from tocsin.doctor.nats import check_nats
from tocsin.doctor.postgresql import check_postgres
from tocsin.options import (
    DEFAULT_DATA_DIR,
    ConfigOption,
    DataDirOption,
    NatsOption,
    PostgresOption,
    Target,
    target,
)
from tocsin.servers import join_or_start
from tocsin_common.config import load
from tocsin_common.errors import TocsinError


def doctor(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    config: ConfigOption = None,
    nats: NatsOption = None,
    postgres_url: PostgresOption = None,
) -> None:
    """Check what the system needs: configuration, disk, servers, streams, migrations, clocks, credentials.

    Nothing is changed and nothing is sent: Telegram and the mail server are only logged in to. Servers that are
    embedded are started for the check when no `tocsin up` is running.

    Example: `tocsin doctor --config tocsin.yaml`

    What happens next: one line per check, with the remedy where something is wrong; exit code 1 then.
    """
    findings = run(_examine(target(data_dir, config, nats, postgres_url)))
    for finding in findings:
        mark = "[green]ok[/]     " if finding.ok else "[bold red]problem[/]"
        out.print(f"{mark} [bold]{finding.subject:<11}[/] {escape(finding.problem or finding.detail)}")
        if finding.remedy:
            out.print(f"{'':20}[yellow]{escape(finding.remedy)}[/]")
    wrong = sum(not finding.ok for finding in findings)
    said = "1 problem" if wrong == 1 else f"{wrong} problems"
    out.print(f"\n[bold red]{said}[/]" if wrong else "\n[bold green]everything is well[/]")
    if wrong:
        raise typer.Exit(EXIT_FAILED)


async def _examine(where: Target) -> list[Finding]:
    findings = [*check_configuration(where), check_disk(where.data_dir.path)]
    if not all(finding.ok for finding in findings if finding.subject == "config"):
        return findings
    try:
        findings += await _servers(where)
    except TocsinError as error:
        findings.append(Finding("servers", problem=str(error), remedy="see the servers' logs in the data directory"))
    section: AlertingSection = load(AlertingSettings, environ=where.environment).alerting
    return [*findings, await check_telegram(section.telegram), await check_email(section.email)]


async def _servers(where: Target) -> list[Finding]:
    settings, _ = where.load()
    async with join_or_start(where, "doctor") as found:
        ours = None if settings.nats_url else where.data_dir.path / "nats" / "server.conf"
        return [*await check_nats(found.nats, ours), *await check_postgres(found.postgres_url.get_secret_value())]
