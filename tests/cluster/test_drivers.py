"""Commands that are given on one host and again on another, on hosts without a node, and beside `ray start`."""

import signal
import time

import pytest

from cluster_hosts import PROJECT, Host

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture
def begun(cluster, extraction, tmp_path):
    """An extraction that h2 has begun."""
    extraction.pace(0.6)
    process = extraction.start(cluster.hosts[1], tmp_path)
    extraction.wait_for(process, tmp_path, 4)
    return process


@pytest.mark.parametrize("how", ["killed", "powered off"])
def test_a_dead_driver_is_named_with_the_end_of_its_lease_and_taken_over_from_another_host(
    how, cluster, extraction, begun, is_equal, tmp_path
):
    if how == "killed":
        begun.signal(signal.SIGKILL)
    else:
        cluster.hosts[1].power_off()
    assert begun.wait() != 0
    extraction.pace(0)
    refused = extraction.start(cluster.hosts[2], tmp_path)
    assert refused.wait() == 2, refused.text
    assert "on h2 is writing here" in refused.text
    assert "the lease expires in" in refused.text
    assert "--take-over" in refused.text
    again = extraction.start(cluster.hosts[2], tmp_path, "--take-over")
    assert again.wait() == 0, again.text
    assert "on h2 wrote here" in again.text
    assert "this goes on in 12 s" in again.text
    is_equal(tmp_path)


def test_a_living_driver_is_not_taken_over(cluster, extraction, begun, is_equal, tmp_path):
    extraction.slow_down()
    second = extraction.start(cluster.hosts[2], tmp_path, "--take-over")
    assert second.wait() == 2, second.text
    assert "on h2 is writing here" in second.text
    assert "its heartbeat goes on" in second.text
    extraction.pace(0)
    assert begun.wait() == 0, begun.text
    is_equal(tmp_path)


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_driver_whose_clock_is_wrong_keeps_its_lease(hours, cluster, extraction, is_equal, tmp_path):
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(
        f"import time\n_now = time.time\ntime.time = lambda: _now() + {3600 * hours}\n"
    )
    host = cluster.renew(2, PYTHONPATH=f"{clock}:{PROJECT}")
    host.is_changed = True
    extraction.slow_down()
    root = tmp_path / "runs"
    first = extraction.start(host, root)
    extraction.wait_for(first, root, 1)
    second = extraction.start(cluster.hosts[2], root)
    assert second.wait() == 2, second.text
    assert "on h2 is writing here" in second.text
    extraction.pace(0)
    assert first.wait() == 0, first.text
    is_equal(root)


def test_a_driver_that_is_stopped_goes_on_at_once_from_another_host(cluster, extraction, begun, is_equal, tmp_path):
    begun.signal(signal.SIGINT)
    assert begun.wait() == 130, begun.text
    extraction.pace(0)
    again = extraction.start(cluster.hosts[2], tmp_path)
    assert again.wait() == 0, again.text
    is_equal(tmp_path)


def test_status_on_another_host_names_the_drivers_and_the_hosts_that_work(cluster, extraction, begun, tmp_path):
    extraction.slow_down()
    extraction.wait_for_hosts(begun, tmp_path, *(host.name for host in cluster.hosts))
    (store,) = (tmp_path / "features").iterdir()
    asked = cluster.hosts[2].fae_pipe("status", store, "--root", tmp_path)
    assert asked.wait() == 0, asked.text
    assert "on h2" in asked.text
    assert all(host.name in asked.text for host in cluster.hosts), asked.text
    assert "rows by host" in asked.text
    extraction.pace(0)
    assert begun.wait() == 0, begun.text


def test_on_a_host_without_a_node_the_command_ends_soon_and_says_what_to_start(cluster, extraction, tmp_path):
    host = Host(cluster.switch, 9, cluster.folder, cluster.environment)
    try:
        began = time.monotonic()
        process = extraction.start(host, tmp_path)
        assert process.wait() == 2, process.text
        assert time.monotonic() - began < 60  # Ray alone waits for a minute; the imports are most of this
        assert "scan" not in process.text
        assert f"ray start --address={cluster.address}" in process.text
        assert "h9" in process.text
    finally:
        host.power_off()


def test_where_no_cluster_is_the_command_says_so(cluster, extraction, tmp_path):
    process = extraction.start(cluster.hosts[1], tmp_path, "--address", "10.77.0.1:6399")
    assert process.wait() == 2, process.text
    assert "expected a Ray cluster at 10.77.0.1:6399" in process.text
    assert "ray start --head" in process.text


def test_an_embedded_ray_leaves_no_token_that_locks_hosts_out(cluster, extraction, is_equal, tmp_path):
    plain = {name: value for name, value in cluster.environment.items() if not name.startswith("RAY_AUTH")}
    hosts = [Host(cluster.switch, number, cluster.folder, plain) for number in (7, 8)]
    try:
        process = extraction.start(hosts[0], tmp_path, "alone", "--workers", 1)
        assert process.wait() == 0, process.text
        is_equal(tmp_path)
        assert not (hosts[0].folder / ".ray" / "auth_token").exists()
        hosts[0].start_ray(None)
        hosts[1].start_ray(hosts[0].address)
    finally:
        for host in hosts:
            host.power_off()


def test_a_head_that_is_powered_off_ends_the_command_and_a_new_cluster_goes_on(
    cluster, extraction, begun, is_equal, tmp_path
):
    extraction.slow_down()
    cluster.hosts[0].power_off()
    assert begun.wait() == 1, begun.text
    assert "HeadLostError: expected an answer of the cluster's head at 10.77.0.1:6379" in begun.text
    for number in range(1, len(cluster.hosts) + 1):
        cluster.renew(number)
    extraction.pace(0)
    again = extraction.start(cluster.hosts[2], tmp_path)
    assert again.wait() == 0, again.text
    is_equal(tmp_path)
