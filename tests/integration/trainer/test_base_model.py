"""Training starts from KoBERT's files, any encoder of a directory or of the hub, or a fresh model."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import structlog
import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
)
from transformers.convert_slow_tokenizer import import_protobuf

from kosearch.errors import ModelError, NotFoundError
from trainer.encoders.base_model import kobert_config, load_base_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of libraries beneath the trainer
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["▁", "▁한국", "어", "▁모델", "을", "▁공유", "합니다", ".", "한", "국", "모", "델", "공", "유"]
TEXT = "한국어 모델을 공유합니다."
IDS = [2, 6, 7, 8, 9, 10, 11, 12, 3]
SHAPE = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1}
VOCABULARY_SIZE = len(SPECIAL) + len(PIECES)


def write_sentencepiece(path: Path) -> None:
    """A unigram model with KoBERT's special tokens and a few pieces."""
    definitions = import_protobuf()
    kinds = definitions.ModelProto.SentencePiece
    model = definitions.ModelProto()
    model.trainer_spec.model_type = definitions.TrainerSpec.UNIGRAM
    for number, token in enumerate(SPECIAL):
        model.pieces.add(piece=token, score=0.0, type=kinds.USER_DEFINED if number else kinds.UNKNOWN)
    for number, piece in enumerate(PIECES):
        model.pieces.add(piece=piece, score=-5.0 - number / 10, type=kinds.NORMAL)
    path.write_bytes(model.SerializeToString())


def bert_config(vocab_size: int = VOCABULARY_SIZE) -> BertConfig:
    return BertConfig(vocab_size=vocab_size, max_position_embeddings=32, pad_token_id=1, **SHAPE)


def write_pickle(model: torch.nn.Module, config: BertConfig | DistilBertConfig, folder: Path) -> None:
    """As checkpoints of KoBERT's time are: one pickle of tensors beside the configuration."""
    config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.fixture
def kobert_folder(tmp_path: Path) -> Path:
    """A directory like skt/kobert-base-v1: pickled weights and spiece.model."""
    folder = tmp_path / "kobert"
    folder.mkdir()
    write_sentencepiece(folder / "spiece.model")
    write_pickle(BertModel(bert_config()), bert_config(), folder)
    return folder


@pytest.fixture
def wordpiece_folder(tmp_path: Path) -> Path:
    """A plain transformers checkpoint with a WordPiece vocabulary."""
    folder = tmp_path / "wordpiece"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "한국어", "모델", "##을", "공유", "##합니다", "."]
    BertModel(bert_config(len(tokens))).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder


def token_ids(model: SentenceTransformer) -> list[int]:
    return list(model.tokenizer(TEXT)["input_ids"])


def test_kobert_of_a_directory_gets_its_tokenizer_and_mean_pooling(kobert_folder: Path) -> None:
    model = load_base_model(str(kobert_folder), max_tokens=16)
    weights = torch.load(kobert_folder / "pytorch_model.bin")
    assert token_ids(model) == IDS
    assert model.max_seq_length == 16
    assert model[1].pooling_mode == "mean"
    torch.testing.assert_close(
        model[0].auto_model.embeddings.word_embeddings.weight, weights["embeddings.word_embeddings.weight"]
    )
    features = model[0](model.preprocess([TEXT]))  # token_embeddings: (1, tokens, dim)
    mean = features["token_embeddings"].mean(dim=1)[0].detach().numpy()
    np.testing.assert_allclose(model.encode(TEXT), mean, atol=1e-6)


def test_a_saved_kobert_reloads_unpatched_with_equal_ids_and_embeddings(kobert_folder: Path, tmp_path: Path) -> None:
    model = load_base_model(str(kobert_folder), max_tokens=16)
    model.save_pretrained(str(tmp_path / "saved"))
    for reloaded in (
        SentenceTransformer(str(tmp_path / "saved"), device="cpu"),
        load_base_model(str(tmp_path / "saved"), 16),
    ):
        assert token_ids(reloaded) == IDS
        np.testing.assert_allclose(reloaded.encode([TEXT, "모델"]), model.encode([TEXT, "모델"]), atol=1e-6)


def test_distilkobert_has_its_own_architecture_and_kobert_s_tokenizer(tmp_path: Path) -> None:
    config = DistilBertConfig(vocab_size=VOCABULARY_SIZE, dim=16, n_heads=2, hidden_dim=32, n_layers=1, pad_token_id=1)
    write_sentencepiece(tmp_path / "tokenizer_78b3253a26.model")
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in SPECIAL + PIECES), encoding="utf-8")
    write_pickle(DistilBertModel(config), config, tmp_path)
    model = load_base_model(str(tmp_path), max_tokens=16)
    assert isinstance(model[0].auto_model, DistilBertModel)
    assert token_ids(model) == IDS
    assert model.encode([TEXT]).shape == (1, 16)


def test_a_language_model_s_checkpoint_gives_its_encoder(kobert_folder: Path) -> None:
    language_model = BertForMaskedLM(bert_config())
    torch.save(language_model.state_dict(), kobert_folder / "pytorch_model.bin")
    model = load_base_model(str(kobert_folder), max_tokens=16)
    torch.testing.assert_close(model[0].auto_model.encoder.state_dict(), language_model.bert.encoder.state_dict())


def test_a_plain_checkpoint_with_a_wordpiece_vocabulary_loads(wordpiece_folder: Path) -> None:
    """Like ETRI's KorBERT: a vocabulary, and nothing that says whether the case counts."""
    model = load_base_model(str(wordpiece_folder), max_tokens=16)
    assert token_ids(model) == [2, 5, 6, 7, 8, 9, 10, 3]
    assert model.encode([TEXT]).shape == (1, 16)


def test_a_sentence_transformer_without_pooling_gets_mean_pooling(wordpiece_folder: Path, tmp_path: Path) -> None:
    load_base_model(str(wordpiece_folder), max_tokens=16)[0].save(str(tmp_path / "parts"))
    SentenceTransformer(modules=[load_base_model(str(wordpiece_folder), 16)[0]], device="cpu").save_pretrained(
        str(tmp_path / "bare")
    )
    with structlog.testing.capture_logs() as logs:
        model = load_base_model(str(tmp_path / "bare"), max_tokens=16)
    assert model.encode([TEXT]).shape == (1, 16)
    assert {"event": "pooling.added", "model": str(tmp_path / "bare"), "mode": "mean", "log_level": "info"} in logs


def test_a_configuration_alone_gives_a_fresh_model(kobert_folder: Path) -> None:
    (kobert_folder / "pytorch_model.bin").unlink()
    torch.manual_seed(3)
    first = load_base_model(str(kobert_folder / "config.json"), max_tokens=16).encode([TEXT])
    torch.manual_seed(3)
    second = load_base_model(str(kobert_folder / "config.json"), max_tokens=16).encode([TEXT])
    np.testing.assert_array_equal(first, second)


def test_kobert_s_shape_has_92_million_parameters() -> None:
    with torch.device("meta"):
        model = BertModel(kobert_config())
    assert sum(weight.numel() for weight in model.parameters()) == 92_186_880


def test_a_directory_without_weights_says_how_to_start_afresh(kobert_folder: Path) -> None:
    (kobert_folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"has no weights .* give its config\.json"):
        load_base_model(str(kobert_folder), max_tokens=16)


def test_a_directory_without_configuration_is_refused(kobert_folder: Path) -> None:
    (kobert_folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_base_model(str(kobert_folder), max_tokens=16)


@pytest.mark.parametrize("content", ["{", '{"model_type": "no-such-model"}', '{"hidden_size": 16}'])
def test_a_configuration_that_describes_no_model_is_refused(content: str, kobert_folder: Path) -> None:
    (kobert_folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="describes no model"):
        load_base_model(str(kobert_folder), max_tokens=16)


def test_a_directory_without_tokenizer_files_is_refused(kobert_folder: Path) -> None:
    (kobert_folder / "spiece.model").unlink()
    with pytest.raises(ModelError, match="has no tokenizer files"):
        load_base_model(str(kobert_folder), max_tokens=16)


def test_truncated_weights_are_refused(kobert_folder: Path) -> None:
    weights = kobert_folder / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_base_model(str(kobert_folder), max_tokens=16)


def test_weights_of_another_architecture_are_refused(kobert_folder: Path) -> None:
    torch.save(
        {"embeddings.word_embeddings.weight": torch.zeros(VOCABULARY_SIZE, 16)}, kobert_folder / "pytorch_model.bin"
    )
    with pytest.raises(ModelError, match=r"lack .* tensors"):
        load_base_model(str(kobert_folder), max_tokens=16)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(kobert_folder: Path) -> None:
    write_pickle(BertModel(bert_config(10)), bert_config(10), kobert_folder)
    with pytest.raises(ModelError, match=f"embeddings for 10 tokens, its tokenizer gives {VOCABULARY_SIZE}"):
        load_base_model(str(kobert_folder), max_tokens=16)


def test_more_tokens_than_the_model_has_positions_are_refused(kobert_folder: Path) -> None:
    with pytest.raises(ModelError, match="reads at most 32 tokens, not 64"):
        load_base_model(str(kobert_folder), max_tokens=64)


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    GPT2Model(GPT2Config(vocab_size=20, n_positions=16, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is a decoder \(gpt2\)"):
        load_base_model(str(tmp_path), max_tokens=16)


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "a/b/c"])
def test_a_name_that_is_neither_path_nor_hub_id_is_not_found(name: str) -> None:
    with pytest.raises(NotFoundError, match=r"give a directory, a config\.json, or the id"):
        load_base_model(name, max_tokens=16)


class Hub(SimpleHTTPRequestHandler):
    """What of the hub's interface a download uses, over the folders `owner/name` beneath a directory."""

    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _answer(self, *, with_body: bool) -> None:
        root = Path(self.directory)
        path = self.path.partition("?")[0].removeprefix("/")
        if path.startswith("api/models/"):
            owner, name, *rest = path.removeprefix("api/models/").split("/")
            folder = root / owner / name
            if not folder.is_dir():
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body=with_body)
                return
            files = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name} for f in folder.iterdir()
            ]
            info = {"id": f"{owner}/{name}", "sha": self.COMMIT, "siblings": [{"rfilename": f["path"]} for f in files]}
            self._send(200, json.dumps(files if rest[:1] == ["tree"] else info).encode(), {}, with_body=with_body)
            return
        owner, name, _, _, file = path.split("/", 4)
        content = (root / owner / name / file).read_bytes()
        self._send(200, content, {"ETag": f'"{file}"', "X-Repo-Commit": self.COMMIT}, with_body=with_body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def use_hub(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT and HF_HUB_CACHE set when a process starts."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder whose `owner/name` directories a hub on this machine serves."""
    folder = tmp_path / "hub"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_hub(f"http://127.0.0.1:{server.server_port}", tmp_path / "cache", monkeypatch)
    yield folder
    server.shutdown()
    server.server_close()


def test_kobert_of_the_hub_is_downloaded_and_converted(hub: Path, kobert_folder: Path) -> None:
    (hub / "monologg").mkdir()
    (kobert_folder / "tokenization_kobert.py").write_text("raise AssertionError('executed')")
    kobert_folder.rename(hub / "monologg" / "kobert")
    model = load_base_model("monologg/kobert", max_tokens=16)
    assert token_ids(model) == IDS
    assert model.encode([TEXT]).shape == (1, 16)


def test_a_decoder_of_the_hub_is_refused_before_its_weights_are_downloaded(hub: Path, tmp_path: Path) -> None:
    GPT2Model(GPT2Config(vocab_size=20, n_positions=16, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        hub / "a" / "gpt"
    )
    with pytest.raises(ModelError, match="is a decoder"):
        load_base_model("a/gpt", max_tokens=16)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_model_that_the_hub_lacks_is_not_found(hub: Path) -> None:
    with pytest.raises(NotFoundError, match="the hub has no model monologg/kobret"):
        load_base_model("monologg/kobret", max_tokens=16)


def test_without_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    with pytest.raises(ModelError, match=r"cannot be downloaded.*download it elsewhere and give its directory"):
        load_base_model("monologg/kobert", max_tokens=16)
