"""The examples of a stage: named sources, cleaned of evaluation sentences, as `datasets.Dataset` objects."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset  # type: ignore[import-untyped]  # it ships no types

from kosearch.text import normalise
from trainer import datasets as labelled
from trainer.corpora import Document, read_kowiki, read_law_articles, read_movie_reviews, read_precedents
from trainer.english_teacher import teacher_rows
from trainer.errors import RecipeError
from trainer.leak_check import LeakCheck, korquad_titles, protect_evaluation_sets
from trainer.recipe import Objective, Source

# Characters of a passage that a training pair keeps; the tokenizer cuts further.
_PASSAGE_LENGTH = 240


class ExampleSources:
    """Reads examples from one data folder. Corpora are read once and kept."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self._seed = seed

    @cached_property
    def leak_check(self) -> LeakCheck:
        """The check that every example went through; its counts go into the model card."""
        return protect_evaluation_sets(self.folder)

    @cached_property
    def wikipedia(self) -> list[Document]:
        """All Wikipedia pages but those from which KorQuAD dev takes its paragraphs."""
        excluded = korquad_titles(self.folder)
        pages = list(read_kowiki(self.folder))
        kept = [page for page in pages if page.title not in excluded]
        self.leak_check.removed["wikipedia pages | KorQuAD dev pages"] = len(pages) - len(kept)
        return kept

    @cached_property
    def law_articles(self) -> list[Document]:
        """All articles of the statutes."""
        return list(read_law_articles(self.folder))

    def load(self, source: Source, objective: Objective) -> Dataset:
        """The examples of a source, checked, thinned to its limit, repeated and shuffled."""
        reader = _READERS[objective].get(source.name)
        if reader is None:
            known = ", ".join(sorted(_READERS[objective]))
            raise RecipeError(f"unknown {objective} source {source.name!r}; known: {known}")
        rng = random.Random(f"{self._seed} {source.name}")
        read = reader(self, rng)
        if source.limit and isinstance(read, Iterator):  # a corpus, shuffled already: what is not needed is not made
            read = islice(read, source.limit + source.limit // 10)
        examples = self.leak_check.clean(source.name, read)
        if source.limit and len(examples) > source.limit:
            examples = rng.sample(examples, source.limit)
        repeated = [example for _ in range(source.repeat) for example in rng.sample(examples, len(examples))]
        return _as_dataset(repeated, objective)

    def korsts(self, _: random.Random) -> Iterable[labelled.ScoredPair]:
        return labelled.korsts_train(self.folder)

    def klue_sts(self, _: random.Random) -> Iterable[labelled.ScoredPair]:
        return labelled.klue_sts_train(self.folder)

    def nli_triplets(self, _: random.Random) -> Iterable[labelled.Triplet]:
        return labelled.nli_triplets(self.folder)

    def nli_pairs(self, _: random.Random) -> Iterable[labelled.Pair]:
        return labelled.nli_pairs(self.folder)

    def paraphrases(self, rng: random.Random) -> Iterable[labelled.Pair]:
        return labelled.cluster_pairs(labelled.paraphrase_clusters(self.folder), 3, rng)

    def welfare(self, _: random.Random) -> Iterable[labelled.Pair]:
        return labelled.welfare_pairs(self.folder)

    def open_domain(self, _: random.Random) -> Iterable[labelled.Pair]:
        pages = {page.document_id: page for page in self.wikipedia}
        for query, page_id in labelled.open_domain_queries(self.folder):
            page = pages.get(page_id)
            if page is not None:
                window = labelled.best_window(query, page.text, _PASSAGE_LENGTH)
                yield query, f"{normalise(page.title)} {window}"

    def wikipedia_titles(self, rng: random.Random) -> Iterator[labelled.Pair]:
        return labelled.title_pairs(shuffled(self.wikipedia, rng), _PASSAGE_LENGTH)

    def wikipedia_cloze(self, rng: random.Random) -> Iterator[labelled.Pair]:
        return labelled.cloze_pairs(shuffled(self.wikipedia, rng), _PASSAGE_LENGTH, rng)

    def laws(self, rng: random.Random) -> Iterator[labelled.Pair]:
        return labelled.title_pairs(shuffled(self.law_articles, rng), _PASSAGE_LENGTH)

    def precedents(self, rng: random.Random) -> Iterator[labelled.Pair]:
        return labelled.title_pairs(shuffled(read_precedents(self.folder), rng), _PASSAGE_LENGTH)

    @cached_property
    def teacher_rows(self) -> list[tuple[str, list[float]]]:
        """Korean sentences with the English teacher's embeddings; computed once for all stages."""
        return teacher_rows(self.folder)

    def english_teacher(self, _: random.Random) -> Iterable[tuple[str, list[float]]]:
        return self.teacher_rows

    def foundation_texts(self, step: int) -> Iterator[str]:
        """Texts from which tokenizer and static embeddings are made: a sample of each corpus, all labelled texts."""
        for page in self.wikipedia[::step]:
            yield normalise(page.title)
            yield normalise(page.text[:500])
        others = (read_law_articles, 5), (read_precedents, 5), (read_movie_reviews, 1)
        for reader, factor in others:
            for document in islice(reader(self.folder), 0, None, step * factor):
                yield normalise(document.title[:300])
                yield normalise(document.text[:500])
        rng = random.Random(self._seed)
        for read in (self.korsts, self.klue_sts, self.nli_triplets, self.paraphrases, self.welfare):
            for example in self.leak_check.clean("foundation", read(rng)):
                yield from (value for value in example if isinstance(value, str))


_Reader = Callable[[ExampleSources, random.Random], Iterable[Sequence[Any]]]
_READERS: dict[Objective, dict[str, _Reader]] = {
    Objective.RANKING: {
        "nli_triplets": ExampleSources.nli_triplets,
        "nli_pairs": ExampleSources.nli_pairs,
        "paraphrases": ExampleSources.paraphrases,
        "welfare": ExampleSources.welfare,
        "open_domain": ExampleSources.open_domain,
        "wikipedia_titles": ExampleSources.wikipedia_titles,
        "wikipedia_cloze": ExampleSources.wikipedia_cloze,
        "laws": ExampleSources.laws,
        "precedents": ExampleSources.precedents,
    },
    Objective.SIMILARITY: {"korsts": ExampleSources.korsts, "klue_sts": ExampleSources.klue_sts},
    Objective.DISTILLATION: {"english_teacher": ExampleSources.english_teacher},
}


def objective_of(source_name: str) -> Objective:
    """The objective that a source is trained with. Raises RecipeError for a name that no reader has."""
    for objective, readers in _READERS.items():
        if source_name in readers:
            return objective
    raise RecipeError(f"unknown source {source_name!r}; known: {', '.join(sorted(all_source_names()))}")


def all_source_names() -> set[str]:
    """Every name that a recipe may use."""
    return {name for readers in _READERS.values() for name in readers}


def shuffled(documents: Iterable[Document], rng: random.Random) -> Iterator[Document]:
    """The documents in random order."""
    everything = list(documents)
    yield from rng.sample(everything, len(everything))


def _as_dataset(examples: Sequence[Sequence[Any]], objective: Objective) -> Dataset:
    if not examples:
        raise RecipeError("a source gave no example; is the data folder complete?")
    columns = list(zip(*examples, strict=True))
    names = {
        Objective.RANKING: ["anchor", "positive", "negative"][: len(columns)],
        Objective.SIMILARITY: ["sentence1", "sentence2", "score"],
        Objective.DISTILLATION: ["sentence", "label"],
    }[objective]
    return Dataset.from_dict({name: list(column) for name, column in zip(names, columns, strict=True)})
