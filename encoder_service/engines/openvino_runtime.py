"""Runs the graph of the model with OpenVINO: bf16 where the CPU has it, else float32."""

import os
from functools import cache

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from encoder_service.engines.bert_weights import BertWeights
from encoder_service.engines.openvino_graph import build_graph
from encoder_service.engines.packing import PackedRows, Run
from kosearch.architecture import BertConfig


def has_bf16() -> bool:
    """Whether this CPU computes in bf16. One that does not would emulate it, slower than f32 and less exact."""
    return "BF16" in _openvino().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compile_float(config: BertConfig, weights: BertWeights, threads: int, *, in_bf16: bool) -> Run:
    """Compile the model for `threads` threads, 0 for one per core that this process may use."""
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if in_bf16 else "f32",
        "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
        "NUM_STREAMS": 1,
        # The workers of an indexing job share the cores: a pinned thread would wait for the one it is pinned to.
        "ENABLE_CPU_PINNING": False,
    }
    # The number of rows stays free: against fixed shapes it costs 1 to 5 %, and saves a compiled copy of the
    # model for every shape. What OpenVINO prepares for a shape it has not met yet takes 3 to 10 ms, once.
    request = _openvino().compile_model(build_graph(config, weights), "CPU", options).create_infer_request()

    def run(rows: PackedRows) -> NDArray[np.float32]:
        inputs = [rows.token_ids, rows.position_ids, rows.segment_ids]
        hidden: NDArray[np.float32] = request.infer(inputs, share_inputs=True, share_outputs=True)[0]
        return hidden

    return run


@cache
def _openvino() -> ov.Core:
    """OpenVINO, once per process and for as long as the process lives.

    Each of its CPU plugins gives this thread a signal stack of its own, and restores at its end the one it had found.
    Of two plugins that end in the order of their starts, the later restores a stack that is freed already: the next
    signal, SIGTERM say, is then a segmentation fault (2026.4).
    """
    return ov.Core()
