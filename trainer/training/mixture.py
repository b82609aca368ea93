"""The examples of a stage: named sources, cleaned of evaluation sentences, as `datasets.Dataset` objects."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from kosearch.text import normalise
from trainer.data import datasets as labelled
from trainer.data.corpora import (
    Document,
    every_nth,
    read_kowiki,
    read_law_articles,
    read_movie_reviews,
    read_precedents,
)
from trainer.data.leak_check import LeakCheck, korquad_titles, protect_evaluation_sets
from trainer.errors import RecipeError
from trainer.recipe import Objective, Source
from trainer.teachers.english import parallel_sentences, teacher_rows
from trainer.teachers.teaching import encode_as, encode_words_as, load_teacher_model, neighbour_groups
from trainer.training.losses import word_label

# Characters of a passage that a training pair keeps; the tokenizer cuts further.
_PASSAGE_LENGTH = 240
# The same for paragraphs, shortest and longest, as surroundings of a sentence and as texts for a teacher.
_PARAGRAPH_LENGTHS = (240, 640)
# Tokens that a teacher reads of each kind of text, and texts that it finds alike in one example.
_SENTENCE_TOKENS, _PASSAGE_TOKENS, _PARAGRAPH_TOKENS = 64, 96, 256
_GROUP_SIZE = 4
# How much of each corpus a teacher is asked about, and which of its sentences.
_PAGE_STEP, _LAW_STEP, _REVIEW_STEP = 5, 20, 8
_SHORTEST, _LONGEST = 6, 160
# Passages without an answer among which hard negatives are looked for, and how many of the nearest are looked at.
_NEGATIVE_PAGES = 20_000
_MINING_DEPTH = 50


class ExampleSources:
    """Reads examples from one data folder. Corpora are read once and kept."""

    def __init__(self, folder: Path, seed: int, teacher: str | None = None) -> None:
        self.folder = folder
        self._seed = seed
        self._teacher = teacher

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

    def load(self, source: Source, start_model: SentenceTransformer | None = None) -> Dataset:
        """The examples of a source, checked, thinned to its limit, repeated and shuffled.

        `start_model` finds the hard negatives of a source that asks for mined ones.
        """
        reader = _reader_of(source.name)
        rng = random.Random(f"{self._seed} {source.name}")
        read = reader.read(self, rng)
        if source.limit and isinstance(read, Iterator):  # a corpus, shuffled already: what is not needed is not made
            read = islice(read, source.limit + source.limit // 10)
        examples: list[Any] = self.leak_check.clean(source.name, read)
        if source.limit and len(examples) > source.limit:
            examples = rng.sample(examples, source.limit)
        if reader.taught_as and reader.form is Form.SCORED:
            examples = self._scored_by_teacher(reader.taught_as, examples)
        elif reader.taught_as:
            examples = self._taught(reader, [text for (text,) in examples], objective_of(source))
        if source.mined_negatives and start_model is not None:
            examples = mine_negatives(
                examples, self.negative_passages(source.name), start_model, source.mined_negatives
            )
        repeated = [example for _ in range(source.repeat) for example in rng.sample(examples, len(examples))]
        return _as_dataset(source.name, repeated, reader.form)

    def negative_passages(self, source_name: str) -> list[str]:
        """Passages beside a source's own positives among which hard negatives are looked for."""
        if source_name != "open_domain":
            return []
        answers = {page_id for _, page_id in labelled.open_domain_queries(self.folder)}
        others = [page for page in self.wikipedia if page.document_id not in answers]
        rng = random.Random(f"{self._seed} negative passages")
        pages = rng.sample(others, min(_NEGATIVE_PAGES, len(others)))
        return [f"{normalise(page.title)} {normalise(page.text[:_PASSAGE_LENGTH])}" for page in pages]

    def wikipedia_texts(self, page_limit: int) -> list[str]:
        """Normalised pages, title first, for pretraining: all of them, or `page_limit` drawn evenly."""
        rng = random.Random(f"{self._seed} pretraining")
        pages = self.wikipedia
        if page_limit and len(pages) > page_limit:
            pages = rng.sample(pages, page_limit)
        return [normalise(f"{page.title}. {page.text}") for page in pages]

    def _taught(self, reader: SourceReader, texts: list[str], objective: Objective) -> list[tuple[Any, ...]]:
        """Each text, or each group of texts that the teacher finds alike, with what the teacher says about it."""
        if objective is Objective.WORD_DISTILLATION:
            embeddings, words = self.teacher_words(reader.taught_as, texts, reader.teacher_tokens)
        else:
            embeddings = self.teacher_embeddings(reader.taught_as, texts, reader.teacher_tokens)  # (texts, teacher dim)
        if reader.form is Form.TAUGHT:
            return list(zip(texts, embeddings, strict=True))
        groups = neighbour_groups(embeddings, _GROUP_SIZE, np.random.default_rng(self._seed))  # (groups, size)
        if objective is Objective.WORD_DISTILLATION:
            return [
                (*(texts[i] for i in group), word_label(embeddings[group], [words[i] for i in group]))
                for group in groups
            ]
        return [(*(texts[i] for i in group), embeddings[group].reshape(-1)) for group in groups]

    def _scored_by_teacher(self, role: str, pairs: list[tuple[str, str]]) -> list[tuple[str, str, float]]:
        """Each pair with the teacher's cosine as its score: for a correlation only the order and distances count."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        embeddings = dict(zip(texts, self.teacher_embeddings(role, texts, _SENTENCE_TOKENS), strict=True))
        return [(first, second, float(embeddings[first] @ embeddings[second])) for first, second in pairs]

    def teacher_embeddings(self, role: str, texts: list[str], max_tokens: int) -> NDArray[np.float32]:
        """The run's teacher on texts in a role. Shape (texts, dim), unit rows. Raises RecipeError without one."""
        return encode_as(role, self._teacher_model, texts, max_tokens)

    def teacher_words(
        self, role: str, texts: list[str], max_tokens: int
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float16]]]:
        """The same and, for each text, the standardised words as of `encode_words_as`."""
        return encode_words_as(role, self._teacher_model, texts, max_tokens)

    @property
    def _teacher_model(self) -> SentenceTransformer:
        if self._teacher is None:
            raise RecipeError("this recipe imitates a teacher: name its hub id or directory with --teacher")
        return load_teacher_model(self._teacher)

    def korsts(self, _: random.Random) -> Iterable[labelled.ScoredPair]:
        return labelled.korsts_train(self.folder)

    def klue_sts(self, _: random.Random) -> Iterable[labelled.ScoredPair]:
        return labelled.klue_sts_train(self.folder)

    def nli_labelled(self, _: random.Random) -> Iterable[labelled.LabelledPair]:
        return labelled.nli_labelled(self.folder)

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
        return labelled.cloze_pairs(shuffled(self.wikipedia, rng), _PARAGRAPH_LENGTHS, rng)

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

    def taught_sentences(self, rng: random.Random) -> Iterable[tuple[str]]:
        """Every text of the labelled sets once."""
        readers = (self.korsts, self.klue_sts, self.nli_triplets, self.paraphrases)
        texts = (value for read in readers for example in read(rng) for value in example if isinstance(value, str))
        return [(text,) for text in dict.fromkeys(texts)]

    def taught_pairs(self, rng: random.Random) -> Iterable[labelled.Pair]:
        """The pairs of the labelled sets without their labels, each once, shuffled."""
        readers = (self.korsts, self.klue_sts, self.nli_labelled)
        pairs = list(dict.fromkeys((example[0], example[1]) for read in readers for example in read(rng)))
        return rng.sample(pairs, len(pairs))

    def taught_wikipedia(self, rng: random.Random) -> Iterator[tuple[str]]:
        """A few sentences of each page."""
        for page in shuffled(self.wikipedia, rng):
            sentences = [s for s in labelled.sentences_of(page.text) if 10 <= len(s) <= 150]
            yield from ((sentence,) for sentence in rng.sample(sentences, min(3, len(sentences))))

    def alike_sentences(self, rng: random.Random) -> Iterator[tuple[str]]:
        """Sentences and questions of every kind, shuffled: the labelled sets, Wikipedia, statutes, reviews."""
        labelled_sets = (self.korsts, self.klue_sts, self.nli_labelled, self.welfare)
        texts = [value for read in labelled_sets for example in read(rng) for value in example[:2]]
        texts += [query for query, _ in labelled.open_domain_queries(self.folder)]
        texts += [korean for korean, _ in parallel_sentences(self.folder)]
        paraphrases = [text for cluster in labelled.paraphrase_clusters(self.folder) for text in cluster]
        texts += rng.sample(paraphrases, len(paraphrases) // 3)
        reviews = every_nth(read_movie_reviews(self.folder), _REVIEW_STEP)
        texts += [normalise(review.text) for review in reviews]
        for page in self.wikipedia[::_PAGE_STEP]:
            texts += rng.sample(sentences := labelled.sentences_of(page.text[:700]), min(1, len(sentences)))
        for article in self.law_articles[::_LAW_STEP]:
            texts += labelled.sentences_of(article.text)[:2]
        fitting = [text for text in dict.fromkeys(texts) if _SHORTEST <= len(text) <= _LONGEST]
        yield from ((text,) for text in rng.sample(fitting, len(fitting)))

    def alike_passages(self, rng: random.Random) -> Iterator[tuple[str]]:
        """Passages of Wikipedia pages, statutes, precedents, welfare answers and gold pages, shuffled."""
        texts = [answer[:_PASSAGE_LENGTH] for _, answer in self.welfare(rng)]
        texts += [passage for _, passage in self.open_domain(rng)]
        for page in self.wikipedia[:: 2 * _PAGE_STEP]:
            windows = labelled.sentence_windows(page.text, _PASSAGE_LENGTH - 40)
            texts += [f"{normalise(page.title)} {window}"[:_PASSAGE_LENGTH] for window in windows[:1]]
        for document in [*self.law_articles[:: 2 * _LAW_STEP], *every_nth(read_precedents(self.folder), 2 * _LAW_STEP)]:
            texts.append(f"{normalise(document.title)} {normalise(document.text)}"[:_PASSAGE_LENGTH])
        distinct = list(dict.fromkeys(texts))
        yield from ((text,) for text in rng.sample(distinct, len(distinct)))

    def alike_paragraphs(self, rng: random.Random) -> Iterator[tuple[str]]:
        """Stretches of Wikipedia pages, half of them behind the page's title, and what the gold pages answer with."""
        shortest, longest = _PARAGRAPH_LENGTHS
        gold = {page_id: query for query, page_id in labelled.open_domain_queries(self.folder)}
        for page in shuffled(self.wikipedia, rng):
            length = rng.randint(shortest, longest - 100)
            if page.document_id in gold:
                window = labelled.best_window(gold[page.document_id], page.text, length)
            else:
                window = rng.choice(labelled.sentence_windows(page.text, length) or [page.text])
            title = f"{normalise(page.title)} " if rng.random() < 0.5 else ""
            yield (f"{title}{window}"[:longest],)

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


class Form(StrEnum):
    """What the examples of a source are made of."""

    PAIRS = "pairs"  # (anchor, positive[, hard negatives])
    SCORED = "scored"  # (text, text, score in [0, 1])
    LABELLED = "labelled"  # (premise, hypothesis, index of the label)
    TAUGHT = "taught"  # (text, teacher's unit embedding)
    GROUPS = "groups"  # (texts that the teacher finds alike, their unit embeddings one after the other)


# The objectives that each form can be trained with; the first is the usual one.
_OBJECTIVES = {
    Form.PAIRS: (Objective.RANKING,),
    Form.SCORED: (Objective.SIMILARITY, Objective.REGRESSION, Objective.COSENT),
    Form.LABELLED: (Objective.CLASSIFICATION,),
    Form.TAUGHT: (Objective.DISTILLATION, Objective.EMBEDDING_DISTILLATION),
    Form.GROUPS: (Objective.GROUP_DISTILLATION, Objective.WORD_DISTILLATION),
}


@dataclass(frozen=True, slots=True)
class SourceReader:
    """How a source is read.

    taught_as: it gives texts, or pairs without scores, and the run's teacher embeds them in this role
    teacher_tokens: how many tokens of each the teacher reads
    """

    form: Form
    read: Callable[[ExampleSources, random.Random], Iterable[Sequence[Any]]]
    taught_as: str = ""
    teacher_tokens: int = _SENTENCE_TOKENS


SOURCES = {
    "nli_labelled": SourceReader(Form.LABELLED, ExampleSources.nli_labelled),
    "nli_triplets": SourceReader(Form.PAIRS, ExampleSources.nli_triplets),
    "nli_pairs": SourceReader(Form.PAIRS, ExampleSources.nli_pairs),
    "paraphrases": SourceReader(Form.PAIRS, ExampleSources.paraphrases),
    "welfare": SourceReader(Form.PAIRS, ExampleSources.welfare),
    "open_domain": SourceReader(Form.PAIRS, ExampleSources.open_domain),
    "wikipedia_titles": SourceReader(Form.PAIRS, ExampleSources.wikipedia_titles),
    "wikipedia_cloze": SourceReader(Form.PAIRS, ExampleSources.wikipedia_cloze),
    "laws": SourceReader(Form.PAIRS, ExampleSources.laws),
    "precedents": SourceReader(Form.PAIRS, ExampleSources.precedents),
    "korsts": SourceReader(Form.SCORED, ExampleSources.korsts),
    "klue_sts": SourceReader(Form.SCORED, ExampleSources.klue_sts),
    "english_teacher": SourceReader(Form.TAUGHT, ExampleSources.english_teacher),
    "taught_sentences": SourceReader(Form.TAUGHT, ExampleSources.taught_sentences, taught_as="query"),
    "taught_wikipedia": SourceReader(Form.TAUGHT, ExampleSources.taught_wikipedia, taught_as="query"),
    "taught_pairs": SourceReader(Form.SCORED, ExampleSources.taught_pairs, taught_as="query"),
    "alike_sentences": SourceReader(Form.GROUPS, ExampleSources.alike_sentences, taught_as="query"),
    "alike_passages": SourceReader(Form.GROUPS, ExampleSources.alike_passages, "document", _PASSAGE_TOKENS),
    "alike_paragraphs": SourceReader(Form.GROUPS, ExampleSources.alike_paragraphs, "document", _PARAGRAPH_TOKENS),
}


def objective_of(source: Source) -> Objective:
    """What a source is trained with. Raises RecipeError for an unknown source and for an objective it cannot have."""
    possible = _OBJECTIVES[_reader_of(source.name).form]
    if source.objective is None:
        return possible[0]
    if source.objective not in possible:
        raise RecipeError(f"source {source.name!r} can be trained with {', '.join(possible)}, not {source.objective}")
    return source.objective


def dataset_name(source: Source) -> str:
    """The name of a source's examples inside a stage, which may train one source with two objectives."""
    return source.name if source.objective is None else f"{source.name}_{source.objective}"


def mine_negatives(
    pairs: Sequence[Sequence[Any]], passages: list[str], model: SentenceTransformer, count: int
) -> list[tuple[str, ...]]:
    """(anchor, positive, `count` hard negatives) for each pair that has so many.

    Negatives are the passages, or other pairs' positives, nearest to the anchor but at least 5 % farther than its own
    positive: what is nearer is too often right as well. Source: NV-Retriever, Moreira et al., 2024 (TopK-PercPos).
    """
    if len(pairs) + len(passages) <= count:
        raise RecipeError(f"{len(pairs)} pairs are too few to find {count} hard negatives in; is the data complete?")
    mined = mine_hard_negatives(
        _as_dataset("mining", [pair[:2] for pair in pairs], Form.PAIRS),
        model,
        corpus=passages or None,
        range_max=min(_MINING_DEPTH, len(pairs) + len(passages) - 1),
        relative_margin=0.05,
        num_negatives=count,
        output_format="n-tuple",
        batch_size=64,
        verbose=False,
    )
    if len(mined) == 0:
        raise RecipeError(
            f"none of {len(pairs)} pairs has {count} hard negatives: all passages look alike to the model; "
            "give one that is trained further with --base-model"
        )
    return [tuple(row.values()) for row in mined]


def _reader_of(source_name: str) -> SourceReader:
    reader = SOURCES.get(source_name)
    if reader is None:
        raise RecipeError(f"unknown source {source_name!r}; known: {', '.join(sorted(SOURCES))}")
    return reader


def shuffled(documents: Iterable[Document], rng: random.Random) -> Iterator[Document]:
    """The documents in random order."""
    everything = list(documents)
    yield from rng.sample(everything, len(everything))


def _as_dataset(source_name: str, examples: Sequence[Sequence[Any]], form: Form) -> Dataset:
    if not examples:
        raise RecipeError(f"source {source_name!r} gave no example; is the data folder complete?")
    columns = list(zip(*examples, strict=True))
    negatives = ["negative", *(f"negative_{number}" for number in range(2, len(columns)))]
    names = {
        Form.PAIRS: ["anchor", "positive", *negatives][: len(columns)],
        Form.SCORED: ["sentence1", "sentence2", "score"],
        Form.LABELLED: ["sentence1", "sentence2", "label"],
        Form.TAUGHT: ["sentence", "label"],
        Form.GROUPS: [*(f"text_{number}" for number in range(1, len(columns))), "label"],
    }[form]
    return Dataset.from_dict({name: list(column) for name, column in zip(names, columns, strict=True)})
