"""Does the service compute what the model's author computes? Every precision against the golden embeddings."""

from dataclasses import dataclass
from pathlib import Path

from encoder_service.engines.cpu import CpuEngine, Precision
from encoder_service.golden import MIN_COSINE, check_golden_embeddings
from encoder_service.tokeniser import Tokeniser
from kosearch.model_directory import ModelDirectory

_TEXT_BYTES = 1 << 20
_PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")


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
    """Encode the golden texts in every precision that this CPU has.

    Raises ModelError when the model cannot be run, or an embedding or token id is not the one it should be.
    """
    model = ModelDirectory.open(path)
    tokeniser = Tokeniser.load(model, _TEXT_BYTES)
    lowest: dict[str, float] = {}
    for precision in _PRECISIONS:
        engine = CpuEngine.load(model, precision, threads)
        if engine.precision == precision:  # a CPU without bf16 takes f32 in its place
            # Not every model bears int8: how well is told, and who asks the service for it hears a refusal there.
            bound = -1.0 if precision == "int8" else MIN_COSINE[precision]
            lowest[precision] = check_golden_embeddings(model, tokeniser, engine, bound)
    return ModelCheck(lowest, len(model.golden()[0]), model.golden_token_ids() is not None)
