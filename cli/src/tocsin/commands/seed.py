"""`tocsin seed`: put the configuration's documents into the key-value buckets."""

from __future__ import annotations

from tocsin import seed as seeding
from tocsin.console import out, run
from tocsin.options import DEFAULT_DATA_DIR, ConfigOption, DataDirOption, NatsOption, Target, target
from tocsin.seed import SeedResult
from tocsin.servers import bus_for


def seed(data_dir: DataDirOption = DEFAULT_DATA_DIR, config: ConfigOption = None, nats: NatsOption = None) -> None:
    """Put the subscribers, rules, silences and portfolios of the configuration's section `seed` into NATS.

    What is missing is written, and what the configuration changed is written anew. What a person changed or deleted
    since is theirs: it is kept, and named here. `tocsin up` does this by itself; run it by hand where the services run
    without it.

    Example: `tocsin seed --config tocsin.yaml --nats nats://nats.example.org:4222`

    What happens next: running services go by the new documents at once.
    """
    results = run(_seed(target(data_dir, config, nats)))
    for name, result in results.items():
        if result != "unchanged":
            out.print(f"{result} {name}")
    unchanged = sum(result == "unchanged" for result in results.values())
    out.print(f"{len(results)} documents, {unchanged} were right already.")


async def _seed(where: Target) -> dict[str, SeedResult]:
    _, seeds = where.load()
    async with bus_for(where, "seed") as bus:
        return await seeding.apply(bus, seeds)
