"""Runs batches on one GPU: copies in, computes and copies out on three streams, so that the host need not wait.

While a batch is computed, the next one is laid out in pinned memory and copied to the GPU; the embeddings of the last
one travel back. The order is kept by events on the GPU.

Of batches up to a fixed size the kernels are not started one by one: a CUDA graph of their shape starts them all at
once, which counts where a kernel takes no longer than its start. The graphs are made when the model is loaded, so that
no caller waits for one and a GPU without the memory for them says so at once.
Source: PyTorch, CUDA semantics, "CUDA Graphs" and "Use pinned memory buffers".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoder_service.engines.engine import Embeddings, TokenIds
from encoder_service.engines.ragged import SHORT_TEXT_TOKENS, BatchShape, choose_shape, lay_out, shape_of
from encoder_service.engines.torch_attention import Attend, GroupedAttention, has_varlen_attention, varlen_attention
from encoder_service.engines.torch_bert import TorchBert


class CudaPipeline:
    """The batches of one model on one GPU, in the order of their submission. For one thread at a time."""

    def __init__(
        self,
        bert: TorchBert,
        shapes: Sequence[BatchShape],
        attend_in_short_texts: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None,
    ) -> None:
        """Take a model on a GPU and make graphs of these ascending shapes, of none where attention does not allow it.

        attend_in_short_texts: as `fused_kernels` has it; None where it cannot be had
        Raises torch.OutOfMemoryError.
        """
        self._bert = bert
        self._attend_in_short_texts = attend_in_short_texts
        self._has_varlen = has_varlen_attention(bert.device, bert.dtype, bert.dim // bert.heads)
        self._free: list[_Slot] = []
        with torch.cuda.device(bert.device):
            self._copying_in, self._computing, self._copying_out = (_stream() for _ in range(3))
            self._computing.wait_stream(torch.cuda.current_stream())  # which has brought the weights
            self._shapes = list(shapes) if self._has_varlen else []
            self._pool = torch.cuda.graph_pool_handle()
            self._graphs = self._record_all()

    def submit(self, token_ids: Sequence[TokenIds]) -> Callable[[], Embeddings]:
        """Begin to encode texts, return what waits for their embeddings, (len(token_ids), dim)."""
        exact = shape_of(token_ids)
        shape = choose_shape(self._shapes, exact) or exact
        slot = self._free.pop() if self._free else _Slot(self._bert.dim)
        with torch.cuda.device(self._bert.device), torch.inference_mode():
            if not slot.has_room(shape.size, exact.texts):
                slot.grow(shape.size, exact.texts, (self._copying_in, self._computing, self._copying_out))
            inputs = slot.host_inputs[: shape.size]
            lay_out(token_ids, shape, inputs.numpy())
            with torch.cuda.stream(self._copying_in):
                slot.inputs[: shape.size].copy_(inputs, non_blocking=True)
                slot.copied_in.record()
            with torch.cuda.stream(self._computing):
                slot.copied_in.wait()
                slot.embeddings[: exact.texts] = self._embed(slot, shape)[: exact.texts]
                slot.computed.record()
            with torch.cuda.stream(self._copying_out):
                slot.computed.wait()
                slot.host_embeddings[: exact.texts].copy_(slot.embeddings[: exact.texts], non_blocking=True)
                slot.copied_out.record()
        return partial(self._wait, slot, exact.texts)

    def encode_tokens(self, token_ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Encode texts at once, kernel by kernel. Returns a unit row for each token, (tokens, dim)."""
        shape = shape_of(token_ids)
        host_inputs = np.empty(shape.size, np.int32)
        lay_out(token_ids, shape, host_inputs)
        # All on one stream, the one of the batches that were submitted before: so it runs behind them.
        with torch.inference_mode(), torch.cuda.stream(self._computing):
            inputs = torch.from_numpy(host_inputs).to(self._bert.device)
            rows = self._bert.embed_tokens(inputs, shape, self._attend(shape, inputs, host_inputs))
            answer: NDArray[np.float32] = rows.cpu().numpy()
        return answer

    def _wait(self, slot: "_Slot", texts: int) -> Embeddings:
        slot.copied_out.synchronize()
        embeddings: Embeddings = slot.host_embeddings[:texts].numpy().copy()
        self._free.append(slot)
        return embeddings

    def _embed(self, slot: "_Slot", shape: BatchShape) -> Tensor:
        graph = self._graphs.get(shape)
        inputs = slot.inputs[: shape.size]
        if graph is not None:
            return graph.run(inputs)
        return self._bert.embed(inputs, shape, self._attend(shape, inputs, slot.host_inputs[: shape.size].numpy()))

    def _attend(self, shape: BatchShape, inputs: Tensor, host_inputs: NDArray[np.int32]) -> Attend:
        _, positions, bounds = shape.parts
        attend = self._attend_in_short_texts
        if attend is not None and shape.longest <= SHORT_TEXT_TOKENS:
            return lambda query, key, value: attend(query, key, value, inputs[positions])
        if self._has_varlen:
            return varlen_attention(inputs[bounds], shape.longest)
        return GroupedAttention(host_inputs[bounds], self._bert.device)

    def _record_all(self) -> dict[BatchShape, "_Graph"]:
        """A graph for each shape. All share one memory: one runs at a time, and its embeddings are copied at once."""
        if not self._shapes:
            return {}
        inputs = torch.empty(max(shape.size for shape in self._shapes), dtype=torch.int32, device="cuda")
        # The largest first: what the others need fits into what it has left behind.
        return {shape: self._record(shape, inputs[: shape.size]) for shape in reversed(self._shapes)}

    def _record(self, shape: BatchShape, inputs: Tensor) -> "_Graph":
        """Record the kernels of one shape, which read from `inputs`, (shape.size,)."""
        host_inputs = np.zeros(shape.size, np.int32)
        lay_out([np.zeros(1, np.int32)], shape, host_inputs)
        attend = self._attend(shape, inputs, host_inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            with torch.cuda.stream(self._computing):
                inputs.copy_(torch.from_numpy(host_inputs))
                self._bert.embed(inputs, shape, attend)  # loads kernels and makes workspaces, which no graph may do
            # The engine of another model may be at work in its own thread, on the same GPU; only ours is recorded.
            with torch.cuda.graph(graph, self._pool, self._computing, capture_error_mode="thread_local"):
                embeddings = self._bert.embed(inputs, shape, attend)
        return _Graph(graph, inputs, embeddings)


@dataclass(frozen=True, slots=True)
class _Graph:
    """The kernels of one shape, started as one: from `inputs` (shape.size,) to `embeddings` (shape.texts, dim)."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    embeddings: Tensor

    def run(self, inputs: Tensor) -> Tensor:
        """Start the kernels on the current stream. Returns (texts, dim), which is good until any graph runs again."""
        self.inputs.copy_(inputs)
        self.graph.replay()
        return self.embeddings


class _Slot:
    """The memory of one batch on its way, on host and GPU, and the events that order what happens to it.

    A batch that waits never shares memory with the one that runs; when it is over, the slot is free for another.
    """

    host_inputs: Tensor  # (size,)
    inputs: Tensor
    embeddings: Tensor  # (texts, dim)
    host_embeddings: Tensor

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._size = self._texts = 0
        self.copied_in, self.computed = _event(), _event()
        # The thread sleeps instead of asking again and again: the next batch is on the GPU already.
        self.copied_out = _event(blocking=True)

    def has_room(self, size: int, texts: int) -> bool:
        """Whether inputs (size,) and embeddings (texts, dim) fit."""
        return size <= self._size and texts <= self._texts

    def grow(self, size: int, texts: int, streams: Sequence[torch.cuda.Stream]) -> None:
        """Make room for inputs (size,) and embeddings (texts, dim), with reserve, so that it happens seldom."""
        self._size, self._texts = (_power_of_two(max(most)) for most in ((size, self._size), (texts, self._texts)))
        self.host_inputs = torch.empty(self._size, dtype=torch.int32, pin_memory=True)
        self.inputs = torch.empty(self._size, dtype=torch.int32, device="cuda")
        self.host_embeddings = torch.empty(self._texts, self._dim, pin_memory=True)
        self.embeddings = torch.empty(self._texts, self._dim, device="cuda")
        # Should a batch fail on its way, its memory is nobody else's before these streams are done with it.
        for tensor in (self.inputs, self.embeddings):
            for stream in streams:
                tensor.record_stream(stream)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def _event(*, blocking: bool = False) -> torch.cuda.Event:
    return torch.cuda.Event(blocking=blocking)  # type: ignore[no-untyped-call]
