"""The CPU engine against the textbook, and the models it says no to."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encoder_service.engines.cpu import CpuEngine
from encoder_service.golden import MIN_COSINE, check_golden_embeddings
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory, fingerprint_of


def random_texts(count: int, longest: int) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(4, 400, random.integers(1, longest + 1)).astype(np.int32) for _ in range(count)]


@pytest.mark.parametrize("longest", [20, 128, 160], ids=["short rows", "full rows", "long rows"])
def test_packed_texts_get_the_embeddings_they_would_get_alone(tiny_model: Any, tiny_engine: Any, longest: int) -> None:
    texts = random_texts(60, longest)
    expected = np.stack([tiny_model.forward(text) for text in texts])
    np.testing.assert_allclose(tiny_engine.encode(texts), expected, atol=2e-6)


@pytest.mark.parametrize("longest", [20, 160], ids=["short rows", "long rows"])
def test_tokens_of_packed_texts_get_the_embeddings_they_would_get_alone(
    tiny_model: Any, tiny_engine: Any, longest: int
) -> None:
    texts = random_texts(60, longest)
    found = tiny_engine.encode_tokens(texts)
    for rows, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(rows, tiny_model.forward_tokens(text), atol=3e-6)


def test_embeddings_of_tokens_stay_when_the_engine_goes_on(tiny_model: Any, tiny_engine: Any) -> None:
    """Their memory is not that of the next batch."""
    text, other = np.arange(4, 24, dtype=np.int32), np.arange(104, 124, dtype=np.int32)
    (rows,) = tiny_engine.encode_tokens([text])
    tiny_engine.encode_tokens([other])
    np.testing.assert_allclose(rows, tiny_model.forward_tokens(text), atol=3e-6)


@pytest.mark.parametrize("tokens", [1, 3, 33, 128, 129, 160])
def test_a_lone_text(tiny_model: Any, tiny_engine: Any, tokens: int) -> None:
    text = np.arange(4, 4 + tokens, dtype=np.int32)
    embeddings = tiny_engine.encode([text])
    assert (embeddings.shape, embeddings.dtype) == ((1, 32), np.float32)
    np.testing.assert_allclose(embeddings[0], tiny_model.forward(text), atol=2e-6)


def test_bf16_stays_close(tiny_model: Any) -> None:
    engine = CpuEngine.load(tiny_model.directory, "bf16", threads=1)
    texts = random_texts(40, 160)
    expected = np.stack([tiny_model.forward(text) for text in texts])
    assert (engine.encode(texts) * expected).sum(axis=1).min() > MIN_COSINE["bf16"]


def test_a_signal_after_engines_have_come_and_gone(tiny_model: Any) -> None:
    script = """
import gc, os, signal, sys
from pathlib import Path
from encoder_service.engines.cpu import CpuEngine
from kosearch.model_directory import ModelDirectory

signal.signal(signal.SIGTERM, lambda *_: print("received"))
engines = [CpuEngine.load(ModelDirectory.open(Path(sys.argv[1])), "f32", threads=1) for _ in range(3)]
while engines:
    del engines[0]
    gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""
    command = [sys.executable, "-X", "faulthandler", "-c", script, tiny_model.directory.path]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, b"received\n"), ran.stderr.decode()


@pytest.mark.parametrize("options", [{}, {"prefix": "bert."}], ids=["plain names", "prefixed names"])
def test_int8_stays_close(make_model: Any, options: dict[str, Any]) -> None:
    model = make_model(**options)
    engine = CpuEngine.load(model.directory, "int8", threads=1)
    assert engine.precision == "int8"
    texts = random_texts(40, 160)
    expected = np.stack([model.forward(text) for text in texts])
    cosines = (engine.encode(texts) * expected).sum(axis=1)
    assert MIN_COSINE["int8"] < cosines.min() < 1 - 1e-6  # near, and not float32 after all


def test_in_int8_no_text_changes_the_embedding_of_another(tiny_model: Any) -> None:
    """Ranges that were measured in each batch would."""
    engine = CpuEngine.load(tiny_model.directory, "int8", threads=1)
    texts = random_texts(40, 160)
    alone = np.concatenate([engine.encode([text]) for text in texts])
    np.testing.assert_allclose(engine.encode(texts), alone, atol=1e-5)


@pytest.mark.parametrize("options", [{"prefix": "bert."}, {"half": True}], ids=["prefixed names", "float16 weights"])
def test_weights_as_other_tools_store_them(make_model: Any, options: dict[str, Any]) -> None:
    model = make_model(**options)
    engine = CpuEngine.load(model.directory, "f32", threads=1)
    text = np.arange(4, 40, dtype=np.int32)
    np.testing.assert_allclose(engine.encode([text])[0], model.forward(text), atol=2e-6)


def reseal(path: Path) -> ModelDirectory:
    """Make the manifest agree with changed files, golden embeddings left as they are."""
    manifest = json.loads((path / "kosearch.json").read_text())
    manifest["fingerprint"] = fingerprint_of(path, manifest["max_tokens"])
    (path / "kosearch.json").write_text(json.dumps(manifest))
    return ModelDirectory.open(path)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_tensor(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, path / "model.safetensors")


def with_two_poolings(path: Path) -> None:
    edit(path / "1_Pooling/config.json", pooling_mode_cls_token=True)


def with_dense_module(path: Path) -> None:
    modules = json.loads((path / "modules.json").read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (path / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: edit(path / "config.json", model_type="roberta"), "model_type = 'roberta'"),
        (lambda path: edit(path / "config.json", hidden_act="relu"), "hidden_act = 'relu'"),
        (lambda path: edit(path / "config.json", position_embedding_type="relative_key"), "position_embedding_type"),
        (lambda path: edit(path / "config.json", num_attention_heads=5), "5 heads over 32"),
        (lambda path: edit(path / "config.json", num_hidden_layers=3), "no tensor 'encoder.layer.2"),
        (lambda path: edit(path / "config.json", max_position_embeddings=64), "max_tokens 160"),
        (lambda path: edit(path / "config.json", hidden_size=64), "dim 32"),
        (without_tensor, "no tensor 'encoder.layer.1.output.dense.bias'"),
        (with_two_poolings, "cls_token, mean_tokens"),
        (with_dense_module, "lists Transformer, Pooling, Dense, Normalize"),
        (lambda path: (path / "model.safetensors").write_bytes(b"\x00" * 64), "cannot be read"),
    ],
)
def test_a_model_that_cannot_be_run_is_refused_by_name(
    make_model: Any, spoil: Callable[[Path], None], complaint: str
) -> None:
    path = make_model().directory.path
    spoil(path)
    with pytest.raises(ModelError, match=complaint):
        CpuEngine.load(reseal(path), "f32", threads=1)


def check_golden(model: ModelDirectory) -> float:
    engine = CpuEngine.load(model, "f32", threads=1)
    return check_golden_embeddings(model, Tokeniser.load(model, 10_000), engine, MIN_COSINE["f32"])


def test_golden_embeddings_of_the_same_model_agree(tiny_model: Any) -> None:
    assert check_golden(tiny_model.directory) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("wrong", [float("nan"), 5.0], ids=["NaN", "another number"])
def test_weights_that_are_not_the_trained_ones_are_refused(make_model: Any, wrong: float) -> None:
    path = make_model().directory.path
    tensors = load_file(path / "model.safetensors")
    tensors["encoder.layer.0.output.dense.bias"] = np.where(np.arange(32) == 3, np.float32(wrong), np.float32(0))
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(ModelError, match="golden text"):
        check_golden(reseal(path))


def test_other_token_ids_than_the_models_own_are_refused(make_model: Any, make_ids: Callable[[str], list[int]]) -> None:
    model = make_model().directory
    ids = [make_ids(text) for text in model.golden()[0]]
    (model.path / "golden/token_ids.json").write_text(json.dumps(ids))
    assert check_golden(model) == pytest.approx(1, abs=1e-5)
    ids[1][1] += 1
    (model.path / "golden/token_ids.json").write_text(json.dumps(ids))
    with pytest.raises(ModelError, match="gives golden text 1 other token ids"):
        check_golden(model)
