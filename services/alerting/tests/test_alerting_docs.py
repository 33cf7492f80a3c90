"""docs/alerts.md is held to the program it describes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerting.config import Settings
from alerting.reasons import Suppressed
from tocsin_common.config import load
from tocsin_common.decoding import decode
from tocsin_common.documents import AlertRule, Silence, Subscriber

PAGE = (Path(__file__).resolve().parents[3] / "docs/alerts.md").read_text()
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
CONFIGURATIONS = [example for example in EXAMPLES if "alerting" in example]
DOCUMENTS = [example for example in EXAMPLES if "alerting" not in example]


@pytest.mark.parametrize("example", DOCUMENTS, ids=lambda example: next(iter(example)))
def test_every_document_on_the_page_is_accepted(example: dict[str, Any]) -> None:
    kinds: dict[str, Any] = {"kind": AlertRule, "subscriber_id": Subscriber, "silence_id": Silence}
    for document in example.get("alert_rules", [example]):
        kind = next(kind for key, kind in kinds.items() if key in document)
        decode(json.dumps(document).encode(), kind)


@pytest.mark.parametrize("example", CONFIGURATIONS, ids=lambda example: next(iter(example["alerting"])))
def test_every_configuration_on_the_page_is_accepted(example: dict[str, Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("k" * 44)
    path = tmp_path / "tocsin.yaml"
    path.write_text(re.sub(r"(\w+_file): \S+", rf"\1: {secret}", yaml.safe_dump(example)))
    load(Settings, path=path, environ={})


def test_every_kind_of_rule_and_every_reason_is_on_the_page() -> None:
    kinds = [kind.__struct_config__.tag for kind in AlertRule.__args__]
    missing = [name for name in (*kinds, *Suppressed) if f"`{name}`" not in PAGE]
    assert not missing
