"""Configuration: one file, the environment over it, every mistake at once, never a secret shown."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr, model_validator

from tocsin_common.config import CommonSettings, PostgresSection, Section, load
from tocsin_common.errors import ConfigError


class TelegramSection(Section):
    token: SecretStr | None = None
    timeout_s: float = Field(default=10, gt=0)


class AlertingSection(Section):
    telegram: TelegramSection = TelegramSection()
    sender: str = ""
    password: SecretStr | None = None
    names: list[str] = []
    channels: list[Literal["console", "webhook"]] = ["console"]
    retries: int = Field(default=3, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> AlertingSection:
        if self.password and not self.sender:
            raise ValueError("with a password, `sender` must be set")
        return self


class Settings(CommonSettings):
    postgres: PostgresSection = PostgresSection()
    alerting: AlertingSection = AlertingSection()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tocsin.yaml"
    path.write_text(text)
    return path


def problems(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(Settings, path=path, environ=environ)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_without_file_and_environment_the_defaults_hold() -> None:
    settings = load(Settings, environ={})
    assert settings == Settings()
    assert settings.nats.url == "nats://127.0.0.1:4222"


def test_the_file_is_named_by_the_environment_and_overridden_by_it(tmp_path: Path) -> None:
    path = write(tmp_path, "nats: {url: 'nats://file:1', replicas: 3}\nalerting: {channels: [webhook]}\n")
    environ = {
        "TOCSIN_CONFIG": str(path),
        "TOCSIN__NATS__URL": "nats://environment:2",
        "TOCSIN__ALERTING__TELEGRAM__TIMEOUT_S": "2.5",
        "TOCSIN__LOG__JSON_LINES": "false",
        "TOCSIN__ALERTING__CHANNELS": "[console, webhook]",
        "PATH": "/bin",
    }
    settings = load(Settings, environ=environ)
    assert (settings.nats.url, settings.nats.replicas) == ("nats://environment:2", 3)
    assert settings.alerting.telegram.timeout_s == 2.5
    assert settings.log.json_lines is False
    assert settings.alerting.channels == ["console", "webhook"]


@pytest.mark.parametrize("text", ["0123", "1e5", "true", "null", "a: b", "[x", "'quoted'", " spaced ", "#x"])
def test_text_from_the_environment_is_taken_as_it_is(text: str) -> None:
    settings = load(Settings, environ={"TOCSIN__NATS__PASSWORD": text, "TOCSIN__NATS__USER": text})
    assert settings.nats.password is not None
    assert (settings.nats.password.get_secret_value(), settings.nats.user) == (text, text)


def test_a_list_of_texts_from_the_environment_is_a_list() -> None:
    settings = load(Settings, environ={"TOCSIN__ALERTING__NAMES": "[ann, 'b o b']"})
    assert settings.alerting.names == ["ann", "b o b"]


def test_the_sections_of_other_services_and_the_seed_are_not_ours_to_judge(tmp_path: Path) -> None:
    path = write(tmp_path, "market_ingest: {anything: 1}\nseed: [what, ever]\nalerting: {retries: 1}\n")
    assert load(Settings, path=path, environ={}).alerting.retries == 1


def test_every_mistake_is_reported_at_once_with_key_value_and_expectation(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "nats: {replicas: 9, ur1: x}\n"
        "log: {level: loud}\n"
        "allerting: {}\n"
        "alerting: {retries: many, channels: [pigeon], telegram: {timeout_s: -1}}\n",
    )
    found = problems(path, TOCSIN__HEALTH__PORT="99999999")
    assert [problem.split(":")[0] for problem in found] == [
        "allerting",
        "nats.replicas",
        "nats.ur1",
        "log.level",
        "health.port",
        "alerting.telegram.timeout_s",
        "alerting.channels.0",
        "alerting.retries",
    ]
    text = "\n".join(found)
    assert "nats.replicas: 9 is wrong: input should be less than or equal to 5." in text
    assert "nats.ur1: unknown key; the keys here are url, user, password" in text
    assert "log.level: 'loud' is wrong: input should be 'debug', 'info', 'warning' or 'error'." in text
    assert "the sections are alerting, api_gateway" in text
    assert "alerting.channels.0: 'pigeon' is wrong" in text


def test_a_section_that_is_no_mapping_is_a_mistake(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "nats: 5\n"))[0].startswith("nats: 5 is wrong: input should be a valid dictionary")


def test_no_problem_ever_shows_a_secret(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "nats: {password: [hunter2], token: {x: hunter2}}\n"
        "postgres: {url: [hunter2]}\n"
        "alerting: {password: hunter2, telegram: {token: 5, password: hunter2}}\n",
    )
    found = problems(path, TOCSIN__NATS__URL="nats://me:hunter2@host", TOCSIN__NATS__REPLICAS="0")
    assert len(found) == 6
    assert "hunter2" not in "\n".join(found)


def test_a_broken_file_is_described_without_its_lines(tmp_path: Path) -> None:
    [problem] = problems(write(tmp_path, 'nats:\n  password: "hunter2\n  url: x\n'))
    assert "not valid YAML: line " in problem
    assert "hunter2" not in problem


def test_settings_never_print_their_secrets() -> None:
    settings = load(Settings, environ={"TOCSIN__NATS__PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings) + str(settings)


def test_a_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hunter2\n")
    path = write(tmp_path, f"alerting: {{telegram: {{token_file: {secret}}}}}\n")
    settings = load(Settings, path=path, environ={"TOCSIN__NATS__PASSWORD_FILE": str(secret)})
    assert settings.alerting.telegram.token is not None
    assert settings.nats.password is not None
    assert settings.alerting.telegram.token.get_secret_value() == "hunter2"
    assert settings.nats.password.get_secret_value() == "hunter2"


def test_a_secret_file_that_is_missing_or_given_twice_is_a_mistake(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hunter2")
    path = write(tmp_path, f"nats: {{password: hunter2, password_file: {secret}, token_file: {tmp_path}/none}}\n")
    assert problems(path) == [
        "nats.password: given both directly and as password_file; keep one.",
        f"nats.token_file: {tmp_path}/none cannot be read (No such file or directory).",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- a\n- b\n", "must be a mapping of sections, not a list"), ("a: b: c\n", "not valid YAML: line 1, column 5")],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(write(tmp_path, text))[0]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    [problem] = problems(tmp_path / "none.yaml")
    assert problem == f"{tmp_path}/none.yaml: cannot be read (No such file or directory); give the path of a YAML file."


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(Settings, path=write(tmp_path, ""), environ={}) == Settings()
