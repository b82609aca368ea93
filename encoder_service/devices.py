"""Which devices the service encodes on."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Literal

from kosearch.errors import SettingsError

Wanted = Literal["auto", "cpu", "cuda"]

_CPU = ("cpu",)


def find_cuda_devices() -> list[str] | None:
    """The GPUs of this machine, `cuda:0` and so on; None where torch is not installed."""
    if find_spec("torch") is None:
        return None
    # Here, because torch takes seconds and hundreds of megabytes that a service on the CPU has no use for.
    from encoder_service.engines.torch_engine import cuda_devices  # noqa: PLC0415

    return cuda_devices()


def choose_devices(wanted: Wanted, find: Callable[[], Sequence[str] | None] = find_cuda_devices) -> tuple[str, ...]:
    """The devices that get a copy of each model: `cpu` alone, or all GPUs that `find` tells of.

    `auto` takes the GPUs where there are any. For `cpu` nobody is asked. Raises SettingsError for `cuda` without one.
    """
    if wanted == "cpu":
        return _CPU
    found = find()
    if found:
        return tuple(found)
    if wanted == "auto":
        return _CPU
    if found is None:
        raise SettingsError(
            "KOSEARCH_ENCODER__DEVICE=cuda needs torch; install kosearch[gpu], or set KOSEARCH_ENCODER__DEVICE=cpu"
        )
    raise SettingsError(
        "KOSEARCH_ENCODER__DEVICE=cuda, but torch finds no GPU; see what `nvidia-smi` and CUDA_VISIBLE_DEVICES say and "
        "that torch is a build with CUDA, or set KOSEARCH_ENCODER__DEVICE=cpu"
    )
