"""Readers of topics, judgements and KorQuAD."""

import gzip
import json
from pathlib import Path

import pytest

from trainer.data.query_sets import open_domain_dev_sets, page_query_set, read_judgements, read_korquad, read_topics
from trainer.errors import TrainingDataError


def test_passages_of_one_page_are_one_relevant_page(tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text("1\t수도는?\n2\t화폐는?\n", "utf-8")
    (tmp_path / "qrels.tsv").write_text("1\tQ0\t7#0\t1\n1\tQ0\t7#3\t1\n1\tQ0\t8#1\t0\n1\tQ0\t9#1\t1\n2\tQ0\t5#0\t0\n")
    queries = page_query_set("dev", tmp_path / "topics.tsv", tmp_path / "qrels.tsv")
    assert queries.queries == {"1": "수도는?"}  # the other has no relevant passage
    assert queries.relevant == {"1": frozenset(["7", "9"])}


def test_gzipped_topics_are_read(tmp_path: Path) -> None:
    (tmp_path / "topics.txt.gz").write_bytes(gzip.compress("1\t수도는?\n".encode()))
    assert list(read_topics(tmp_path / "topics.txt.gz")) == [("1", "수도는?")]


def test_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "topics.txt.gz").write_bytes(gzip.compress("1\t수도는?\n".encode() * 1000)[:-20])
    with pytest.raises(TrainingDataError, match="truncated"):
        list(read_topics(tmp_path / "topics.txt.gz"))


def test_a_line_without_a_tab_is_named(tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text("1\t수도는?\n2 화폐는?\n", "utf-8")
    with pytest.raises(TrainingDataError, match=r"topics.tsv:2: expected 2"):
        list(read_topics(tmp_path / "topics.tsv"))


def test_a_judgement_with_three_columns_is_named(tmp_path: Path) -> None:
    (tmp_path / "qrels.tsv").write_text("1 Q0 7#0\n")
    with pytest.raises(TrainingDataError, match=r"qrels.tsv:1: expected 4 columns, found 3"):
        list(read_judgements(tmp_path / "qrels.tsv"))


def test_a_folder_without_miracl_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="missing"):
        open_domain_dev_sets(tmp_path)


def test_equal_paragraphs_of_korquad_are_one_document(tmp_path: Path) -> None:
    def paragraph(context: str, question: str) -> dict[str, object]:
        return {"context": context, "qas": [{"question": question}]}

    articles = [{"paragraphs": [paragraph("가", "1?"), paragraph("나", "2?")]}, {"paragraphs": [paragraph("가", "3?")]}]
    (tmp_path / "korquad.json").write_text(json.dumps({"data": articles}), "utf-8")
    questions, paragraphs = read_korquad(tmp_path / "korquad.json")
    assert paragraphs == ["가", "나"]
    assert list(questions.queries.values()) == ["1?", "2?", "3?"]
    assert list(questions.relevant.values()) == [frozenset("0"), frozenset("1"), frozenset("0")]
