"""Packed rows give every sentence what it would get alone, forward and backward."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from trainer.encoders.packing import packed_rows, place

CONFIG = BertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=256,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


@pytest.fixture(scope="module")
def bert() -> BertModel:
    torch.manual_seed(3)
    return BertModel(CONFIG, add_pooling_layer=False)


def padded_batch(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]  # (batch, length)
    ids = torch.randint(5, 50, mask.shape, generator=generator) * mask
    return ids, mask.long()


@pytest.mark.parametrize("lengths", [[1], [3, 7, 2], [5] * 60, [130, 4, 100, 90]])
def test_packed_rows_give_the_padded_forward(bert: BertModel, lengths: list[int]) -> None:
    ids, mask = padded_batch(lengths)
    expected = bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (batch, length, dim)
    with packed_rows(bert):
        actual = bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (batch, length, dim)
    torch.testing.assert_close(actual[mask == 1], expected[mask == 1], atol=1e-5, rtol=1e-4)
    assert actual[mask == 0].abs().sum() == 0


def test_packed_rows_give_the_padded_gradients(bert: BertModel) -> None:
    ids, mask = padded_batch([9, 2, 6, 11])

    def gradients() -> list[torch.Tensor]:
        bert.zero_grad()
        hidden = bert(input_ids=ids, attention_mask=mask).last_hidden_state  # (batch, length, dim)
        (hidden[mask == 1] ** 2)[:, 0].sum().backward()
        return [p.grad.clone() for p in bert.parameters() if p.grad is not None]

    expected = gradients()
    with packed_rows(bert):
        actual = gradients()
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_the_padded_forward_is_back_after_the_context(bert: BertModel) -> None:
    ids, mask = padded_batch([2, 4])
    with packed_rows(bert):
        pass
    assert bert(input_ids=ids, attention_mask=mask).last_hidden_state[mask == 0].abs().sum() > 0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200))
def test_no_two_sentences_share_a_place_and_none_leaves_its_row(lengths: list[int]) -> None:
    placement = place(lengths)
    taken: set[tuple[int, int]] = set()
    for row, start, length in zip(placement.rows, placement.starts, lengths, strict=True):
        assert 0 <= row < placement.row_count
        assert start + length <= placement.row_tokens
        cells = {(row, start + offset) for offset in range(length)}
        assert not cells & taken
        taken |= cells
