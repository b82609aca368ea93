"""The CPU engine: texts packed into rows, run by OpenVINO or ONNX Runtime. Needs neither torch nor transformers."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from encoder_service.engines.engine import Embeddings, TokenEmbeddings, TokenIds
from encoder_service.engines.openvino_runtime import compile_float, has_bf16
from encoder_service.engines.packing import PackedRows, Run, choose_packing, lay_out, split_by_length
from encoder_service.engines.sentence_bert import read_sentence_bert
from encoder_service.tokeniser import Tokeniser
from kosearch.architecture import Pooling
from kosearch.model_directory import ModelDirectory

Precision = Literal["bf16", "f32", "int8"]

_WARM_UP_LENGTHS = (8, 16, 24, 32, 40, 48, 56, 64, 96, 128)
_CALIBRATION_TEXT_BYTES = 1 << 20


class CpuEngine:
    """An `Engine` on the cores of this machine. Not safe for two threads at once.

    precision: of the matrix products
    """

    def __init__(self, run: Run, model: ModelDirectory, precision: Precision, pooling: Pooling) -> None:
        """Take a compiled model and warm it up."""
        self._run = run
        self._dim = model.dim
        self.precision = precision
        self._pooling = pooling
        self._warm_up(model.max_tokens)

    @classmethod
    def load(cls, model: ModelDirectory, precision: Precision, threads: int) -> "CpuEngine":
        """Compile a model directory; `threads` 0 stands for one per core that this process may use.

        Asked for bf16 on a CPU without, it takes f32. Raises ModelError when the model is of another kind.
        """
        architecture, weights = read_sentence_bert(model)
        bert = architecture.bert
        if precision == "int8":
            # Here, because loading what builds and runs the graph takes memory that nobody else needs.
            from encoder_service.engines.onnx_runtime import compile_int8  # noqa: PLC0415

            calibration = Tokeniser.load(model, _CALIBRATION_TEXT_BYTES).tokenise(model.golden()[0]).token_ids
            return cls(compile_int8(bert, weights, calibration, threads), model, "int8", architecture.pooling)
        in_bf16 = precision == "bf16" and has_bf16()
        run = compile_float(bert, weights, threads, in_bf16=in_bf16)
        return cls(run, model, "bf16" if in_bf16 else "f32", architecture.pooling)

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        return self._dim

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Encode texts of 1 to max_tokens tokens in the order given. Returns shape (len(token_ids), dim), unit rows."""
        parts = split_by_length([len(ids) for ids in token_ids])
        if len(parts) == 1:
            return self._encode_together(token_ids)
        embeddings = np.empty((len(token_ids), self._dim), np.float32)
        for part in parts:
            embeddings[part] = self._encode_together([token_ids[text] for text in part])
        return embeddings

    def encode_tokens(self, token_ids: Sequence[TokenIds]) -> list[TokenEmbeddings]:
        """Encode texts as `encode`, with a unit row for each of their tokens: per text shape (tokens, dim)."""
        of_texts: list[TokenEmbeddings] = [np.empty(0, np.float32)] * len(token_ids)
        for part in split_by_length([len(ids) for ids in token_ids]):
            hidden, rows = self._hidden([token_ids[text] for text in part])
            for text, offset, length in zip(part, rows.offsets, rows.lengths, strict=True):
                of_texts[text] = _unit_rows(hidden[offset : offset + length].copy())
        return of_texts

    def _encode_together(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        hidden, rows = self._hidden(token_ids)
        return _unit_rows(hidden[rows.offsets] if self._pooling is Pooling.CLS else _mean_of_texts(hidden, rows))

    def _hidden(self, token_ids: Sequence[TokenIds]) -> tuple[NDArray[np.float32], PackedRows]:
        """Hidden states, shape (rows * row_tokens, dim), good until the next call, and where each text has its own."""
        rows = lay_out(token_ids, choose_packing([len(ids) for ids in token_ids]))
        return self._run(rows).reshape(-1, self._dim), rows

    def _warm_up(self, max_tokens: int) -> None:
        """Meet the shapes of single short texts before the first caller does."""
        for length in _WARM_UP_LENGTHS:
            self.encode([np.zeros(min(length, max_tokens), np.int32)])


def _mean_of_texts(hidden: NDArray[np.float32], rows: PackedRows) -> NDArray[np.float32]:
    """Average hidden states, shape (row_count * row_tokens, dim), over each text. Returns shape (texts, dim)."""
    sums = np.empty((len(rows.lengths), hidden.shape[1]), np.float32)
    for text, (offset, length) in enumerate(zip(rows.offsets, rows.lengths, strict=True)):
        np.add.reduce(hidden[offset : offset + length], axis=0, out=sums[text])
    sums /= rows.lengths[:, None]
    return sums


def _unit_rows(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make every row of length 1, in place."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings /= np.maximum(lengths, 1e-12)
    return embeddings
