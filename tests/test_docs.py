"""Documents that can go stale are held to the program they describe."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tocsin.catalogue import SUMMARIES
from tocsin.seed import SeedSection, check
from tocsin_common.decoding import decode
from tocsin_common.documents import AlertRule, Portfolio, Subscriber

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "deploy").rglob("*.md"))


def code(page: Path) -> str:
    """Everything on a page that is set as code."""
    text = page.read_text()
    return "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))


def test_the_configuration_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("configuration_page", ROOT / "docs/configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    current = module.page() == (ROOT / "docs/configuration.md").read_text()
    assert current, "the settings changed: run `.venv/bin/python docs/configuration.py`"


def test_documents_link_to_files_that_exist() -> None:
    link = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\":]+)\"")
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for match in link.finditer(page.read_text())
        if not (page.parent / (target := match[1] or match[2])).exists()
    ]
    assert not broken


def test_documents_name_only_commands_that_exist() -> None:
    unknown = [
        f"{page.relative_to(ROOT)}: tocsin {word}"
        for page in PAGES
        for word in re.findall(r"(?:^|(?<!namespace)(?<!entrypoint)[\s/])tocsin ([a-z-]+)", code(page), re.MULTILINE)
        if word not in SUMMARIES
    ]
    assert not unknown


def test_documents_name_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {(page.name, word) for page in PAGES for word in re.findall(r"\bmake ([a-z-]+)", code(page))}
    assert {word for _, word in named} <= targets


def test_the_configuration_in_the_readme_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tocsin.settings import check_everything, environment

    [example] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "tocsin.yaml").write_text(textwrap.dedent(example))
    (tmp_path / "telegram-token").write_text("123456:a-token")
    monkeypatch.chdir(tmp_path)
    check_everything(environment(Path("tocsin.yaml"), {}))


def test_the_documents_in_the_instructions_are_accepted() -> None:
    kinds: dict[str, Any] = {"subscribers": Subscriber, "alert_rules": AlertRule, "portfolios": Portfolio}
    text = (ROOT / "docs/operations.md").read_text()
    (shown,) = re.findall(r"```yaml\n(seed:.*?)```", text, re.DOTALL)
    assert {seed.bucket.name for seed in check(SeedSection(**yaml.safe_load(shown)["seed"]))} == set(kinds)
    (put,) = re.findall(r"kv put (\w+) \w+ '(\{.*?\})'", text)
    decode(put[1].encode(), kinds[put[0]])
