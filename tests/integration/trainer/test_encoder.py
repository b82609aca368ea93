"""The encoder starts exactly where the static embeddings stopped."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, PreTrainedTokenizerFast

from trainer.encoders.encoder import add_layers, build_static_encoder, place_embeddings
from trainer.encoders.tokenizer import build_tokenizer
from trainer.training.losses import correlation_loss, neighbourhood_cross_entropy

MEANING_DIM, DIM = 8, 16
CONFIG = BertConfig(
    hidden_size=DIM,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=16,
    type_vocab_size=1,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer([("▁가", -1.0), ("나", -2.0), ("▁다", -3.0)], max_tokens=16)


@pytest.fixture(scope="module")
def meaning(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    rng = np.random.default_rng(2)
    lengths = rng.uniform(0.05, 1.0, (len(tokenizer), 1))
    directions = rng.standard_normal((len(tokenizer), MEANING_DIM))
    directions -= directions.mean(axis=1, keepdims=True)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return (lengths * directions).astype(np.float32)


def test_layer_norm_keeps_the_weights_of_placed_embeddings(meaning: np.ndarray) -> None:
    placed = torch.from_numpy(place_embeddings(meaning, DIM))  # (pieces, dim)
    normed = torch.nn.functional.layer_norm(placed, (DIM,))[:, :MEANING_DIM].numpy()
    before = np.linalg.norm(meaning, axis=1)
    after = np.linalg.norm(normed, axis=1)
    light = before < np.quantile(before, 0.99)  # the longest are cut to leave room for ballast
    np.testing.assert_allclose((after / before)[light], (after / before)[light].mean(), rtol=1e-3)


def test_an_odd_number_of_spare_dimensions_is_refused(meaning: np.ndarray) -> None:
    with pytest.raises(ValueError, match="even number"):
        place_embeddings(meaning, MEANING_DIM + 3)


def test_added_layers_do_not_change_the_function(meaning: np.ndarray, tokenizer: PreTrainedTokenizerFast) -> None:
    static = build_static_encoder(place_embeddings(meaning, DIM), MEANING_DIM, CONFIG, tokenizer).eval()
    deep = add_layers(static, 3).eval()
    ids = torch.tensor([[2, 261, 262, 3], [2, 263, 3, 0]])  # (2, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])  # (2, 4)
    with torch.no_grad():
        expected = static(input_ids=ids, attention_mask=mask).last_hidden_state  # (2, 4, dim)
        actual = deep(input_ids=ids, attention_mask=mask).last_hidden_state  # (2, 4, dim)
    torch.testing.assert_close(actual[mask == 1], expected[mask == 1], atol=1e-4, rtol=1e-4)


def test_added_layers_can_learn(meaning: np.ndarray, tokenizer: PreTrainedTokenizerFast) -> None:
    static = build_static_encoder(place_embeddings(meaning, DIM), MEANING_DIM, CONFIG, tokenizer)
    deep = add_layers(static, 1)
    deep(input_ids=torch.tensor([[2, 261, 3]])).last_hidden_state[..., 0].sum().backward()
    gradient = deep.encoder.layer[0].output.dense.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_distillation_is_least_when_neighbours_agree() -> None:
    generator = torch.Generator().manual_seed(1)
    teacher = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1)  # (6, 4)
    other = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1)  # (6, 4)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q  # (4, 4)
    same = neighbourhood_cross_entropy(teacher, teacher, 0.05)
    torch.testing.assert_close(neighbourhood_cross_entropy(teacher @ rotation, teacher, 0.05), same)
    assert neighbourhood_cross_entropy(other, teacher, 0.05) > same


def test_correlation_loss_ignores_scale_and_shift_of_the_cosines() -> None:
    gold = torch.tensor([0.0, 0.2, 0.5, 1.0])  # (4,)
    assert correlation_loss(0.1 * gold + 0.8, gold).item() == pytest.approx(0.0, abs=1e-5)
    assert correlation_loss(-gold, gold).item() == pytest.approx(2.0, abs=1e-5)


def test_equal_cosines_are_no_way_out_of_the_correlation_loss() -> None:
    cosines = torch.full((4,), 0.9, requires_grad=True)  # (4,)
    loss = correlation_loss(cosines, torch.tensor([0.0, 0.2, 0.5, 1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()
