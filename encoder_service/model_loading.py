"""From a model directory to a model that has proven itself on its golden embeddings."""

from pathlib import Path

import structlog

from encoder_service.engines.cpu import CpuEngine, Precision
from encoder_service.golden import MIN_COSINE, check_golden_embeddings
from encoder_service.model_registry import LoadedModel
from encoder_service.tokeniser import Tokeniser
from kosearch.model_directory import ModelDirectory


def load_model(path: Path, precision: Precision, threads: int, max_text_bytes: int) -> LoadedModel:
    """Open, load and check a model. Blocks for as long as the model takes to compile. Raises ModelError."""
    directory = ModelDirectory.open(path)
    tokeniser = Tokeniser.load(directory, max_text_bytes)
    engine = CpuEngine.load(directory, precision, threads)
    cosine = check_golden_embeddings(directory, tokeniser, engine, MIN_COSINE[engine.precision])
    structlog.get_logger().info(
        "model.loaded", model=directory.name, precision=engine.precision, lowest_golden_cosine=round(cosine, 6)
    )
    return LoadedModel(directory, tokeniser, engine)
