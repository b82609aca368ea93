"""A tiny random BERT in a model directory, made without torch, and what it should answer, computed in plain numpy."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from math import erf
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from encoder_service.engines.cpu import CpuEngine
from encoder_service.engines.engine import Engine
from encoder_service.model_registry import LoadedModel
from encoder_service.server import running_server
from encoder_service.tokeniser import Tokeniser
from kosearch.model_directory import ModelDirectory, seal_model_directory
from kosearch.settings import BrokerSettings, EncoderSettings, QdrantSettings, Settings, TracingSettings

VOCABULARY_SIZE = 400
MAX_TOKENS = 160
GOLDEN_TEXTS = ["한 남자가 음식을 먹는다.", "치타", "원숭이 한 마리가 드럼을 연주한다. " * 12]

Weights = dict[str, NDArray[np.float32]]
Forward = Callable[[Sequence[int]], NDArray[np.float32]]


@dataclass(frozen=True)
class TinyModel:
    """A model directory, and an independent implementation of the model in it.

    forward: token ids of one text -> its embedding, shape (dim,), of length 1
    forward_tokens: the same -> the embeddings of its tokens, shape (tokens, dim), of length 1
    """

    directory: ModelDirectory
    forward: Forward
    forward_tokens: Forward


@dataclass(frozen=True)
class Shape:
    """The size of a random BERT."""

    layers: int = 2
    heads: int = 4
    dim: int = 32
    ffn: int = 64


def write_model(
    path: Path, shape: Shape, *, name: str = "tiny-bert", seed: int = 7, prefix: str = "", half: bool = False
) -> TinyModel:
    """Write a random BERT; `prefix` goes before tensor names, `half` stores float16."""
    weights = random_weights(shape, np.random.default_rng(seed))
    if half:
        weights = {name: tensor.astype(np.float16).astype(np.float32) for name, tensor in weights.items()}
    stored = {prefix + name: tensor.astype(np.float16) if half else tensor for name, tensor in weights.items()}
    (path / "1_Pooling").mkdir(parents=True)
    save_file(stored, path / "model.safetensors")
    tokenizer().save(str(path / "tokenizer.json"))
    write_json(path / "config.json", config_of(shape))
    write_json(
        path / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
    )
    write_json(path / "1_Pooling/config.json", {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True})

    def forward(token_ids: Sequence[int]) -> NDArray[np.float32]:
        mean = bert_forward(weights, shape, token_ids).mean(axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def forward_tokens(token_ids: Sequence[int]) -> NDArray[np.float32]:
        hidden = bert_forward(weights, shape, token_ids)
        return (hidden / np.linalg.norm(hidden, axis=1, keepdims=True)).astype(np.float32)

    cut = tokenizer()
    cut.enable_truncation(MAX_TOKENS)
    golden = np.stack([forward(cut.encode(text.strip()).ids) for text in GOLDEN_TEXTS])
    return TinyModel(seal_model_directory(path, name, MAX_TOKENS, GOLDEN_TEXTS, golden), forward, forward_tokens)


def config_of(shape: Shape) -> dict[str, Any]:
    """Return config.json."""
    return {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "vocab_size": VOCABULARY_SIZE,
    }


def write_json(path: Path, value: object) -> None:
    """Write a file of the model."""
    path.write_text(json.dumps(value), encoding="utf-8")


def tokenizer() -> Tokenizer:
    """Return a tokenizer in which most syllables of the tests are tokens of their own."""
    syllables = "".join(GOLDEN_TEXTS) + "".join(chr(code) for code in range(ord("가"), ord("힣"), 80))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    for syllable in dict.fromkeys(syllables.replace(" ", "")):
        pieces += [syllable, "##" + syllable]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    assert len(vocabulary) <= VOCABULARY_SIZE
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def random_weights(shape: Shape, random: np.random.Generator) -> Weights:
    """Return weights under the names of `transformers.BertModel`, large enough for texts to differ."""
    weights: Weights = {}

    def normal(name: str, *size: int) -> None:
        weights[name] = (random.standard_normal(size) * 0.2).astype(np.float32)

    def layer_norm(name: str) -> None:
        weights[f"{name}.weight"] = random.uniform(0.5, 1.5, shape.dim).astype(np.float32)
        normal(f"{name}.bias", shape.dim)

    def linear(name: str, outputs: int, inputs: int) -> None:
        normal(f"{name}.weight", outputs, inputs)
        normal(f"{name}.bias", outputs)

    normal("embeddings.word_embeddings.weight", VOCABULARY_SIZE, shape.dim)
    normal("embeddings.position_embeddings.weight", 512, shape.dim)
    normal("embeddings.token_type_embeddings.weight", 2, shape.dim)
    layer_norm("embeddings.LayerNorm")
    for number in range(shape.layers):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", shape.dim, shape.dim)
        linear(f"{layer}.attention.output.dense", shape.dim, shape.dim)
        layer_norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", shape.ffn, shape.dim)
        linear(f"{layer}.output.dense", shape.dim, shape.ffn)
        layer_norm(f"{layer}.output.LayerNorm")
    return weights


def bert_forward(stored: Weights, shape: Shape, token_ids: Sequence[int]) -> NDArray[np.float64]:
    """Encode one text the textbook way: no packing, no mask, no batch. Returns its hidden states, (tokens, dim)."""
    weights = {name: tensor.astype(np.float64) for name, tensor in stored.items()}
    gelu = np.vectorize(lambda x: x * 0.5 * (1 + erf(x / 2**0.5)))

    def linear(hidden: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def layer_norm(hidden: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(hidden: NDArray[np.float64]) -> NDArray[np.float64]:
        return hidden.reshape(len(token_ids), shape.heads, -1).transpose(1, 0, 2)  # (heads, tokens, head_dim)

    hidden = weights["embeddings.word_embeddings.weight"][list(token_ids)]  # (tokens, dim)
    hidden = hidden + weights["embeddings.position_embeddings.weight"][: len(token_ids)]
    hidden = layer_norm(hidden + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for number in range(shape.layers):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            heads(linear(hidden, f"{layer}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(shape.dim / shape.heads))  # (heads, tokens, tokens)
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        attended = linear(mixed.transpose(1, 0, 2).reshape(hidden.shape), f"{layer}.attention.output.dense")
        hidden = layer_norm(hidden + attended, f"{layer}.attention.output.LayerNorm")
        widened = gelu(linear(hidden, f"{layer}.intermediate.dense"))
        hidden = layer_norm(hidden + linear(widened, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return hidden


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A sealed model directory with a random BERT; do not change it."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny", Shape())


@pytest.fixture(scope="session")
def make_ids() -> Callable[[str], list[int]]:
    """Tokenise a text as the tiny model should, cut to what it reads."""
    cut = tokenizer()
    cut.enable_truncation(MAX_TOKENS)
    return lambda text: list(cut.encode(" ".join(text.split())).ids)


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., TinyModel]:
    """Make a model directory of one's own, to be changed at will: `make_model(prefix="bert.")`."""
    return lambda folder="model", **options: write_model(tmp_path / folder, Shape(), **options)


@pytest.fixture(scope="session")
def tiny_engine(tiny_model: TinyModel) -> CpuEngine:
    """The CPU engine with the tiny model."""
    return CpuEngine.load(tiny_model.directory, "f32", threads=1)


Serve = Callable[..., AbstractAsyncContextManager[grpc.aio.Channel]]


@pytest.fixture
def serve(tiny_model: TinyModel, tiny_engine: CpuEngine, tmp_path: Path) -> Serve:
    """Run the real server on a free port and connect to it: `async with serve(max_texts=2) as channel`."""

    @asynccontextmanager
    async def serving(
        engine: Engine = tiny_engine,
        qdrant: QdrantSettings | None = None,
        canary_pause_s: float = 10.0,
        spans_to: str = "",
        devices: int = 1,
        **encoder: Any,
    ) -> AsyncIterator[grpc.aio.Channel]:
        settings = Settings(
            data_dir=tmp_path,
            broker=BrokerSettings(url="memory://"),
            # As the engine that is given: a model that is loaded later is compared with what it should compute, too.
            encoder=EncoderSettings(**{"address": "127.0.0.1:0", "precision": "f32"} | encoder),
            tracing=TracingSettings(endpoint=spans_to),
            qdrant=qdrant or QdrantSettings(url="http://127.0.0.1:1", grpc_port=1, timeout_s=2),
        )
        tokeniser = Tokeniser.load(tiny_model.directory, settings.encoder.max_text_bytes)
        loaded = LoadedModel(tiny_model.directory, tokeniser, [engine] * devices)
        async with (
            running_server(settings, loaded, canary_pause_s) as address,
            grpc.aio.insecure_channel(address) as channel,
        ):
            yield channel

    return serving
