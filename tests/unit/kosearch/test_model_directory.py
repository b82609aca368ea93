"""The model directory: sealed by the trainer, checked by whoever opens it."""

import json
from pathlib import Path

import numpy as np
import pytest

from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory, fingerprint_of, seal_model_directory

GOLDEN = np.eye(2, 4, dtype=np.float32)
TEXTS = ["치타", "원숭이"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sealed model directory."""
    path = tmp_path / "model"
    (path / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "modules.json", "tokenizer.json", "1_Pooling/config.json"):
        (path / name).write_text(json.dumps({"name": name}))
    (path / "model.safetensors").write_bytes(b"weights")
    seal_model_directory(path, "tiny", 128, TEXTS, GOLDEN)
    return path


def test_what_was_sealed_is_opened(model: Path) -> None:
    """Name, dimension, reach, golden texts and embeddings come back."""
    opened = ModelDirectory.open(model)
    assert (opened.name, opened.dim, opened.max_tokens) == ("tiny", 4, 128)
    texts, embeddings = opened.golden()
    assert texts == TEXTS
    np.testing.assert_array_equal(embeddings, GOLDEN)
    assert opened.config() == {"name": "config.json"}


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "modules.json", "tokenizer.json", "1_Pooling/config.json"]
)
def test_a_changed_file_is_noticed(name: str, model: Path) -> None:
    """Every file that decides an embedding is in the fingerprint."""
    (model / name).write_bytes(b"{}")
    with pytest.raises(ModelError, match="do not match the fingerprint"):
        ModelDirectory.open(model)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "modules.json", "tokenizer.json", "1_Pooling/config.json"]
)
def test_a_missing_file_is_named(name: str, model: Path) -> None:
    """An incomplete copy says what is missing."""
    (model / name).unlink()
    with pytest.raises(ModelError, match=name):
        ModelDirectory.open(model)


def test_a_file_that_appears_is_noticed(model: Path) -> None:
    """A sentence_bert_config.json decides the length that is read, so adding one makes another model."""
    (model / "sentence_bert_config.json").write_text("{}")
    with pytest.raises(ModelError, match="fingerprint"):
        ModelDirectory.open(model)


def test_the_model_card_may_change(model: Path) -> None:
    """A README does not make stored vectors stale."""
    (model / "README.md").write_text("새 설명")
    assert ModelDirectory.open(model).name == "tiny"


def test_moving_bytes_between_files_changes_the_fingerprint(model: Path) -> None:
    """The fingerprint is not that of the files' mere concatenation."""
    before = fingerprint_of(model, 64)
    (model / "config.json").write_bytes(b"ab")
    (model / "model.safetensors").write_bytes(b"c")
    first = fingerprint_of(model, 64)
    (model / "config.json").write_bytes(b"a")
    (model / "model.safetensors").write_bytes(b"bc")
    assert len({before, first, fingerprint_of(model, 64)}) == 3


def test_a_directory_without_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    """The path and the command are in the message."""
    with pytest.raises(ModelError, match=r"nowhere.*trainer export"):
        ModelDirectory.open(tmp_path / "nowhere")


def test_another_format_is_refused(model: Path) -> None:
    """A directory of a later version is not misread."""
    manifest = json.loads((model / "kosearch.json").read_text())
    (model / "kosearch.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(ModelError, match="format 2"):
        ModelDirectory.open(model)


@pytest.mark.parametrize("content", ["{", "[]", '"x"', "null"])
def test_a_damaged_manifest_is_a_model_error(content: str, model: Path) -> None:
    """No traceback for half a file."""
    (model / "kosearch.json").write_text(content)
    with pytest.raises(ModelError):
        ModelDirectory.open(model)


@pytest.mark.parametrize("missing", ["name", "dim", "max_tokens"])
def test_an_incomplete_manifest_is_a_model_error(missing: str, model: Path) -> None:
    """No traceback for a manifest without an entry."""
    manifest = json.loads((model / "kosearch.json").read_text())
    del manifest[missing]
    (model / "kosearch.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError):
        ModelDirectory.open(model)


@pytest.mark.parametrize("embeddings", [GOLDEN[:1], GOLDEN[0]])
def test_golden_embeddings_fit_their_texts(embeddings: "np.typing.NDArray[np.float32]", model: Path) -> None:
    """One row a text, or no seal."""
    with pytest.raises(ModelError):
        seal_model_directory(model, "tiny", 128, TEXTS, embeddings)


def test_damaged_golden_embeddings_are_a_model_error(model: Path) -> None:
    """A truncated copy is noticed before it serves."""
    (model / "golden/embeddings.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ModelError, match="export again"):
        ModelDirectory.open(model).golden()


def test_token_ids_of_golden_texts_come_back(model: Path) -> None:
    """Directories of earlier versions hold none."""
    assert ModelDirectory.open(model).golden_token_ids() is None
    sealed = seal_model_directory(model, "tiny", 128, TEXTS, GOLDEN, [[2, 7, 3], [2, 3]])
    assert sealed.golden_token_ids() == [[2, 7, 3], [2, 3]]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 0),
        ({"prompts": {"query": "", "document": ""}, "similarity_fn_name": "cosine"}, 0),
        ({"prompts": {"clustering": "topic: "}}, 1),
        ({"prompts": None, "similarity_fn_name": "dot"}, 1),
    ],
)
def test_what_the_service_leaves_out_is_told(options: object, count: int, model: Path) -> None:
    """Prompts of no role that a call can state, and another similarity than cosine."""
    (model / "config_sentence_transformers.json").write_text(json.dumps(options))
    assert len(ModelDirectory.open(model).cautions()) == count


def test_a_role_has_its_prompt_and_a_document_may_be_called_passage(model: Path) -> None:
    """Models name the prompts of the two roles differently."""
    (model / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "Q: ", "passage": "P: "}})
    )
    sealed = seal_model_directory(model, "tiny", 128, TEXTS, GOLDEN)
    assert [sealed.prompt(role) for role in ("query", "document", "")] == ["Q: ", "P: ", ""]


def test_other_prompts_are_another_model(model: Path) -> None:
    """They change embeddings as weights do."""
    (model / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "Q: "}}))
    with pytest.raises(ModelError, match="do not match the fingerprint"):
        ModelDirectory.open(model)
