"""A data folder in miniature, in the layout that docs/trainer.md describes."""

import itertools
import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the trainer's integration tests need the trainer extra")

import orjson
import zstandard

SUBJECTS = ["한 남자가", "한 여자가", "아이가", "고양이가", "두 사람이", "선생님이"]
PLACES = ["공원에서", "학교에서", "바닷가에서", "집에서"]
ACTIONS = ["책을 읽고 있다.", "노래를 부르고 있다.", "음식을 먹는다.", "기타를 연주한다.", "사진을 찍었다."]
SENTENCES = [" ".join(words) for words in itertools.product(SUBJECTS, PLACES, ACTIONS)]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_corpus(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = b"\n".join(orjson.dumps(row) for row in rows) + b"\n"
    path.write_bytes(zstandard.ZstdCompressor().compress(lines))


# Evaluation uses sentences of one subject only, so that the leak check leaves most training examples.
DEV_SENTENCES = [sentence for sentence in SENTENCES if sentence.startswith("선생님이")]


def scored_rows(rng: random.Random, sentences: list[str], count: int) -> list[tuple[str, str, float]]:
    """Pairs whose score is the share of words in common, times five."""
    rows = []
    for _ in range(count):
        first, second = rng.choice(sentences), rng.choice(sentences)
        shared = len(set(first.split()) & set(second.split())) / len(set(first.split()) | set(second.split()))
        rows.append((first, second, 5.0 * shared))
    return rows


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated corpora and labelled sets of a few hundred rows each."""
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(5)
    documents = [
        {"id": str(i), "title": f"{rng.choice(PLACES)} 있던 일 {i}", "text": "\n".join(rng.sample(SENTENCES, 6))}
        for i in range(400)
    ]
    write_corpus(folder / "corpora/kowiki.jsonl.zst.part-00", documents)
    law = {"law": "도로교통법", "kind": "법률", "effective": "2026-01-01", "article": "제1조", "title": "목적"}
    write_corpus(
        folder / "corpora/law_articles.jsonl.zst", [{"id": "1", "text": "이 법은 교통의 안전을 정한다.", **law}]
    )
    precedent = {
        "id": "1",
        "case_no": "1",
        "title": "손해배상",
        "issue": "책임이 있는지 여부",
        "holding": "책임이 있다.",
    }
    write_corpus(folder / "corpora/precedents.jsonl.zst", [precedent])
    write_corpus(folder / "corpora/movie_reviews.jsonl.zst", [{"id": "1", "text": "정말 재미있는 영화였다."}])
    for name, sentences, count in (("train", SENTENCES, 240), ("dev", DEV_SENTENCES, 60)):
        rows = [
            f"g\tf\ty\t{i}\t{score:.3f}\t{a}\t{b}" for i, (a, b, score) in enumerate(scored_rows(rng, sentences, count))
        ]
        header = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2"
        write(folder / f"kornlu/sts-{name}.tsv", "\n".join([header, *rows]) + "\n")
    labels = ["entailment", "contradiction", "neutral"]
    nli = [f"{i}\t{SENTENCES[i // 3]}\t{rng.choice(SENTENCES)}\t{labels[i % 3]}" for i in range(300)]
    write(folder / "klue/klue_nli_train.tsv", "\n".join(["index\tpremise\thypothesis\tlabel", *nli]) + "\n")
    klue = [f"{a},{b},{score:.3f}" for a, b, score in scored_rows(rng, SENTENCES, 60)]
    write(folder / "klue/klue_sts_train.csv", "\n".join(["sentence1,sentence2,label", *klue]) + "\n")
    write(folder / "paraphrase/paraKQC_v1.txt", "".join(f"0\t0\t{s}\n" for s in SENTENCES[:20]))
    write(
        folder / "paraphrase/stylekqc_topic_train.tsv",
        "topic\tsentence\n" + "".join(f"0\t{s}\n" for s in SENTENCES[:20]),
    )
    write(folder / "paraphrase/sae4k_v1.txt", "사진을 찍어 줄래\t사진 찍기\t0\n")
    write(folder / "paraphrase/question_pair_train.txt", "question1\tquestion2\tis_duplicate\n뭐 먹지\t뭘 먹을까\t0\n")
    write(folder / "retrieval/welfare_qa.csv", "Question,Answer,Documents\n지원이 있나요?,지원이 있습니다.,복지\n")
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer and 16 dimensions without pooling, as a hub holds it. It has dropout, so that a random state
    which a checkpoint lost would show."""
    import torch
    from transformers import BertConfig, BertModel

    from trainer.encoders.tokenizer import build_tokenizer

    words = sorted({f"▁{word}" for sentence in SENTENCES for word in sentence.split()})
    tokenizer = build_tokenizer([(word, -5.0) for word in words], max_tokens=128)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
