"""Readers of the labelled training sets."""

import random
from pathlib import Path

import pytest

pytest.importorskip("zstandard")

from trainer.data import datasets
from trainer.data.corpora import Document
from trainer.errors import TrainingDataError


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_entailments_meet_contradictions_of_the_same_premise(tmp_path: Path) -> None:
    rows = ["0\t전제\t반대\tcontradiction", "1\t전제\t함의\tentailment", "2\t전제\t중립\tneutral"]
    written(tmp_path / "klue/klue_nli_train.tsv", "\n".join(["index\tpremise\thypothesis\tlabel", *rows]) + "\n")
    assert datasets.nli_triplets(tmp_path) == [("전제", "함의", "반대")]
    assert datasets.nli_pairs(tmp_path) == [("전제", "함의")]


def test_kornli_train_is_taken_when_a_user_has_it(tmp_path: Path) -> None:
    rows = "sentence1\tsentence2\tgold_label\n코 전제\t코 함의\tentailment\n코 전제\t코 반대\tcontradiction\n"
    written(tmp_path / "kornlu/snli_1.0_train.ko.tsv", rows)
    assert datasets.nli_triplets(tmp_path) == [("코 전제", "코 함의", "코 반대")]


def test_a_label_outside_0_to_5_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = written(tmp_path / "klue/klue_sts_train.csv", "sentence1,sentence2,label\n가,나,2.5\n다,라,7\n")
    with pytest.raises(TrainingDataError, match=r"label 7\.0 is outside 0-5") as caught:
        datasets.klue_sts_train(tmp_path)
    assert str(caught.value).startswith(f"{path}:3")


def test_scores_are_scaled_to_one(tmp_path: Path) -> None:
    written(tmp_path / "klue/klue_sts_train.csv", 'sentence1,sentence2,label\n"가, 나",다,2.5\n')
    assert datasets.klue_sts_train(tmp_path) == [("가, 나", "다", 0.5)]


def test_a_wrong_column_count_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = written(tmp_path / "table.tsv", "a\tb\n1\t2\n1\t2\t3\n")
    with pytest.raises(TrainingDataError, match=r"table\.tsv:3: expected 2 columns, found 3"):
        list(datasets.read_table(path, 2))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"none\.tsv: file is missing"):
        list(datasets.read_table(tmp_path / "none.tsv", 2))


def test_a_file_cut_inside_a_character_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.tsv"
    path.write_bytes("a\tb\n가\t나\n".encode()[:-2])
    with pytest.raises(TrainingDataError, match="truncated"):
        list(datasets.read_table(path, 2))


def test_cluster_pairs_never_pair_a_sentence_with_itself() -> None:
    pairs = datasets.cluster_pairs([["가", "가", "나"], ["다"]], 3, random.Random(0))
    assert pairs == [("가", "나")]


def test_the_window_nearest_to_the_query_is_chosen() -> None:
    text = "처음은 다른 이야기다.\n광합성은 식물이 빛으로 양분을 만드는 일이다.\n끝도 다른 이야기다."
    assert datasets.best_window("식물의 광합성", text, 10).startswith("광합성은")


def test_a_cloze_passage_does_not_hold_its_own_query() -> None:
    sentences = [f"이것은 {number}번째 문장으로 꽤 길게 쓴 것이다." for number in range(6)]
    document = Document("1", "제목", " ".join(sentences))
    for query, passage in datasets.cloze_pairs([document], (200, 200), random.Random(1)):
        assert query in sentences
        assert query not in passage
        assert passage.startswith("제목")


def test_open_domain_queries_take_positives_only(tmp_path: Path) -> None:
    import gzip

    folder = tmp_path / "retrieval"
    written(folder / "topics.miracl-v1.0-ko-train.tsv", "1\t질문 하나\n")
    written(folder / "qrels.miracl-v1.0-ko-train.tsv", "1\tQ0\t10#3\t1\n1\tQ0\t20#0\t0\n")
    with gzip.open(folder / "topics.mrtydi-v1.1-ko.train.txt.gz", "wt", encoding="utf-8") as lines:
        lines.write("1\t질문 하나\n")
    written(folder / "qrels.mrtydi-v1.1-ko.train.txt", "1\tQ0\t10#3\t1\n")
    assert datasets.open_domain_queries(tmp_path) == [("질문 하나", "10")]


def test_a_tenth_of_the_welfare_documents_is_kept_for_development() -> None:
    kept = sum(datasets.is_welfare_dev(f"복지 제도 {number}") for number in range(2_000))
    assert 140 <= kept <= 260


def test_an_unknown_nli_label_is_named_with_the_known_ones(tmp_path: Path) -> None:
    rows = "sentence1\tsentence2\tgold_label\n전제\t가설\tentailment\n전제\t가설\tmaybe\n"
    path = written(tmp_path / "kornlu/multinli.train.ko.tsv", rows)
    with pytest.raises(TrainingDataError, match=r"unknown label 'maybe'; known: contradiction, ent") as caught:
        datasets.nli_labelled(tmp_path)
    assert str(caught.value).startswith(f"{path}:3")


def test_rows_without_agreement_are_left_out(tmp_path: Path) -> None:
    rows = "sentence1\tsentence2\tgold_label\n전제\t가설\t-\n전제\t다른 가설\tneutral\n"
    written(tmp_path / "kornlu/snli_1.0_train.ko.tsv", rows)
    assert datasets.nli_labelled(tmp_path) == [("전제", "다른 가설", datasets.NLI_LABELS.index("neutral"))]


def test_labelled_nli_is_kornli_where_a_user_has_it_and_else_klue(tmp_path: Path) -> None:
    written(tmp_path / "klue/klue_nli_train.tsv", "index\tpremise\thypothesis\tlabel\n0\t클루\t가설\tentailment\n")
    assert datasets.nli_labelled(tmp_path) == [("클루", "가설", 1)]
    written(tmp_path / "kornlu/multinli.train.ko.tsv", "sentence1\tsentence2\tgold_label\n코\t가설\tneutral\n")
    assert datasets.nli_labelled(tmp_path) == [("코", "가설", 2)]


def test_a_korsts_score_outside_0_to_5_is_named_by_file_and_line(tmp_path: Path) -> None:
    header = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"
    path = written(tmp_path / "kornlu/sts-train.tsv", header + "g\tf\ty\t1\t5.5\t가\t나\n")
    with pytest.raises(TrainingDataError) as caught:
        datasets.korsts_train(tmp_path)
    assert str(caught.value).startswith(f"{path}:2")
    assert "5.5" in str(caught.value)


def test_a_truncated_archive_of_topics_is_named(tmp_path: Path) -> None:
    import gzip

    folder = tmp_path / "retrieval"
    written(folder / "topics.miracl-v1.0-ko-train.tsv", "1\t질문 하나\n")
    written(folder / "qrels.miracl-v1.0-ko-train.tsv", "1\tQ0\t10#3\t1\n")
    whole = gzip.compress("".join(f"{i}\t질문 {i}\n" for i in range(500)).encode())
    (folder / "topics.mrtydi-v1.1-ko.train.txt.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingDataError, match=r"topics\.mrtydi-v1\.1-ko\.train\.txt\.gz:\d+: truncated"):
        datasets.open_domain_queries(tmp_path)
