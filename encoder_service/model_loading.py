"""From a model directory to a model that has proven itself on its golden embeddings, on each device."""

from pathlib import Path

import structlog

from encoder_service.devices import choose_devices
from encoder_service.engines.engine import Engine
from encoder_service.golden import MIN_COSINE, check_golden_embeddings
from encoder_service.model_registry import LoadedModel
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import SettingsError
from kosearch.model_directory import ModelDirectory
from kosearch.settings import EncoderSettings

_log = structlog.get_logger()


def load_model(path: Path, settings: EncoderSettings) -> LoadedModel:
    """Open, load and check a model, once for each device. Blocks for as long as the model takes to compile.

    Raises ModelError, and SettingsError when the device asked for is not there.
    """
    directory = ModelDirectory.open(path)
    tokeniser = Tokeniser.load(directory, settings.max_text_bytes)
    engines = []
    for device in choose_devices(settings.device):
        engine, precision = _load_engine(directory, device, settings)
        cosine = check_golden_embeddings(directory, tokeniser, engine, MIN_COSINE[precision])
        _log.info(
            "model.loaded",
            model=directory.name,
            device=device,
            precision=precision,
            lowest_golden_cosine=round(cosine, 6),
        )
        engines.append(engine)
    return LoadedModel(directory, tokeniser, engines)


def _load_engine(directory: ModelDirectory, device: str, settings: EncoderSettings) -> tuple[Engine, str]:
    """The engine of a device and the precision that it computes in."""
    # Here, because each engine brings a library along that the other has no use for.
    if device == "cpu":
        from encoder_service.engines.cpu import CpuEngine  # noqa: PLC0415

        on_cpu = CpuEngine.load(directory, settings.precision, settings.threads)
        return on_cpu, on_cpu.precision
    if settings.precision == "int8":
        raise SettingsError(
            "KOSEARCH_ENCODER__PRECISION=int8 is for the CPU; set bf16, or set KOSEARCH_ENCODER__DEVICE=cpu"
        )
    from encoder_service.engines.torch_engine import TorchEngine  # noqa: PLC0415

    on_gpu = TorchEngine.load(directory, device, settings.precision, settings.max_batch_tokens)
    return on_gpu, on_gpu.precision
