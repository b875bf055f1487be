"""Which images to make: classes and seeds."""

from dataclasses import replace

import pytest

from jobs.config.class_ids import format_ids, parse_classes, parse_ids
from jobs.config.stages import SampleConfig
from jobs.sampling.sample_plan import plan_classes

NAMES = ["tench", "english-springer", "church", "7"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("2", [2]),
        ("0,3, 1", [0, 3, 1]),
        ("1-3", [1, 2, 3]),
        ("0,2-3", [0, 2, 3]),
        ("church,tench", [2, 0]),
        ("english-springer", [1]),
        ("7", [3]),  # no id, but a class of that name
        ("name:7,id:2", [3, 2]),
        ("id:0-1", [0, 1]),
        ("1,1", [1, 1]),
    ],
)
def test_classes_by_number_range_and_name(text, expected):
    assert parse_classes(text, 4, NAMES) == expected


@pytest.mark.parametrize("text", ["", "cat", "3-1", "1,,2", "-1", "1-", "0x1", "²"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"classes: expected ids such as"):
        parse_classes(text, 4, NAMES)


def test_a_part_of_a_name_is_answered_with_the_names_that_hold_it():
    names = ["n01440764_tench", "n02102040_English_springer"]
    with pytest.raises(ValueError, match=r"received 'tench'; did you mean 'n01440764_tench'\?"):
        parse_classes("tench", 2, names)
    with pytest.raises(ValueError, match=r"received 'cat'; names are n01440764_tench, n02102040_English_springer$"):
        parse_classes("cat", 2, names)


@pytest.mark.parametrize("text", ["4", "0-9", "0-999999999999"])
def test_a_class_that_the_generator_does_not_know_is_refused(text):
    with pytest.raises(ValueError, match="classes: expected ids below 4; received"):
        parse_classes(text, 4, None)


def test_numbers_that_are_ids_and_names_of_other_classes_are_refused():
    folders = [str(number) for number in range(1, 13)]  # ids 0 to 11
    for text in ("3", "0,3", "0-2", "11"):
        with pytest.raises(
            ValueError, match=r"class names are numbers other than their ids; write id:\S+ for ids, name:"
        ):
            parse_classes(text, 12, folders)
    assert parse_classes("12", 12, folders) == [11]
    assert parse_classes("name:3,id:3,id:0-1", 12, folders) == [2, 3, 0, 1]
    assert parse_classes("3,0-2", 4, ["0", "1", "2", "3"]) == [3, 0, 1, 2]


def test_a_name_may_hold_commas():
    assert parse_classes("tench, Tinca tinca", 2, ["goldfish", "tench, Tinca tinca"]) == [1]


def test_ids_are_kept_as_short_text():
    assert format_ids([7, 0, 1, 2, 9, 10]) == "0-2,7,9-10"
    assert parse_ids("0-2,7,9-10") == [0, 1, 2, 7, 9, 10]
    assert format_ids([]) == ""
    assert parse_ids("") == []


def test_every_class_in_turn_leaves_out_ids_without_images():
    assert plan_classes(SampleConfig(num=5), 6, None, [1, 4]).labels.tolist() == [1, 4, 1, 4, 1]
    drawn = plan_classes(SampleConfig(num=50, labels="random"), 6, None, [1, 4]).labels
    assert set(drawn.tolist()) == {1, 4}
    assert plan_classes(SampleConfig(num=2, classes="0"), 6, None, [1, 4]).labels.tolist() == [0, 0]


def test_images_go_round_the_classes_with_a_seed_each():
    plan = plan_classes(SampleConfig(num=5, seed=100, classes="3,1"), 4, None)
    assert plan.labels.tolist() == [3, 1, 3, 1, 3]
    assert plan.seeds == [100, 101, 102, 103, 104]


def test_random_labels_are_drawn_by_the_seed_from_the_chosen_classes():
    config = SampleConfig(num=300, seed=3, classes="1,3", labels="random")
    first, again = plan_classes(config, 4, None), plan_classes(config, 4, None)
    assert first.labels.tolist() == again.labels.tolist()
    assert set(first.labels.tolist()) == {1, 3}
    assert 110 < (first.labels == 3).sum() < 190
    assert first.labels.tolist() != plan_classes(replace(config, seed=4), 4, None).labels.tolist()
    assert first.name(299) == f"000299-class{first.labels[299]}-seed302"
