"""The GPU engine: ragged batches through torch. The one engine that needs torch, which `kosearch[gpu]` installs."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoder_service.engines.bert_weights import BertWeights
from encoder_service.engines.cuda_pipeline import CudaPipeline
from encoder_service.engines.engine import Embeddings, TokenEmbeddings, TokenIds
from encoder_service.engines.fused_kernels import load_fused_kernels
from encoder_service.engines.ragged import BatchShape, graph_shapes, lay_out, shape_of
from encoder_service.engines.sentence_bert import read_sentence_bert
from encoder_service.engines.torch_attention import Attend, GroupedAttention
from encoder_service.engines.torch_bert import PLAIN_KERNELS, TorchBert
from kosearch.architecture import Architecture
from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory

Precision = Literal["f32", "bf16", "f16"]

_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
# Older GPUs emulate bf16.
_CAPABILITY_WITH_BF16 = (8, 0)


def cuda_devices() -> list[str]:
    """The GPUs that torch can use here, `cuda:0` and so on; CUDA_VISIBLE_DEVICES chooses among them."""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


class TorchEngine:
    """An `AsyncEngine` on one GPU; on the CPU the same computation, without its speed and without overlap.

    precision: of weights and products; sums of LayerNorm and pooling are float32
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: BertWeights,
        device: torch.device,
        precision: Precision,
        max_batch_tokens: int,
        max_text_tokens: int,
        *,
        with_graphs: bool = True,
        with_own_kernels: bool = True,
    ) -> None:
        """Bring the model to the device, and make CUDA graphs for batches of up to `max_batch_tokens` there.

        Larger batches, and all of them when not `with_graphs`, run kernel by kernel. Without `with_own_kernels`, and in
        float32, all kernels are torch's.
        """
        self.precision: Precision = precision
        dtype = _DTYPES[precision]
        is_wanted = with_own_kernels and device.type == "cuda" and precision != "f32"
        fused = load_fused_kernels(device) if is_wanted else None
        self._bert = TorchBert(architecture, weights, device, dtype, PLAIN_KERNELS if fused is None else fused.layer)
        shapes = graph_shapes(max_batch_tokens, max_text_tokens) if with_graphs else []
        attend = None if fused is None else fused.attend_in_short_texts
        self._pipeline = CudaPipeline(self._bert, shapes, attend) if device.type == "cuda" else None

    @classmethod
    def load(
        cls,
        model: ModelDirectory,
        device: str,
        precision: Literal["f32", "bf16"] = "bf16",
        max_batch_tokens: int = 4096,
        *,
        with_graphs: bool = True,
        with_own_kernels: bool = True,
    ) -> "TorchEngine":
        """Build the engine from a model directory on `cpu` or `cuda:<number>`.

        bf16 becomes f16 on GPUs that have no bf16, f32 on the CPU. Raises ModelError when the model is of another
        kind, or does not fit into the GPU's memory.
        """
        chosen = torch.device(device)
        architecture, weights = read_sentence_bert(model)
        try:
            return cls(
                architecture,
                weights,
                chosen,
                _choose_precision(chosen, precision),
                max_batch_tokens,
                model.max_tokens,
                with_graphs=with_graphs,
                with_own_kernels=with_own_kernels,
            )
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{model.path} does not fit into the memory of {device} ({str(error).splitlines()[0]}); "
                "lower KOSEARCH_ENCODER__MAX_BATCH_TOKENS, or free the GPU of other processes"
            ) from error

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        return self._bert.dim

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Encode texts of 1 to max_tokens tokens in the order given. Returns shape (len(token_ids), dim), unit rows."""
        return self.submit(token_ids)()

    def submit(self, token_ids: Sequence[TokenIds]) -> Callable[[], Embeddings]:
        """Begin to encode, as `AsyncEngine`; on the CPU it is over when this returns."""
        if self._pipeline is not None:
            return self._pipeline.submit(token_ids)
        embeddings = self._encode_on_host(token_ids)
        return lambda: embeddings

    def encode_tokens(self, token_ids: Sequence[TokenIds]) -> list[TokenEmbeddings]:
        """Encode texts as `encode`, with a unit row for each of their tokens: per text shape (tokens, dim).

        There is no graph for it, and no overlap: whoever asks has a few texts, once a search.
        """
        if self._pipeline is not None:
            rows = self._pipeline.encode_tokens(token_ids)
        else:
            rows = self._on_host(token_ids, self._bert.embed_tokens)
        ends = np.cumsum([len(ids) for ids in token_ids])
        return np.split(rows, ends[:-1])

    def _encode_on_host(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        return self._on_host(token_ids, self._bert.embed)

    def _on_host(
        self, token_ids: Sequence[TokenIds], embed: Callable[[Tensor, BatchShape, Attend], Tensor]
    ) -> NDArray[np.float32]:
        shape = shape_of(token_ids)
        inputs = np.empty(shape.size, np.int32)
        lay_out(token_ids, shape, inputs)
        _, _, bounds = shape.parts
        with torch.inference_mode():
            attend = GroupedAttention(inputs[bounds], self._bert.device)
            rows: NDArray[np.float32] = embed(torch.from_numpy(inputs), shape, attend).numpy()
        return rows


def _choose_precision(device: torch.device, wanted: Literal["f32", "bf16"]) -> Precision:
    if device.type == "cpu" or wanted == "f32":
        return "f32"
    return "bf16" if torch.cuda.get_device_capability(device) >= _CAPABILITY_WITH_BF16 else "f16"
