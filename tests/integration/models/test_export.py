"""Models of others, exported and then computed by the service's own engine."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

from encoder_service.model_check import check_model
from encoder_service.model_loading import load_model
from kosearch.errors import ModelError, NotFoundError
from kosearch.settings import EncoderSettings
from trainer.encoders.model_source import find_model
from trainer.publishing.export import export_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of libraries beneath the trainer
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": {"pooling_mode": "cls"}},
        {"pooling": {"pooling_mode_mean_tokens": False, "pooling_mode_mean_sqrt_len_tokens": True}},
        {"modules": ("Transformer", "Pooling")},
        {"options": {"prompts": {"query": "질의: "}, "default_prompt_name": "query", "similarity_fn_name": "cosine"}},
    ],
    ids=["mean", "cls", "mean by square root", "no Normalize", "a default prompt"],
)
def test_the_engine_computes_what_sentence_transformers_does(make_model: Any, tmp_path: Path, options: Any) -> None:
    exported = export_model(make_model(**options), tmp_path / "exported")
    check = check_model(exported.path, threads=1)
    assert check.lowest_cosines["f32"] > 0.99999
    assert check.has_token_ids


def test_a_unigram_tokenizer_under_a_bert_gives_the_same_ids(make_model: Any, tmp_path: Path) -> None:
    exported = export_model(make_model(tokenizer="unigram"), tmp_path / "exported")
    ids = exported.golden_token_ids()
    assert ids is not None
    assert len({tuple(each) for each in ids}) > 10
    assert check_model(exported.path, threads=1).lowest_cosines["f32"] > 0.99999


def test_prompts_and_dot_products_are_pointed_out(make_model: Any, tmp_path: Path) -> None:
    options = {"prompts": {"query": "query: ", "clustering": "topic: "}, "similarity_fn_name": "dot"}
    exported = export_model(make_model(options=options), tmp_path / "exported")
    first, second = exported.cautions()
    assert "prompts of other kinds (clustering)" in first
    assert "dot" in second
    assert exported.prompt("query") == "query: "


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_older_libraries_find_the_names_they_know(make_model: Any, tmp_path: Path, pooling: str) -> None:
    saved_today = tmp_path / "saved today"
    original = SentenceTransformer(str(make_model(pooling={"pooling_mode": pooling})), device="cpu")
    original.save_pretrained(str(saved_today))
    path = export_model(saved_today, tmp_path / "exported").path
    kinds = [module["type"] for module in json.loads((path / "modules.json").read_text("utf-8"))]
    assert kinds == [f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Normalize")]
    modes = json.loads((path / "1_Pooling/config.json").read_text("utf-8"))
    assert [mode for mode, is_on in modes.items() if mode.startswith("pooling_mode_") and is_on] == [
        {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}[pooling]
    ]
    tokenizer = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    assert tokenizer["tokenizer_class"] != "TokenizersBackend"  # transformers 5 alone has a class of that name
    again = SentenceTransformer(str(path), device="cpu")
    assert again.max_seq_length == original.max_seq_length
    texts = ["치타가 달린다.", "원숭이 한 마리가 드럼을 연주한다. " * 30]
    np.testing.assert_allclose(again.encode(texts), original.encode(texts), atol=2e-3)


def test_golden_embeddings_are_those_of_the_weights_before_rounding(make_model: Any, tmp_path: Path) -> None:
    original = make_model()
    texts, golden = export_model(original, tmp_path / "exported").golden()
    expected = SentenceTransformer(str(original), device="cpu").encode(texts)
    np.testing.assert_allclose(golden, expected, atol=1e-6)


def test_a_copy_holds_the_card_but_no_weights_for_other_runtimes(make_model: Any, tmp_path: Path) -> None:
    original = make_model()
    (original / "onnx").mkdir()
    (original / "onnx/model.onnx").write_bytes(b"graph")
    (original / "pytorch_model.bin").write_bytes(b"pickle")
    exported = export_model(original, tmp_path / "exported").path
    assert "Apache" in (exported / "README.md").read_text("utf-8")
    assert not list(exported.rglob("*.bin")) + list(exported.rglob("*.onnx"))


def test_exporting_again_changes_neither_fingerprint_nor_embeddings(make_model: Any, tmp_path: Path) -> None:
    once = export_model(make_model(), tmp_path / "exported", "tiny")
    golden = once.golden()[1]
    again = export_model(once.path, once.path)
    assert again.fingerprint == once.fingerprint
    np.testing.assert_allclose(again.golden()[1], golden, atol=1e-3)
    assert check_model(again.path, threads=1).lowest_cosines["f32"] > 0.99999


def as_former_versions_wrote_it(original: Path) -> None:
    """The encoder in a folder of its own, weights as a pickle, vocab.txt and no tokenizer.json."""
    import torch

    folder = original / "0_Transformer"
    folder.mkdir()
    torch.save(
        {name: torch.from_numpy(t) for name, t in load_file(original / "model.safetensors").items()},
        folder / "pytorch_model.bin",
    )
    (original / "model.safetensors").unlink()
    vocabulary = json.loads((original / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 64}')
    (original / "config.json").rename(folder / "config.json")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (original / name).unlink()
    modules = json.loads((original / "modules.json").read_text("utf-8"))
    modules[0]["path"] = "0_Transformer"
    (original / "modules.json").write_text(json.dumps(modules))


def test_a_model_of_former_versions_is_converted(make_model: Any, tmp_path: Path) -> None:
    original = make_model()
    as_former_versions_wrote_it(original)
    exported = export_model(original, tmp_path / "exported")
    assert exported.max_tokens == 64
    assert "Apache" in (exported.path / "README.md").read_text("utf-8")
    assert check_model(exported.path, threads=1).lowest_cosines["f32"] > 0.99999


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), encoding="utf-8")


def test_a_tokenizer_json_that_disagrees_is_written_anew(make_model: Any, tmp_path: Path) -> None:
    original = make_model()
    # transformers builds a BertTokenizer from the vocabulary and these options, whatever else tokenizer.json says.
    edit(original / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=False)
    exported = export_model(original, tmp_path / "exported")
    assert json.loads((exported.path / "tokenizer.json").read_text("utf-8"))["normalizer"]["lowercase"] is False
    assert check_model(exported.path, threads=1).has_token_ids


def damage_weights(original: Path) -> None:
    content = (original / "model.safetensors").read_bytes()
    (original / "model.safetensors").write_bytes(content[: len(content) // 2])


def forget_tokenizer(original: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (original / name).unlink()


def add_overflow(original: Path) -> None:
    weights = load_file(original / "model.safetensors")
    weights["encoder.layer.0.output.dense.weight"][0, 0] = 1e6
    save_file(weights, original / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("options", "spoil", "complaint"),
    [
        ({"roberta": True}, None, "model_type = 'roberta'.*choose another base model"),
        ({"pooling": {"pooling_mode": "max"}}, None, "asks for pooling max.*choose a model"),
        ({"modules": ("Transformer", "Pooling", "Normalize", "Dense")}, None, "Dense.*choose a model made of these"),
        ({}, damage_weights, "cannot be loaded by sentence-transformers"),
        ({}, forget_tokenizer, "has no tokenizer"),
        ({}, lambda path: (path / "modules.json").unlink(), "has no modules.json: not a sentence-transformers"),
        ({}, lambda path: (path / "1_Pooling/config.json").unlink(), "without pooling"),
        ({}, lambda path: (path / "modules.json").write_text("{}"), "no list of modules|lists"),
        ({}, lambda path: (path / "config.json").write_text("[]"), "no JSON object"),
        ({}, add_overflow, "does not fit float16"),
    ],
    ids=[
        *("RoBERTa", "max pooling", "Dense", "damaged weights", "no tokenizer", "no modules.json", "no pooling"),
        *("modules of no kind", "config of no kind", "overflow"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    make_model: Any, tmp_path: Path, options: Any, spoil: Callable[[Path], None] | None, complaint: str
) -> None:
    original = make_model(**options)
    if spoil is not None:
        spoil(original)
    with pytest.raises(ModelError, match=complaint):
        export_model(original, tmp_path / "exported")


def test_a_full_disk_is_a_model_error(make_model: Any, tmp_path: Path) -> None:
    original = make_model()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(ModelError, match=r"exported cannot be written.*make room"):
            export_model(original, tmp_path / "exported")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_int8_is_checked_against_the_golden_embeddings(make_model: Any, tmp_path: Path) -> None:
    exported = export_model(make_model(), tmp_path / "exported")
    assert 0.99 < check_model(exported.path, threads=1).lowest_cosines["int8"] < 1 - 1e-7


def hide_an_outlier(original: Path) -> None:
    """Let one activation be so large that int8 loses the others, and let nothing depend on it."""
    path = original / "model.safetensors"
    weights = load_file(path)
    weights["encoder.layer.0.intermediate.dense.bias"][0] = 1e4
    weights["encoder.layer.0.output.dense.weight"][:, 0] = 0
    save_file(weights, path, metadata={"format": "pt"})


def test_a_model_that_does_not_bear_int8_is_taken_in_and_refused_where_it_is_asked_for(
    make_model: Any, tmp_path: Path
) -> None:
    original = make_model()
    hide_an_outlier(original)
    exported = export_model(original, tmp_path / "exported")
    lowest = check_model(exported.path, threads=1).lowest_cosines
    assert lowest["f32"] > 0.9999
    assert lowest["int8"] < 0.99
    with pytest.raises(ModelError, match=r"0.998 is needed.*KOSEARCH_ENCODER__PRECISION=f32"):
        load_model(exported.path, EncoderSettings(precision="int8", threads=1))


def find_on(hub: Any, environment: dict[str, str], hub_id: str) -> str:
    """Look for a model in a process of its own, since the hub's library reads its address when it is imported."""
    script = (
        "import sys; from kosearch.errors import KosearchError; from trainer.encoders.model_source import find_model\n"
        "try: print(find_model(sys.argv[1]))\n"
        "except KosearchError as error: print(type(error).__name__, error)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, hub_id],
        env={**environment, "HF_ENDPOINT": hub.url},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return ended.stdout.strip()


def test_of_a_hub_model_that_no_engine_runs_no_weights_are_downloaded(
    make_model: Any, hub: Any, environment: dict[str, str]
) -> None:
    hub.models["someone/roberta"] = make_model(roberta=True)
    assert "model_type = 'roberta'" in find_on(hub, environment, "someone/roberta")
    assert "config.json" in hub.downloaded
    assert "model.safetensors" not in hub.downloaded


def test_of_a_hub_model_only_what_is_needed_is_downloaded(
    make_model: Any, hub: Any, environment: dict[str, str]
) -> None:
    original = hub.models["someone/bert"] = make_model()
    (original / "pytorch_model.bin").write_bytes(b"pickle")
    (original / "onnx").mkdir()
    (original / "onnx/model.onnx").write_bytes(b"graph")
    snapshot = Path(find_on(hub, environment, "someone/bert"))
    assert (snapshot / "model.safetensors").read_bytes() == (original / "model.safetensors").read_bytes()
    assert not {"pytorch_model.bin", "onnx/model.onnx"} & set(hub.downloaded)


def test_a_model_that_the_hub_does_not_have(hub: Any, environment: dict[str, str]) -> None:
    found = find_on(hub, environment, "no/such")
    assert found.startswith("NotFoundError the hub has no model no/such, or it is private")


@pytest.mark.parametrize("source", ["./nowhere", "/no/such/folder", "a/b/c", "한글 이름"])
def test_what_is_neither_directory_nor_hub_id(source: str) -> None:
    with pytest.raises(NotFoundError, match="neither a directory nor the id of a model"):
        find_model(source)


def test_a_directory_of_the_first_format(make_model: Any, tmp_path: Path) -> None:
    path = export_model(make_model(), tmp_path / "exported").path
    (path / "golden/token_ids.json").unlink()
    check = check_model(path, threads=1)
    assert not check.has_token_ids
