"""Sessions of Ray: the dashboard is started only when it can be, and a mistake says what to do."""

import importlib.util

import pytest

from jobs.config import RuntimeConfig
from jobs.ray_pool import ray_session


@pytest.fixture
def no_ray(monkeypatch):
    """Ray as if none were running, and every start an error."""

    def refuse(**settings):
        raise AssertionError(f"Ray was started with {settings}")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", refuse)


def enter(runtime):
    with ray_session(runtime):
        pass


def test_a_clusters_dashboard_is_its_own_affair(no_ray):
    with pytest.raises(
        ValueError, match=r"runtime.dashboard: the cluster at 10.0.0.7:6379 decides about its dashboard"
    ):
        enter(RuntimeConfig(dashboard=True, address="10.0.0.7:6379"))


def test_a_dashboard_whose_packages_are_missing_names_what_to_install(no_ray, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'ray\[default\]'"):
        enter(RuntimeConfig(dashboard=True))


@pytest.mark.parametrize("dashboard", [True, False])
def test_the_embedded_ray_has_a_dashboard_when_asked_and_is_on_loopback(no_ray, monkeypatch, dashboard):
    settings = {}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr("ray.init", lambda **given: settings.update(given))
    monkeypatch.setattr("ray.shutdown", lambda: None)
    enter(RuntimeConfig(dashboard=dashboard))
    assert settings["include_dashboard"] is dashboard
    assert settings["_node_ip_address"] == "127.0.0.1"
    assert settings["address"] == "local"
    assert settings.get("dashboard_host", "127.0.0.1") == "127.0.0.1"
