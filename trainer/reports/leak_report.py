"""What the leak check removes from every source of a data folder, with near matches for a person to judge."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from trainer.data.leak_check import NEAR
from trainer.errors import TrainingDataError
from trainer.recipe import MaskedLanguageStage, Recipe
from trainer.reports.tables import markdown_table
from trainer.teachers.english import parallel_sentences
from trainer.training.mixture import SOURCES, ExampleSources

# A corpus gives as many examples as anyone wants; so many of them are checked when no recipe says how many it takes.
_CORPUS_EXAMPLES = 50_000


@dataclass(frozen=True, slots=True)
class SourceLeaks:
    """What was removed from one source.

    removed: protected set -> (examples with a text of it, examples with a near duplicate of one)
    near_matches: (training text, protected set, protected text without spaces and punctuation)
    """

    source: str
    example_count: int
    removed: dict[str, tuple[int, int]]
    near_matches: list[tuple[str, str, str]]


def limits_of(recipe: Recipe) -> dict[str, int]:
    """The sources of a recipe with the most examples that any stage takes of each; 0 takes all."""
    limits: dict[str, int] = {}
    for stage in recipe.stages:
        for source in () if isinstance(stage, MaskedLanguageStage) else stage.sources:
            known = limits.get(source.name, source.limit)
            limits[source.name] = 0 if 0 in (known, source.limit) else max(known, source.limit)
    return limits


def check_sources(folder: Path, limits: dict[str, int], seed: int) -> Iterator[SourceLeaks]:
    """Check the sources named in `limits` one after the other, and no more examples of each than it allows.

    A source whose files are absent is left out when it is one of several.
    """
    sources = ExampleSources(folder, seed)
    for name, limit in limits.items():
        try:
            examples = _examples(sources, name, limit, random.Random(f"{seed} {name}"))
        except TrainingDataError:
            if len(limits) == 1:
                raise
            continue
        sources.leak_check.clean(name, examples)
        yield _leaks_of(sources, name, len(examples))


def all_limits() -> dict[str, int]:
    """Every source there is, all of its examples."""
    return dict.fromkeys(SOURCES, 0)


def _examples(sources: ExampleSources, name: str, limit: int, rng: random.Random) -> list[Sequence[Any]]:
    read: Iterable[Sequence[Any]]
    if name == "english_teacher":  # its texts need no teacher
        read = [(korean,) for korean, _ in dict.fromkeys(parallel_sentences(sources.folder))]
    else:
        read = SOURCES[name].read(sources, rng)
    if isinstance(read, Iterator) or limit:
        read = islice(read, limit or _CORPUS_EXAMPLES)
    return list(read)


def _leaks_of(sources: ExampleSources, name: str, example_count: int) -> SourceLeaks:
    check = sources.leak_check
    counts = {key.removeprefix(f"{name} | "): count for key, count in check.removed.items() if _is_of(key, name)}
    sets = dict.fromkeys(protected.removesuffix(NEAR) for protected in counts)
    matches = [
        (text, key.removeprefix(f"{name} | ").removesuffix(NEAR), protected)
        for key, found in check.near_matches.items()
        if _is_of(key, name)
        for text, protected in found
    ]
    removed = {protected: (counts.get(protected, 0), counts.get(protected + NEAR, 0)) for protected in sets}
    return SourceLeaks(name, example_count, removed, matches)


def _is_of(key: str, source: str) -> bool:
    return key.startswith(f"{source} | ")


def leak_table(leaks: Sequence[SourceLeaks]) -> str:
    """One row for each source and protected set from which anything was removed, and one for each clean source."""
    rows = []
    for source in leaks:
        rows += [
            [source.source, protected, f"{exact:,}", f"{near:,}", f"{source.example_count:,}"]
            for protected, (exact, near) in source.removed.items()
        ] or [[source.source, "-", "0", "0", f"{source.example_count:,}"]]
    return markdown_table(["Examples of", "Protected set", "Equal", "Nearly equal", "Examples checked"], rows)


def match_lines(leaks: Sequence[SourceLeaks], count: int) -> list[str]:
    """Up to `count` near matches of each source, each text above the one it almost equals."""
    lines: list[str] = []
    for source in leaks:
        for text, protected_set, protected in source.near_matches[:count]:
            lines += [f"{source.source} ~ {protected_set}", f"  trained  {text}", f"  tested   {protected}"]
    return lines
