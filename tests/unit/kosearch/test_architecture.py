"""What kind of model a folder holds, from its JSON files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from kosearch.architecture import BertConfig, Pooling, read_architecture
from kosearch.errors import ModelError

CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def write(folder: Path, pooling: dict[str, Any], transformer: str = "", **config: Any) -> Path:
    """Write the JSON files of a model, and no weights."""
    for path, content in (
        ("modules.json", [{"type": "a.Transformer", "path": transformer}, {"type": "a.Pooling", "path": "1_Pooling"}]),
        (f"{transformer}/config.json".removeprefix("/"), {**CONFIG, **config}),
        ("1_Pooling/config.json", pooling),
    ):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode": "mean"}, Pooling.MEAN),
        ({"pooling_mode": ["cls"]}, Pooling.CLS),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, Pooling.MEAN),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Pooling.CLS),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, Pooling.MEAN),
    ],
)
def test_poolings_of_every_version_are_read(tmp_path: Path, pooling: dict[str, Any], expected: Pooling) -> None:
    """The mean by the square root of the length differs from the mean in length only, which is made 1."""
    assert read_architecture(write(tmp_path, pooling)).pooling is expected


@pytest.mark.parametrize(
    "pooling", [{"pooling_mode": "max"}, {"pooling_mode": ["cls", "mean"]}, {"pooling_mode_lasttoken": True}, {}]
)
def test_another_pooling_is_refused(tmp_path: Path, pooling: dict[str, Any]) -> None:
    """The message lists what there is."""
    with pytest.raises(ModelError, match=r"mean, mean_sqrt_len_tokens or cls: choose a model"):
        read_architecture(write(tmp_path, pooling))


def test_the_encoder_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """As former versions of sentence-transformers wrote it."""
    found = read_architecture(write(tmp_path, {"pooling_mode": "mean"}, "0_Transformer"))
    assert found.bert == BertConfig(layers=2, heads=4, dim=32, max_positions=64, layer_norm_eps=1e-12)


def test_lower_case_outside_the_tokenizer_is_refused(tmp_path: Path) -> None:
    """The service reads tokenizer.json and nothing else."""
    write(tmp_path, {"pooling_mode": "mean"})
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    with pytest.raises(ModelError, match=r"make lower case in tokenizer\.json"):
        read_architecture(tmp_path)


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"path": ""}]', "null", "{"])
def test_a_damaged_list_of_modules_is_a_model_error(tmp_path: Path, content: str) -> None:
    """No traceback, whatever the file holds."""
    write(tmp_path, {"pooling_mode": "mean"})
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(ModelError, match=r"modules\.json"):
        read_architecture(tmp_path)
