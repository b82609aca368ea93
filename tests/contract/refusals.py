"""Calls that must fail."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    """Return status and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code(), error.details()
