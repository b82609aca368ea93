"""Where the service may listen."""

import pytest

from encoder_service.server import check_address
from kosearch.errors import SettingsError


@pytest.mark.parametrize("address", ["127.0.0.1:7410", "localhost:0", "[::1]:7410", "127.3.2.1:1"])
def test_loopback_needs_no_key(address: str) -> None:
    check_address(address, None)


@pytest.mark.parametrize("address", ["0.0.0.0:7410", "[::]:7410", "192.168.0.4:7410", "search.example:7410"])
def test_other_addresses_need_a_key(address: str) -> None:
    with pytest.raises(SettingsError, match="KOSEARCH_ENCODER__API_KEY"):
        check_address(address, None)
    check_address(address, "secret")


@pytest.mark.parametrize("address", ["7410", "localhost", "localhost:", "localhost:http", "localhost:70000", ""])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(SettingsError, match="host:port"):
        check_address(address, "secret")
