"""An extraction over four hosts through power cuts, cut cables and hosts that see less than others: one store."""

import time

import pytest

from cluster_hosts import PROJECT
from jobs.cluster.facts import PACKAGES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
CUT_SECONDS = 40.0


def test_four_hosts_make_the_store_of_one_process_and_are_named(cluster, extraction, is_equal, tmp_path):
    extraction.pace(0.3)
    process = extraction.start(cluster.hosts[1], tmp_path, "--json")
    assert process.wait() == 0, process.text
    is_equal(tmp_path)
    assert all(f'"{host.name}"' in process.text for host in cluster.hosts), process.text
    assert "slowest_host" in process.text


class Events:
    """What befalls a cluster while an extraction that was begun on h2 runs; h1 is the head.

    Each returns what the command has to say.
    """

    @staticmethod
    def power_off(cluster):
        cluster.hosts[3].power_off()
        return ["host h4 was lost"]

    @staticmethod
    def two_power_offs(cluster):
        cluster.hosts[2].power_off()
        cluster.hosts[3].power_off()
        return ["host h3 was lost", "host h4 was lost"]

    @staticmethod
    def power_off_and_on_again(cluster):
        cluster.hosts[3].power_off()
        cluster.renew(4)
        return ["host h4"]  # Ray may miss no more than its worker before it is there again

    @staticmethod
    def cable_cut_for_a_moment(cluster):
        cluster.hosts[2].cut_cable()
        time.sleep(2)
        cluster.hosts[2].mend_cable()
        return []

    @staticmethod
    def cable_cut_for_40_seconds(cluster):
        cluster.hosts[2].cut_cable()
        time.sleep(CUT_SECONDS)
        cluster.hosts[2].mend_cable()
        return ["host h3 was lost"]

    @staticmethod
    def workers_killed(cluster):
        for host in cluster.hosts[2:]:  # the brackets keep the shell itself from being meant
            host.shell("pkill -9 -f ray::[R]ayActor || true")
        return ["host h3: a worker was lost: its process ended", "host h4: a worker was lost: its process ended"]


@pytest.mark.parametrize("event", [name for name in vars(Events) if not name.startswith("_")])
def test_what_befalls_hosts_loses_nothing_and_changes_nothing(event, cluster, extraction, is_equal, tmp_path):
    extraction.pace(0.6)
    process = extraction.start(cluster.hosts[1], tmp_path)
    extraction.wait_for(process, tmp_path, 4)
    extraction.slow_down()
    extraction.wait_for_hosts(process, tmp_path, "h3", "h4")  # else nobody misses them
    said = getattr(Events, event)(cluster)
    for words in said:  # Ray may take a while
        extraction.wait_for_words(process, words)
    extraction.pace(0.1)
    assert process.wait() == 0, process.text
    is_equal(tmp_path)


def test_a_host_that_joins_takes_part(cluster, extraction, is_equal, tmp_path):
    cluster.hosts[3].power_off()
    extraction.slow_down()
    process = extraction.start(cluster.hosts[1], tmp_path, "--json")
    extraction.wait_for(process, tmp_path, 1)
    cluster.renew(4)
    extraction.wait_for_hosts(process, tmp_path, "h4")
    extraction.pace(0)
    assert process.wait() == 0, process.text
    is_equal(tmp_path)
    assert '"h4"' in process.text


class Faults:
    """What is wrong with h4 from the start; each returns what the command has to say besides the host's name."""

    @staticmethod
    def data_unseen(cluster, extraction, root):
        cluster.hosts[3].hide(extraction.images)
        return "images"

    @staticmethod
    def other_data_in_its_place(cluster, extraction, root):
        cluster.hosts[3].hide(extraction.images)
        cluster.hosts[3].shell(
            f"for n in $(seq -w 0 39); do mkdir -p '{extraction.images}'/class0 '{extraction.images}'/class1; "
            f"for c in 0 1; do echo other > '{extraction.images}'/class$c/$n.png; done; done"
        )
        return "it changed since the scan"

    @staticmethod
    def root_not_shared(cluster, extraction, root):
        cluster.hosts[3].hide(root)
        return "share the root"

    @staticmethod
    def encoder_unseen(cluster, extraction, root):
        (extraction.folder / "empty.py").write_text("")
        cluster.hosts[3].is_changed = True
        cluster.hosts[3].shell(f"mount --bind '{extraction.folder}/empty.py' '{extraction.folder}/cells.py'")
        return "cells.py"


@pytest.mark.parametrize("fault", [name for name in vars(Faults) if not name.startswith("_")])
def test_a_host_that_cannot_begin_is_named_and_done_without(fault, cluster, extraction, is_equal, tmp_path):
    text = getattr(Faults, fault)(cluster, extraction, tmp_path)
    extraction.slow_down()
    process = extraction.start(cluster.hosts[1], tmp_path)
    extraction.wait_for_words(process, "host h4: ")
    extraction.pace(0)
    assert process.wait() == 0, process.text
    is_equal(tmp_path)
    assert text in process.text


def test_when_no_host_sees_the_data_the_command_says_so_and_commits_nothing(cluster, extraction, tmp_path):
    cluster.renew(2, cpus=0).is_changed = True  # the driver's own host sees them and has no room for a worker
    for host in (cluster.hosts[0], *cluster.hosts[2:]):
        host.hide(extraction.images)
    process = extraction.start(cluster.hosts[1], tmp_path, "--workers", 3)
    assert process.wait() == 1, process.text
    assert "HostError: host h" in process.text
    assert "cannot be read here" in process.text
    assert "its shards go to other workers" in process.text
    assert extraction.committed(tmp_path) == 0


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_host_that_cannot_write_leaves_its_shards_to_others(fault, cluster, extraction, is_equal, tmp_path):
    extraction.pace(2)
    process = extraction.start(cluster.hosts[1], tmp_path)
    extraction.wait_for(process, tmp_path, 4)
    (store,) = (tmp_path / "features").iterdir()
    array = store / "data.zarr" / "features"
    size, options = ("4k", "") if fault == "full" else ("1m", ",ro")
    cluster.hosts[3].hide(array, size, options)
    if fault == "full":
        cluster.hosts[3].shell(f"mkdir -p '{array}/c'; head -c 4096 /dev/zero > '{array}/fill' || true")
    extraction.wait_for_words(process, "host h4: ")
    extraction.pace(0)
    assert process.wait() == 0, process.text
    is_equal(tmp_path)
    assert {"full": "No space left on device", "read-only": "Read-only file system"}[fault] in process.text


def test_a_host_without_the_package_is_sent_it(cluster, extraction, is_equal, tmp_path):
    for package in PACKAGES:
        cluster.hosts[3].hide(PROJECT / package)
    extraction.pace(0.4)
    process = extraction.start(cluster.hosts[1], tmp_path, "--json")
    assert process.wait() == 0, process.text
    is_equal(tmp_path)
    assert "h4: the code of fae-pipe there is another or absent; this command's is sent" in process.text
    assert '"h4"' in process.text.partition("rows_by_host")[2]


def test_a_host_with_another_torch_is_named_and_done_without(cluster, extraction, is_equal, dist_info, tmp_path):
    cluster.renew(4, PYTHONPATH=f"{dist_info('torch', '1.0.0')}:{PROJECT}")
    cluster.hosts[3].is_changed = True
    extraction.pace(0.2)
    process = extraction.start(cluster.hosts[1], tmp_path)
    assert process.wait() == 0, process.text
    is_equal(tmp_path)
    assert "host h4: expected torch " in process.text
    assert "as on h2; received torch 1.0.0" in process.text
