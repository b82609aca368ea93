"""Weights as int8 with a scale a row."""

from pathlib import Path

import numpy as np
import pytest

from kosearch.errors import ModelError
from kosearch.int8_weights import Int8Matrix, load_int8_weights, quantise_rows, quantise_weights, save_int8_weights

RANDOM = np.random.default_rng(4)
WEIGHTS = {
    "embeddings.word_embeddings.weight": RANDOM.standard_normal((6, 4)).astype(np.float16),
    "embeddings.position_embeddings.weight": RANDOM.standard_normal((3, 4)).astype(np.float16),
    "embeddings.position_ids": np.arange(3),
    "encoder.layer.0.output.dense.weight": RANDOM.standard_normal((4, 8)).astype(np.float16),
    "encoder.layer.0.output.dense.bias": RANDOM.standard_normal(4).astype(np.float16),
    "pooler.dense.weight": np.zeros((4, 4), np.float16),
}


def test_no_weight_moves_by_more_than_half_a_step() -> None:
    """A step is a 127th of the row's largest magnitude."""
    matrix = RANDOM.standard_normal((20, 30)).astype(np.float32) * np.logspace(-6, 3, 20, dtype=np.float32)[:, None]
    quantised = quantise_rows(matrix)
    steps = np.abs(matrix).max(axis=1, keepdims=True) / 127
    assert (np.abs(quantised.dequantised() - matrix) <= steps * 0.501).all()
    assert np.abs(quantised.values).max(axis=1).tolist() == [127] * 20


def test_a_row_of_zeros_stays_zero() -> None:
    """No division by zero, and no NaN."""
    assert quantise_rows(np.zeros((2, 3), np.float32)).dequantised().tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_embeddings_and_linear_layers_are_quantised_and_what_is_never_used_is_left_out(prefix: str) -> None:
    """Positions, biases and LayerNorms are small; the pooler is not computed."""
    quantised = quantise_weights({prefix + name: tensor for name, tensor in WEIGHTS.items()})
    kinds = {name.removeprefix(prefix): isinstance(tensor, Int8Matrix) for name, tensor in quantised.items()}
    assert kinds == {
        "embeddings.word_embeddings.weight": True,
        "embeddings.position_embeddings.weight": False,
        "encoder.layer.0.output.dense.weight": True,
        "encoder.layer.0.output.dense.bias": False,
    }


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Values, scales and float16 tensors come back."""
    quantised = quantise_weights(WEIGHTS)
    save_int8_weights(tmp_path / "int8.safetensors", quantised)
    loaded = load_int8_weights(tmp_path / "int8.safetensors")
    assert loaded.keys() == quantised.keys()
    for name, tensor in quantised.items():
        found = loaded[name]
        if isinstance(tensor, Int8Matrix):
            assert isinstance(found, Int8Matrix)
            np.testing.assert_array_equal(found.dequantised(), tensor.dequantised())
        else:
            np.testing.assert_array_equal(found, tensor.astype(np.float32))  # type: ignore[arg-type]


def test_a_damaged_file_is_a_model_error(tmp_path: Path) -> None:
    """The message says how to make it again."""
    (tmp_path / "int8.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="export it again with --int8"):
        load_int8_weights(tmp_path / "int8.safetensors")


def test_a_folder_that_is_not_there_is_a_model_error(tmp_path: Path) -> None:
    """Rust's I/O error is translated."""
    with pytest.raises(ModelError, match="cannot be written"):
        save_int8_weights(tmp_path / "nowhere/int8.safetensors", quantise_weights(WEIGHTS))
