"""Does the service compute what the model's author computes? Every precision against the golden embeddings."""

from dataclasses import dataclass
from pathlib import Path

from encoder_service.engines.cpu import CpuEngine, Precision
from encoder_service.golden import MIN_COSINE, check_golden_embeddings
from encoder_service.tokeniser import Tokeniser
from kosearch.model_directory import ModelDirectory

_TEXT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What was found out about a model.

    lowest_cosines: by precision, between an embedding of this service and the golden one of the same text
    golden_texts: how many texts were compared
    has_token_ids: whether their token ids were compared, too
    """

    lowest_cosines: dict[str, float]
    golden_texts: int
    has_token_ids: bool


def check_model(path: Path, threads: int) -> ModelCheck:
    """Encode the golden texts in every precision that this CPU and the model have.

    Raises ModelError when the model cannot be run, or an embedding or token id is not the one it should be.
    """
    model = ModelDirectory.open(path)
    tokeniser = Tokeniser.load(model, _TEXT_BYTES)
    precisions: list[Precision] = ["f32", "bf16", "int8"] if model.int8 is not None else ["f32", "bf16"]
    lowest: dict[str, float] = {}
    for precision in precisions:
        engine = CpuEngine.load(model, precision, threads)
        if engine.precision == precision:  # a CPU without bf16 takes f32 in its place
            lowest[precision] = check_golden_embeddings(model, tokeniser, engine, MIN_COSINE[precision])
    return ModelCheck(lowest, len(model.golden()[0]), model.golden_token_ids() is not None)
