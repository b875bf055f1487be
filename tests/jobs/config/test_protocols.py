from dataclasses import asdict, fields

import pytest

from jobs.config.evaluation import PROTOCOL_NAMES
from jobs.config.protocols import PROTOCOLS, check_protocol, with_protocol
from jobs.config.stages import SampleConfig


def test_the_names_are_those_of_the_settings():
    assert tuple(PROTOCOLS) == PROTOCOL_NAMES
    known = {part.name for part in fields(SampleConfig)}
    assert all(protocol.sample.keys() <= known for protocol in PROTOCOLS.values())


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_samples_of_a_protocol_pass_its_own_check(name):
    config = with_protocol(SampleConfig(protocol=name))
    check_protocol(name, asdict(config), "samples")
    assert with_protocol(config) == config


def test_without_a_protocol_nothing_changes():
    assert with_protocol(SampleConfig(num=7)) == SampleConfig(num=7)


def test_a_contrary_setting_is_refused_and_an_equal_one_is_not():
    with pytest.raises(ValueError, match="expected steps 50; received steps 100; leave it out"):
        with_protocol(SampleConfig(protocol="rae", steps=100))
    assert with_protocol(SampleConfig(protocol="rae", steps=50)).num == 50_000


def test_other_samples_are_refused_with_all_that_differs():
    made = asdict(SampleConfig(num=1000, labels="random", steps=50))
    with pytest.raises(ValueError, match="expected samples with labels balanced; received here with labels random"):
        check_protocol("quick", made, "here")
    with pytest.raises(ValueError, match="num not recorded, labels not recorded, steps not recorded"):
        check_protocol("quick", {}, "a folder of photographs")
