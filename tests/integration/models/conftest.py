"""Tiny random sentence-transformers models as strangers would publish them, and a hub that serves them."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("torch", reason="bringing models in needs the trainer extra")

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_SYLLABLES = [chr(code) for code in range(ord("가"), ord("힣"), 40)] + list(
    "물안녕하세요한남자가파스타를먹는다0123456789abcdefghij"
)


def wordpiece() -> Tokenizer:
    """A tokenizer like those of Korean BERTs."""
    pieces = _SPECIAL + [piece for syllable in dict.fromkeys(_SYLLABLES) for piece in (syllable, "##" + syllable)]
    made = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return with_special_tokens(made)


def unigram() -> Tokenizer:
    """A tokenizer like that of multilingual-e5-small: XLM-R's kind under a BertModel."""
    pieces = (
        _SPECIAL + ["▁"] + [piece for syllable in dict.fromkeys(_SYLLABLES) for piece in (syllable, "▁" + syllable)]
    )
    made = Tokenizer(models.Unigram([(piece, -float(number)) for number, piece in enumerate(pieces)], unk_id=1))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return with_special_tokens(made)


def with_special_tokens(made: Tokenizer) -> Tokenizer:
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


_TOKENIZERS = {"wordpiece": wordpiece, "unigram": unigram}


def write_model(
    path: Path,
    *,
    pooling: dict[str, object] | None = None,
    modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
    tokenizer: str = "wordpiece",
    roberta: bool = False,
    options: dict[str, object] | None = None,
) -> Path:
    """Write a random model of 32 dimensions that reads 64 tokens. `options`: sentence-transformers' own."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=_TOKENIZERS[tokenizer](),
        model_max_length=64,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    sizes = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 80,
        "initializer_range": 0.3,
    }
    torch.manual_seed(5)
    encoder = RobertaModel(RobertaConfig(**sizes)) if roberta else BertModel(BertConfig(**sizes))
    encoder.save_pretrained(path)
    fast.save_pretrained(path)
    folders = ("", "1_Pooling", "2_Normalize", "3_Dense")
    listed = [
        {"idx": number, "name": str(number), "path": folders[number], "type": f"sentence_transformers.models.{kind}"}
        for number, kind in enumerate(modules)
    ]
    (path / "1_Pooling").mkdir()
    chosen = {"word_embedding_dimension": 32, **(pooling or {"pooling_mode_mean_tokens": True})}
    write_json(path / "modules.json", listed)
    write_json(path / "1_Pooling/config.json", chosen)
    write_json(path / "config_sentence_transformers.json", options or {})
    (path / "README.md").write_text("라이선스: Apache-2.0", encoding="utf-8")
    return path


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a model of one's own, to be changed at will."""
    return partial(write_model, tmp_path / "original")


@dataclass
class Hub:
    """A hub on this machine. `models`: folders by id; `downloaded`: the files that were fetched."""

    url: str = ""
    models: dict[str, Path] = field(default_factory=dict)
    downloaded: list[str] = field(default_factory=list)


class _HubHandler(BaseHTTPRequestHandler):
    """The calls of the Hugging Face hub that huggingface_hub makes for a snapshot."""

    def __init__(self, hub: Hub, *arguments: object) -> None:
        self._hub = hub
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).removeprefix("/api/models/").removeprefix("/")
        hub_id = "/".join(path.split("/")[:2])
        rest = path.removeprefix(hub_id).removeprefix("/")
        folder = self._hub.models.get(hub_id)
        if folder is None:
            self._send(404, b'{"error":"Repository not found"}', with_body, {"X-Error-Code": "RepoNotFound"})
            return
        files = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
        if rest.startswith("resolve/"):
            name = rest.split("/", 2)[2]
            if name not in files:
                self._send(404, b"", with_body, {"X-Error-Code": "EntryNotFound"})
                return
            if with_body:
                self._hub.downloaded.append(name)
            self._send(200, files[name].read_bytes(), with_body, {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        elif rest.startswith("tree/"):
            entries = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                for name, file in files.items()
            ]
            self._send(200, json.dumps(entries).encode(), with_body, {})
        else:
            described = {"id": hub_id, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
            self._send(200, json.dumps(described).encode(), with_body, {})

    def _send(self, status: int, body: bytes, with_body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A running hub without models."""
    made = Hub()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_HubHandler, made)) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment without settings of whoever runs the tests, and with a cache of its own for the hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KOSEARCH_", "HF_"))}
    return {**kept, "KOSEARCH_DATA_DIR": str(tmp_path / "data"), "HF_HOME": str(tmp_path / "hub")}
