"""Evaluation sentences never reach a training set."""

import json
import unicodedata
from pathlib import Path

import pytest

pytest.importorskip("zstandard")

from trainer.data.leak_check import LeakCheck, korquad_titles, leak_key, protect_evaluation_sets

STS_HEADER = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"


def test_case_spaces_and_punctuation_do_not_hide_a_leak() -> None:
    assert leak_key("한 남자가 Pasta를 먹는다.") == leak_key("한  남자가 pasta를 먹는다")


def test_decomposed_hangul_does_not_hide_a_leak() -> None:
    assert leak_key(unicodedata.normalize("NFD", "한국")) == leak_key("한국")


def test_an_example_with_a_protected_text_is_removed_and_counted_by_source_and_set() -> None:
    check = LeakCheck()
    check.protect("KorSTS sts-test", ["시험 문장."])
    kept = check.clean("nli", [("가", "나", 0.5), ("다", "시험 문장", 0.1), ("시험문장!", "라", 0.2)])
    assert kept == [("가", "나", 0.5)]
    assert check.removed == {"nli | KorSTS sts-test": 2}


def test_a_text_without_letters_protects_nothing() -> None:
    check = LeakCheck()
    check.protect("set", ["...", ""])
    assert check.clean("source", [("!!!", "문장")]) == [("!!!", "문장")]


def test_every_evaluation_set_of_a_folder_is_protected(tmp_path: Path) -> None:
    for name in ("kornlu", "klue", "retrieval"):
        (tmp_path / name).mkdir()
    (tmp_path / "kornlu/sts-test.tsv").write_text(STS_HEADER + "g\tf\ty\t1\t5.0\t첫 문장\t둘째 문장\n", "utf-8")
    (tmp_path / "kornlu/xnli.dev.ko.tsv").write_text("sentence1\tsentence2\tgold_label\n전제\t가설\tneutral\n", "utf-8")
    klue = [{"premise": "클루 전제", "hypothesis": "클루 가설"}]
    (tmp_path / "klue/klue-nli-v1.1_dev.json").write_text(json.dumps(klue), "utf-8")
    korquad = {"data": [{"title": "제목", "paragraphs": [{"context": "문단", "qas": [{"question": "질문?"}]}]}]}
    (tmp_path / "retrieval/KorQuAD_v1.0_dev.json").write_text(json.dumps(korquad), "utf-8")
    (tmp_path / "retrieval/topics.miracl-v1.0-ko-dev.tsv").write_text("2\t미라클 질문\n", "utf-8")
    check = protect_evaluation_sets(tmp_path)
    protected = ["둘째 문장", "가설", "클루 전제", "질문", "미라클 질문"]
    assert check.clean("source", [(text, "무관") for text in protected]) == []
    assert korquad_titles(tmp_path) == {"제목"}


def test_a_near_duplicate_is_removed_and_counted_apart_with_an_example() -> None:
    check = LeakCheck()
    check.protect("KorSTS sts-test", ["한 남자가 첼로를 조율하고 있다."])
    examples = [("남자가 첼로를 조율하고 있다.", "무관"), ("여자가 노래를 부른다.", "무관")]
    assert check.clean("nli", examples) == examples[1:]
    assert check.removed == {"nli | KorSTS sts-test (near)": 1}
    assert check.near_matches == {
        "nli | KorSTS sts-test (near)": [("남자가 첼로를 조율하고 있다.", "한남자가첼로를조율하고있다")]
    }


def test_a_source_that_several_stages_read_counts_once() -> None:
    check = LeakCheck()
    check.protect("set", ["시험 문장 하나", "시험 문장 둘"])
    check.clean("nli", [("시험 문장 하나", "")])
    check.clean("nli", [("시험 문장 하나", ""), ("시험 문장 둘", "")])
    assert check.removed == {"nli | set": 2}


def test_a_text_protected_after_the_first_check_is_near_matched_too() -> None:
    check = LeakCheck()
    check.clean("nli", [("무관한 문장", "")])
    check.protect("set", ["한 남자가 첼로를 조율하고 있다."])
    assert check.clean("nli", [("남자가 첼로를 조율하고 있다.", "")]) == []
