"""Where the ranks of a group meet: on the network by which Ray knows their node."""

import os
import socket
import sys

import pytest

from jobs.loop.ray_worker import _address_of, _interface_of, _meet_at

LOOPBACK = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def no_interface(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")  # so that what the test sets is taken back
        monkeypatch.delenv(variable)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.7", "::1"])
def test_ranks_of_one_machine_meet_on_loopback(address):
    _meet_at(address)
    assert [os.environ[variable] for variable in VARIABLES] == [LOOPBACK, LOOPBACK]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_the_interface_of_an_address_is_found():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        found = {name: _address_of(probe, name) for _, name in socket.if_nameindex()}
    assert found[LOOPBACK] == bytes([127, 0, 0, 1])
    for name, address in found.items():
        if address is not None:
            assert _interface_of(socket.inet_ntoa(address)) == name


def test_an_address_of_no_interface_changes_nothing():
    _meet_at("203.0.113.7")
    assert not [variable for variable in VARIABLES if variable in os.environ]


def test_an_interface_that_was_named_is_kept(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    _meet_at("127.0.0.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "ib0"
