"""Which devices the service takes, by what it was told and what there is."""

import pytest

from encoder_service.devices import choose_devices
from kosearch.errors import SettingsError


def never() -> None:
    """For a service that must not even ask."""
    raise AssertionError("asked for GPUs")


def test_the_cpu_is_taken_without_a_look_at_gpus() -> None:
    assert choose_devices("cpu", never) == ("cpu",)


@pytest.mark.parametrize("found", [None, []], ids=["no torch", "no GPU"])
def test_auto_takes_the_cpu_where_there_is_no_gpu(found: list[str] | None) -> None:
    assert choose_devices("auto", lambda: found) == ("cpu",)


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_all_gpus_are_taken(wanted: str) -> None:
    assert choose_devices(wanted, lambda: ["cuda:0", "cuda:1"]) == ("cuda:0", "cuda:1")  # type: ignore[arg-type]


def test_cuda_without_torch_names_what_to_install() -> None:
    with pytest.raises(SettingsError, match=r"install kosearch\[gpu\]"):
        choose_devices("cuda", lambda: None)


def test_cuda_without_a_gpu_names_what_to_look_at() -> None:
    with pytest.raises(SettingsError, match="nvidia-smi"):
        choose_devices("cuda", list)
