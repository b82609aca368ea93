"""The CPU engine: packed rows through OpenVINO. Needs neither torch nor transformers."""

import os
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from encoder_service.engines.bert_graph import build_bert_graph
from encoder_service.engines.engine import Embeddings, TokenIds
from encoder_service.engines.packing import PackedRows, choose_row_tokens, lay_out
from encoder_service.engines.sentence_bert import read_sentence_bert
from kosearch.architecture import Pooling
from kosearch.model_directory import ModelDirectory
from kosearch.row_packing import pack

Precision = Literal["bf16", "f32", "int8"]

_WARM_UP_LENGTHS = (32, 64, 96, 128)


class CpuEngine:
    """An `Engine` on the cores of this machine. Not safe for two threads at once."""

    def __init__(
        self, graph: ov.Model, dim: int, precision: Precision, threads: int, pooling: Pooling = Pooling.MEAN
    ) -> None:
        """Compile the graph; `threads` 0 stands for one per core that this process may use.

        The precision int8 is that of the graph's weights; its arithmetic is bf16 where the CPU has it, else f32.
        """
        self._dim = dim
        self._pooling = pooling
        core = _openvino()
        # A CPU without bf16 would emulate it, slower than f32 and less exact.
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision: Precision = "f32" if precision == "bf16" and not has_bf16 else precision
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 and precision != "f32" else "f32",
            "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
            "NUM_STREAMS": 1,
            # The workers of an indexing job share the cores: a pinned thread would wait for the one it is pinned to.
            "ENABLE_CPU_PINNING": False,
        }
        # The number of rows stays free: against fixed shapes it costs 1 to 5 %, and saves a compiled copy of the
        # model for every shape. What OpenVINO prepares for a shape it has not met yet takes 3 to 10 ms, once.
        self._request = core.compile_model(graph, "CPU", options).create_infer_request()
        self._warm_up()

    @classmethod
    def load(cls, model: ModelDirectory, precision: Precision, threads: int) -> "CpuEngine":
        """Build the engine from a model directory. Raises ModelError when the model is of another kind."""
        architecture, weights = read_sentence_bert(model, in_int8=precision == "int8")
        bert = architecture.bert
        return cls(build_bert_graph(bert, weights), bert.dim, precision, threads, architecture.pooling)

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        return self._dim

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Encode texts of 1 to max_tokens tokens in the order given. Returns shape (len(token_ids), dim), unit rows."""
        lengths = [len(ids) for ids in token_ids]
        rows = lay_out(token_ids, pack(lengths, choose_row_tokens(lengths)))
        inputs = [rows.token_ids, rows.position_ids, rows.segment_ids]
        hidden = self._request.infer(inputs, share_inputs=True, share_outputs=True)[0]  # (rows, row_tokens, dim)
        hidden = hidden.reshape(-1, self._dim)
        return _unit_rows(hidden[rows.offsets] if self._pooling is Pooling.CLS else _mean_of_texts(hidden, rows))

    def _warm_up(self) -> None:
        """Meet the shapes of single short texts before the first caller does."""
        for length in _WARM_UP_LENGTHS:
            self.encode([np.zeros(length, np.int32)])


@cache
def _openvino() -> ov.Core:
    """OpenVINO, once per process and for as long as the process lives.

    Each of its CPU plugins gives this thread a signal stack of its own, and restores at its end the one it had found.
    Of two plugins that end in the order of their starts, the later restores a stack that is freed already: the next
    signal, SIGTERM say, is then a segmentation fault (2026.4).
    """
    return ov.Core()


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
