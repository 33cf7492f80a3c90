"""`tocsin alerts`: what people set, tests, the log of deliveries, and why somebody did not get an alert."""

from __future__ import annotations

import typer

from tocsin.commands.alerts import deliveries, documents, silence, verifying

app = typer.Typer(
    no_args_is_help=True,
    help="Rules, subscribers, silences, tests, the log of deliveries, and why somebody got an alert or not.",
)
app.add_typer(documents.commands("rule", "rules"), name="rules")
app.add_typer(documents.commands("subscriber", "subscribers"), name="subscribers")
app.add_typer(silence.app, name="silence")
app.command("verify")(verifying.verify)
app.command("test")(deliveries.send_test)
app.command("log")(deliveries.log)
app.command("why")(deliveries.why)
