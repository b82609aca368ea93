"""Training examples from the labelled sets: one function a source, each returns normalised texts in file order.

Nothing here is for evaluation; `leak_check` removes what overlaps with an evaluation set.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import random
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from kosearch.errors import InvalidRequestError
from kosearch.sts_metrics import read_sts_pairs
from kosearch.text import normalise
from trainer.data.corpora import Document
from trainer.errors import TrainingDataError

Pair: TypeAlias = tuple[str, str]  # anchor, positive
Triplet: TypeAlias = tuple[str, str, str]  # anchor, positive, hard negative
ScoredPair: TypeAlias = tuple[str, str, float]  # two texts, score in [0, 1]
LabelledPair: TypeAlias = tuple[str, str, int]  # premise, hypothesis, index into NLI_LABELS

_HIGHEST_STS_SCORE = 5.0
_HEADER_ONLY_IN_FIRST = 1
_SENTENCE_END = re.compile(r"(?<=[다요까죠음함임][.?!])\s+|\n+")
# KorNLI's own file names and KLUE's, each with the columns to skip; the loader takes whichever a user has.
_KLUE_NLI_FILES = (("klue/klue_nli_train.tsv", 1),)
_KORNLI_FILES = (("kornlu/snli_1.0_train.ko.tsv", 0), ("kornlu/multinli.train.ko.tsv", 0))
NLI_LABELS = ("contradiction", "entailment", "neutral")
# SNLI's own mark of a row on which its annotators did not agree; KorNLI translated these rows as well.
_NO_AGREEMENT = "-"


def korsts_train(folder: Path) -> list[ScoredPair]:
    """KorSTS train, scores divided by 5. Source: Ham et al., 2020 (CC BY-SA 4.0)."""
    try:
        pairs = read_sts_pairs(folder / "kornlu" / "sts-train.tsv")
    except InvalidRequestError as error:
        raise TrainingDataError.from_reader(error) from error
    return [(normalise(p.first), normalise(p.second), p.score / _HIGHEST_STS_SCORE) for p in pairs]


def klue_sts_train(folder: Path) -> list[ScoredPair]:
    """KLUE-STS train, real-valued scores divided by 5. Source: Park et al., 2021 (CC BY-SA 4.0)."""
    path = folder / "klue" / "klue_sts_train.csv"
    pairs: list[ScoredPair] = []
    for line_number, (first, second, label) in read_table(path, 3, delimiter=","):
        try:
            score = float(label)
        except ValueError:
            raise TrainingDataError(path, f"label {label!r} is not a number", line_number) from None
        if not 0.0 <= score <= _HIGHEST_STS_SCORE:
            raise TrainingDataError(path, f"label {score} is outside 0-5", line_number)
        pairs.append((normalise(first), normalise(second), score / _HIGHEST_STS_SCORE))
    return pairs


def nli_labelled(folder: Path) -> list[LabelledPair]:
    """(premise, hypothesis, label) of KorNLI train when a user has it, else of KLUE-NLI.

    Source: Ham et al., 2020 (KorNLI); Park et al., 2021 (KLUE). Both CC BY-SA 4.0.
    """
    has_kornli = any((folder / name).is_file() for name, _ in _KORNLI_FILES)
    return [
        (premise, hypothesis, NLI_LABELS.index(label))
        for rows in _nli_rows(folder, _KORNLI_FILES if has_kornli else _KLUE_NLI_FILES)
        for premise, hypothesis, label in rows
    ]


def nli_triplets(folder: Path) -> list[Triplet]:
    """(premise, entailed, contradicted) from KLUE-NLI and, when a user has it, KorNLI train."""
    triplets: list[Triplet] = []
    for labels in _nli_by_premise(folder):
        for premise, by_label in labels.items():
            entailed, contradicted = by_label.get("entailment", []), by_label.get("contradiction", [])
            triplets += [(premise, p, n) for p, n in zip(entailed, contradicted, strict=False)]
    return triplets


def nli_pairs(folder: Path) -> list[Pair]:
    """(premise, entailed) for every entailment of the NLI sets."""
    return [
        (premise, positive)
        for labels in _nli_by_premise(folder)
        for premise, by_label in labels.items()
        for positive in by_label.get("entailment", [])
    ]


def paraphrase_clusters(folder: Path) -> list[list[str]]:
    """Groups of sentences that mean the same: ParaKQC and StyleKQC (ten each), sae4K and question pairs (two each)."""
    parakqc: dict[str, list[str]] = defaultdict(list)
    path = folder / "paraphrase" / "paraKQC_v1.txt"
    # ParaKQC numbers its clusters inside each topic only, ten rows after ten rows: the row decides the cluster.
    for index, (_, (_, _, sentence)) in enumerate(read_table(path, 3, header_lines=0)):
        parakqc[str(index // 10)].append(normalise(sentence))
    clusters = list(parakqc.values())
    path = folder / "paraphrase" / "stylekqc_topic_train.tsv"
    rows = [normalise(sentence) for _, (_, sentence) in read_table(path, 2)]
    clusters += [rows[start : start + 10] for start in range(0, len(rows), 10)]
    path = folder / "paraphrase" / "sae4k_v1.txt"
    clusters += [
        [normalise(utterance), normalise(content)] for _, (utterance, content, _) in read_table(path, 3, header_lines=0)
    ]
    path = folder / "paraphrase" / "question_pair_train.txt"
    for _, (first, second, label) in read_table(path, 3):
        if label == "0" and normalise(first) != normalise(second):  # label 0 = same question
            clusters.append([normalise(first), normalise(second)])
    return clusters


def cluster_pairs(clusters: Iterable[list[str]], pairs_per_cluster: int, rng: random.Random) -> list[Pair]:
    """At most `pairs_per_cluster` random pairs of different sentences from each cluster."""
    pairs: list[Pair] = []
    for cluster in clusters:
        distinct = list(dict.fromkeys(cluster))
        possible = list(itertools.combinations(distinct, 2))
        pairs += rng.sample(possible, min(pairs_per_cluster, len(possible)))
    return pairs


def welfare_pairs(folder: Path) -> list[Pair]:
    """(question, answer) of the welfare guide, without the tenth of its documents that is kept for development."""
    path = folder / "retrieval" / "welfare_qa.csv"
    return [
        (normalise(question), normalise(answer))
        for _, (question, answer, document) in read_table(path, 3, delimiter=",")
        if not is_welfare_dev(document)
    ]


def is_welfare_dev(document: str) -> bool:
    """Whether questions about this document are kept for development: a fixed tenth, by a hash of its name."""
    return zlib.crc32(normalise(document).encode()) % 10 == 0


def open_domain_queries(folder: Path) -> list[Pair]:
    """(query, Wikipedia page id) from the train sets of MIRACL-ko and Mr.TyDi-ko, positives only."""
    retrieval = folder / "retrieval"
    topics = dict(_topics(retrieval / "topics.miracl-v1.0-ko-train.tsv"))
    pairs = _positives(retrieval / "qrels.miracl-v1.0-ko-train.tsv", topics)
    topics = dict(_topics(retrieval / "topics.mrtydi-v1.1-ko.train.txt.gz"))
    pairs += _positives(retrieval / "qrels.mrtydi-v1.1-ko.train.txt", topics)
    return list(dict.fromkeys(pairs))


def best_window(query: str, text: str, length: int) -> str:
    """The stretch of about `length` characters of `text`, at sentence borders, that shares most bigrams with `query`.

    The gold pages of MIRACL and Mr.TyDi are whole, and the answer may stand far beyond what the encoder reads.
    """
    wanted = {query[i : i + 2] for i in range(len(query) - 1)}
    windows = sentence_windows(text, length)

    def shared(window: str) -> int:
        return sum(bigram in window for bigram in wanted)

    return max(windows, key=shared) if windows else text[:length]


def sentences_of(text: str) -> list[str]:
    """Split running text into normalised sentences, good enough for training pairs."""
    return [sentence for raw in _SENTENCE_END.split(text) if (sentence := normalise(raw))]


def sentence_windows(text: str, length: int) -> list[str]:
    """Consecutive sentences joined until each window has at least `length` characters (the last may be shorter)."""
    windows: list[str] = []
    current = ""
    for sentence in sentences_of(text):
        current = f"{current} {sentence}".strip()
        if len(current) >= length:
            windows.append(current)
            current = ""
    return [*windows, current] if current else windows


def title_pairs(documents: Iterable[Document], length: int) -> Iterator[Pair]:
    """(title, first `length` characters of the text): the cheapest question-to-passage signal there is."""
    for document in documents:
        title, text = normalise(document.title), normalise(document.text)
        if title and len(text) >= 20:
            yield title[:length], text[:length]


def cloze_pairs(documents: Iterable[Document], lengths: tuple[int, int], rng: random.Random) -> Iterator[Pair]:
    """(one sentence, title and its surroundings without it), of `lengths[0]` to `lengths[1]` characters.

    Source: inverse cloze task, Lee et al., ACL 2019.
    """
    for document in documents:
        length = rng.randint(*lengths)
        sentences = sentences_of(document.text[: 3 * length])
        if len(sentences) < 3:
            continue
        chosen = rng.randrange(len(sentences))
        start = max(0, chosen - 2)
        around = " ".join(sentences[start:chosen] + sentences[chosen + 1 :])
        if 10 <= len(sentences[chosen]) <= 150 and len(around) >= 40:
            yield sentences[chosen], f"{normalise(document.title)} {around}"[:length]


def read_table(
    path: Path, column_count: int, *, delimiter: str = "\t", header_lines: int = _HEADER_ONLY_IN_FIRST
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of a CSV file, or of a TSV file without quoting.

    Raises TrainingDataError naming file and line for a missing file, invalid UTF-8 and a wrong column count.
    """
    if not path.is_file():
        raise TrainingDataError(path, "file is missing")
    line_number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = (
                csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
                if delimiter == "\t"
                else csv.reader(lines, delimiter=delimiter, strict=True)
            )
            for row in rows:
                line_number = rows.line_num
                if line_number <= header_lines or not row:
                    continue
                if len(row) != column_count:
                    raise TrainingDataError(path, f"expected {column_count} columns, found {len(row)}", line_number)
                yield line_number, row
    except UnicodeDecodeError as error:
        raise TrainingDataError(path, "not UTF-8, or truncated inside a character", line_number + 1) from error
    except csv.Error as error:
        raise TrainingDataError(path, f"truncated or damaged: {error}", line_number + 1) from error


def _nli_by_premise(folder: Path) -> Iterator[dict[str, dict[str, list[str]]]]:
    for rows in _nli_rows(folder, (*_KLUE_NLI_FILES, *_KORNLI_FILES)):
        by_premise: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for premise, hypothesis, label in rows:
            by_premise[premise][label].append(hypothesis)
        yield by_premise


def _nli_rows(folder: Path, files: Iterable[tuple[str, int]]) -> Iterator[Iterator[tuple[str, str, str]]]:
    """For each file that is there its (premise, hypothesis, label) rows. Raises TrainingDataError when none is."""
    paths = [(folder / name, skip) for name, skip in files if (folder / name).is_file()]
    if not paths:
        raise TrainingDataError(folder / _KLUE_NLI_FILES[0][0], "file is missing")
    for path, skipped_columns in paths:
        yield _nli_file_rows(path, skipped_columns)


def _nli_file_rows(path: Path, skipped_columns: int) -> Iterator[tuple[str, str, str]]:
    for line_number, row in read_table(path, 3 + skipped_columns):
        premise, hypothesis, label = row[skipped_columns:]
        if label == _NO_AGREEMENT:
            continue
        if label not in NLI_LABELS:
            raise TrainingDataError(path, f"unknown label {label!r}; known: {', '.join(NLI_LABELS)}", line_number)
        yield normalise(premise), normalise(hypothesis), label


def _topics(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        raise TrainingDataError(path, "file is missing")
    line_number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for line in lines:
                line_number += 1
                query_id, separator, query = line.rstrip("\n").partition("\t")
                if not separator:
                    raise TrainingDataError(path, "expected 2 columns, found 1", line_number)
                yield query_id, normalise(query)
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise TrainingDataError(path, f"truncated or damaged: {error}", line_number + 1) from error


def _positives(path: Path, topics: dict[str, str]) -> list[Pair]:
    pairs: list[Pair] = []
    if not path.is_file():
        raise TrainingDataError(path, "file is missing")
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split()
        if len(columns) != 4:
            raise TrainingDataError(path, f"expected 4 columns, found {len(columns)}", line_number)
        query_id, _, passage_id, relevance = columns
        if relevance != "0" and query_id in topics:
            pairs.append((topics[query_id], passage_id.partition("#")[0]))
    return pairs
