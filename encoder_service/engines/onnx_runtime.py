"""Runs the model in int8 with ONNX Runtime, whose products are fast on every CPU: AVX2, VNNI and AMX alike."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from encoder_service.engines.bert_weights import BertWeights
from encoder_service.engines.engine import TokenIds
from encoder_service.engines.onnx_graph import INPUTS, Range, build_float_graph, build_int8_graph
from encoder_service.engines.packing import PackedRows, Run, lay_out
from kosearch.architecture import BertConfig
from kosearch.row_packing import pack


def compile_int8(config: BertConfig, weights: BertWeights, calibration: Sequence[TokenIds], threads: int) -> Run:
    """Quantise the model by what flows through it for the texts of `calibration`, and compile it.

    `threads` 0 stands for one per core that this process may use.
    """
    session = _session(build_int8_graph(config, weights, _ranges(config, weights, calibration, threads)), threads)
    return lambda rows: _run(session, rows)[0]


def _ranges(config: BertConfig, weights: BertWeights, calibration: Sequence[TokenIds], threads: int) -> list[Range]:
    """The least and the largest number that go into each product."""
    session = _session(build_float_graph(config, weights), threads)
    # Each text in a row of its own length: what lies in the gaps of rows is no number that a text has.
    found = [_run(session, lay_out([ids], pack([len(ids)], len(ids)))) for ids in calibration]
    least = np.min([least for _, least, _ in found], axis=0)  # (products,)
    largest = np.max([largest for _, _, largest in found], axis=0)
    return list(zip(least.tolist(), largest.tolist(), strict=True))


def _session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    # Between two products threads wait in a loop, which is worth 10 %; between two batches they leave the core.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_mem_pattern = False  # shapes differ from batch to batch
    # Memory is kept for the next batch, which is worth 8 %, but not doubled each time that it is short.
    provider = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    return onnxruntime.InferenceSession(graph, options, providers=[provider])


def _run(session: onnxruntime.InferenceSession, rows: PackedRows) -> list[NDArray[np.float32]]:
    inputs: tuple[NDArray[Any], ...] = (rows.token_ids, rows.position_ids, rows.segment_ids)
    return list(session.run(None, dict(zip(INPUTS, inputs, strict=True))))
