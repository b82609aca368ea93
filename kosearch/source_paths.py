"""What a path of a job stands for: a file, a folder with all below it, or a pattern such as `data/**/*.hwp`.

Whoever lists sources, watches them or checks a command has the same answer from here.
"""

import fnmatch
import os
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_WILD = re.compile(r"[*?[]")
_ANY_FOLDERS = "**"
# What programs leave beside a file while they write it, and what a desktop leaves in a folder.
_TEMPORARY_SUFFIXES = (".swp", ".swo", ".swx", ".tmp", ".temp", ".part", ".partial", ".crdownload", "~")
_DESKTOP_FILES = frozenset({"thumbs.db", "desktop.ini"})

# Where in a pattern a path may stand: places before its parts, the last one behind them all.
Places = frozenset[int]


def is_ignored(name: str) -> bool:
    """Tell whether a file or folder below a named one is left out: hidden, temporary, or the desktop's own."""
    lower = name.lower()
    return name.startswith((".", "~$")) or lower.endswith(_TEMPORARY_SUFFIXES) or lower in _DESKTOP_FILES


def is_pattern(path: Path) -> bool:
    """Tell whether a path is a pattern: it has `*`, `?` or `[`, and nothing of that very name exists."""
    return _split(path) is not None


@dataclass(frozen=True, slots=True)
class Pattern:
    """Files below a folder whose path has these parts; `**` stands for any number of folders.

    A folder that fits stands for all below it, as for a shell, so that a plain folder is the pattern `**` below itself.
    Names are compared in NFC: macOS writes them in NFD.
    """

    base: Path
    parts: tuple[str, ...]

    def start(self) -> Places:
        """Return the places of the base folder."""
        return self._closure({0})

    def step(self, places: Places, name: str) -> Places:
        """Return the places one name deeper; none when nothing there or below it can fit."""
        end = len(self.parts)
        name = unicodedata.normalize("NFC", name)
        stepped = {
            place if place == end or self.parts[place] == _ANY_FOLDERS else place + 1
            for place in places
            if place == end or _fits(self.parts[place], name)
        }
        return self._closure(stepped)

    def is_match(self, places: Places) -> bool:
        """Tell whether what stands there fits the whole pattern."""
        return len(self.parts) in places

    def matches(self, path: Path) -> bool:
        """Tell whether a path below the base fits, and no part of it is ignored."""
        return self.is_match(self._places_of(path))

    def may_hold(self, path: Path) -> bool:
        """Tell whether a path fits, or something below it may."""
        return bool(self._places_of(path))

    def _places_of(self, path: Path) -> Places:
        if path != self.base and self.base not in path.parents:
            return frozenset()
        places = self.start()
        for name in path.relative_to(self.base).parts:
            places = frozenset() if is_ignored(name) else self.step(places, name)
        return places

    def _closure(self, places: set[int]) -> Places:
        """Add the places behind `**`, which may stand for no folder."""
        reached = set(places)
        for place, part in enumerate(self.parts):
            if place in reached and part == _ANY_FOLDERS:
                reached.add(place + 1)
        return frozenset(reached)


def pattern_of(path: Path) -> Pattern:
    """Return what stands for the files of a path: the pattern that it is, or all below it as a folder."""
    return _split(path) or Pattern(path, (_ANY_FOLDERS,))


def _split(path: Path) -> Pattern | None:
    """Return the folder before the first wild part, and the parts from there on; None for a path that is no pattern."""
    if not _WILD.search(str(path)) or os.path.lexists(path):
        return None
    base = Path()
    for count, part in enumerate(path.parts):
        # A folder whose own name holds `[` is itself first.
        if _WILD.search(part) and not os.path.isdir(base / part):
            return Pattern(base, path.parts[count:])
        base /= part
    return None


def _fits(part: str, name: str) -> bool:
    return part == _ANY_FOLDERS or bool(_expression(part).match(name))


@lru_cache(maxsize=1024)
def _expression(part: str) -> re.Pattern[str]:
    part = unicodedata.normalize("NFC", part)
    return re.compile(f"{fnmatch.translate(part)}|{re.escape(part)}\\Z")
