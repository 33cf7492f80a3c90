"""Configuration: one YAML file, overridden by `TOCSIN__SECTION__KEY` environment variables.

A secret `key` can be given as `key_file`, the path of a file that holds it. Every mistake is reported at once,
each with its key, its value (never a secret's) and what was expected. Only this module reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from tocsin_common.errors import ConfigError

ENV_PREFIX = "TOCSIN__"
ENV_CONFIG_FILE = "TOCSIN_CONFIG"
MAX_CONFIG_BYTES = 1_000_000
MAX_SHOWN_CHARS = 100


class Section(BaseModel):
    """A part of the configuration: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NatsSection(Section):
    url: str = Field(
        default="nats://127.0.0.1:4222", min_length=1, description="NATS server URL; several separated by commas."
    )
    user: str | None = Field(default=None, description="User name, where the server asks for one.")
    password: SecretStr | None = Field(default=None, description="Goes with `user`.")
    token: SecretStr | None = Field(default=None, description="Instead of user and password.")
    credentials_file_path: Path | None = Field(default=None, description="A NATS .creds file.")
    replicas: int = Field(default=1, ge=1, le=5, description="Copies of every stream: 3 in production.")


class LogSection(Section):
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is logged.")
    json_lines: bool = Field(default=True, description="One JSON object a line; otherwise text for people.")


class HealthSection(Section):
    host: str = Field(default="127.0.0.1", description="Address of the health server.")
    port: int = Field(
        default=0, ge=0, le=65535, description="Port of /livez, /readyz and /metrics; 0 chooses a free one."
    )


class PostgresSection(Section):
    url: SecretStr = Field(
        default=SecretStr("postgresql://postgres@127.0.0.1:5432/postgres"), description="PostgreSQL connection URL."
    )


class CommonSettings(Section):
    """The sections every service reads. A service's settings add its own and ignore the others'."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    nats: NatsSection = NatsSection()
    log: LogSection = LogSection()
    health: HealthSection = HealthSection()


SECTIONS = frozenset(
    {"nats", "postgres", "log", "health", "market_ingest", "signal_engine", "alerting", "paper_trader", "api_gateway"}
    | {"seed"}
)
"""Every top-level section there is: a service ignores the others', but nobody may misspell one."""

S = TypeVar("S", bound=CommonSettings)


def load(kind: type[S], *, path: Path | None = None, environ: Mapping[str, str] | None = None) -> S:
    """Read, merge and check the configuration. Raises ConfigError with every problem found."""
    tree = merged(kind, path=path, environ=environ)
    problems = [
        f"{name}: unknown section; the sections are {', '.join(sorted(SECTIONS))}."
        for name in sorted(str(name) for name in tree if name not in SECTIONS)
    ]
    problems += _read_secret_files(kind, tree)
    try:
        settings = kind.model_validate(tree)
    except ValidationError as error:
        problems += [_sentence(kind, tree, details) for details in error.errors(include_url=False)]
    if problems:
        raise ConfigError(problems)
    return settings


def merged(
    kind: type[BaseModel], *, path: Path | None = None, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """File and environment as one tree, not checked yet. Raises ConfigError when the file cannot be read."""
    environ = os.environ if environ is None else environ
    if path is None and environ.get(ENV_CONFIG_FILE):
        path = Path(environ[ENV_CONFIG_FILE])
    tree = _read_yaml(path) if path else {}
    _merge_environment(kind, tree, environ)
    return tree


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError([f"{path}: larger than {MAX_CONFIG_BYTES} bytes; this is not a configuration file."])
        tree = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); give the path of a YAML file."]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not a text file in UTF-8."]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not valid YAML: {_yaml_problem(error)}."]) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError([f"{path}: must be a mapping of sections, not a {type(tree).__name__}."])
    return tree


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Place and problem, without the line itself: it may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + (getattr(error, "problem", None) or "unreadable")


def _merge_environment(kind: type[BaseModel], tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Write `TOCSIN__A__B=value` into tree["a"]["b"]; lists and mappings are written as YAML."""
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX):
            continue
        location = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
        node = tree
        for parent in location[:-1]:
            child = node.get(parent)
            if not isinstance(child, dict):
                child = node[parent] = {}
            node = child
        node[location[-1]] = _value(_annotation(kind, location), text)


def _value(annotation: Any, text: str) -> Any:
    """The value of an environment variable: where text is wanted it is taken as it is, else read as YAML."""
    alternatives = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    if {str, SecretStr, Path} & {annotation, *alternatives}:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _annotation(kind: type[BaseModel], location: tuple[int | str, ...]) -> Any:
    """The type at a place of the settings, or None where there is no such key."""
    annotation: Any = kind
    for part in location:
        model = _model(annotation)
        if model is None or part not in model.model_fields:
            return None
        annotation = model.model_fields[str(part)].annotation
    return annotation


def _model(annotation: Any) -> type[BaseModel] | None:
    """The settings model an annotation stands for, also as `Model | None`."""
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _read_secret_files(kind: type[BaseModel], tree: dict[str, Any], where: str = "") -> list[str]:
    """Replace `key_file: path` by `key: content` for every secret field."""
    problems: list[str] = []
    for name, field in kind.model_fields.items():
        candidates = (field.annotation, *get_args(field.annotation))
        nested = _model(field.annotation)
        if nested and isinstance(tree.get(name), dict):
            problems += _read_secret_files(nested, tree[name], f"{where}{name}.")
        if SecretStr in candidates and f"{name}_file" in tree:
            path = Path(str(tree.pop(f"{name}_file")))
            if name in tree:
                problems.append(f"{where}{name}: given both directly and as {name}_file; keep one.")
            try:
                tree[name] = path.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                problem = getattr(error, "strerror", None) or "not a text file"
                problems.append(f"{where}{name}_file: {path} cannot be read ({problem}).")
    return problems


def _sentence(kind: type[BaseModel], tree: dict[str, Any], details: Any) -> str:
    """One mistake as one sentence: key, value unless it may be secret, expectation."""
    location = details["loc"]
    key = ".".join(str(part) for part in location)
    if details["type"] == "extra_forbidden":
        section = _model(_annotation(kind, location[:-1]))
        known = f"the keys here are {', '.join(section.model_fields)}" if section else "see the documented keys"
        return f"{key}: unknown key; {known}."
    if details["type"] == "missing":
        env = ENV_PREFIX + "__".join(str(part).upper() for part in location)
        return f"{key}: missing; set it in the file or as {env}."
    expectation = details["msg"].removeprefix("Value error, ").rstrip(".")
    expectation = expectation[:1].lower() + expectation[1:]
    value: Any = tree
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return f"{key}: {expectation}."
    if isinstance(value, dict | list):
        return f"{key}: {expectation}."
    shown = "(hidden)" if _is_secret(kind, location) else repr(value)[:MAX_SHOWN_CHARS]
    return f"{key}: {shown} is wrong: {expectation}."


def _is_secret(kind: type[BaseModel], location: tuple[int | str, ...]) -> bool:
    annotation = _annotation(kind, location)
    words = ("secret", "password", "token", "key", "url")
    return SecretStr in (annotation, *get_args(annotation)) or any(
        word in str(part).lower() for part in location for word in words
    )
