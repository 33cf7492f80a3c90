"""Strategies of third parties: installed packages name theirs by entry points, and a folder holds files of them.

An entry point of the group `tocsin.strategies` names a class. Of a folder every `*.py` that does not begin with `_` is
run, and every class in it that is a strategy counts, unless its name begins with `_`. What several files need goes
into one that does: the folder is a place to import from.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from signal_engine.limited import TooSlow, limited
from signal_engine.strategies import STRATEGIES, AnyStrategy, Strategy

GROUP = "tocsin.strategies"

LOAD_S = 30.0
"""Time that each file and entry point has: an import that hangs would otherwise be a service that never starts."""

Kind = type[AnyStrategy]
Place = tuple[str, Callable[[], Iterable[Kind]]]
"""Where strategies are, in words, and what brings them."""

LOADERS = (__file__, importlib.metadata.__file__, importlib.__file__)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every strategy there is, by name, and a sentence for each place whose strategies cannot be had."""

    kinds: Mapping[str, Kind]
    problems: Sequence[str]


def catalogue(folder: Path | None = None) -> Catalogue:
    """What is shipped, installed, and in the folder."""
    found: list[tuple[str, Kind]] = [("Tocsin itself", kind) for kind in STRATEGIES.values()]
    problems: list[str] = []
    for place, bring in _places(folder):
        try:
            with limited(LOAD_S):
                found += [(place, _whole(kind)) for kind in bring()]
        except (Exception, SystemExit, TooSlow) as error:  # other people's code
            problems.append(f"{place} cannot be used: {_told(error)}")
    kinds: dict[str, Kind] = {}
    owners: dict[str, str] = {}
    for place, kind in found:
        if kinds.setdefault(kind.name, kind) is not kind:
            problems.append(
                f"there are two strategies {kind.name!r}, in {owners[kind.name]} and in {place}: rename one"
            )
        owners.setdefault(kind.name, place)
    return Catalogue(kinds, problems)


def _places(folder: Path | None) -> Iterator[Place]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        owner = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
        yield f"the entry point {point.name} ({point.value}){owner}", partial(_named_by, point)
    for path in sorted(folder.glob("*.py")) if folder else []:
        if not path.name.startswith("_"):
            yield f"the file {path}", partial(_in_file, path.resolve(), path.stat().st_mtime_ns)


def _named_by(point: EntryPoint) -> list[Kind]:
    kind = point.load()
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise TypeError(f"{kind!r} is not a subclass of Strategy")
    return [kind]


@cache
def _in_file(path: Path, _changed_ns: int) -> list[Kind]:
    """The strategies of a file as it was when it last changed: the same classes whenever they are asked for."""
    name = f"{GROUP}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module  # where annotations are looked up
    spec.loader.exec_module(module)
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name]
    kinds = [value for value in own if issubclass(value, Strategy) and not value.__name__.startswith("_")]
    if not kinds:
        raise TypeError("there is no strategy in it")
    return kinds


def _whole(kind: Kind) -> Kind:
    """The class, when nothing that a strategy must have is missing."""
    missing = [name for name in ("name", "version", "params_type") if not hasattr(kind, name)]
    missing += sorted(kind.__abstractmethods__)
    if missing:
        line = inspect.getsourcelines(kind)[1]
        raise TypeError(f"{kind.__name__} (line {line}) lacks {', '.join(missing)}")
    return kind


def _told(error: BaseException) -> str:
    """What went wrong, and the line of the file that was loaded."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    raised = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in raised if frame.filename not in LOADERS and not frame.filename.startswith("<")]
    lines = [frame.lineno for frame in frames if frame.filename == frames[0].filename]
    return f"{frames[0].filename}, line {lines[-1]}: {text}" if lines else text
