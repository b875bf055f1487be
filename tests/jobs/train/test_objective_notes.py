from jobs.config.generator import GeneratorConfig
from jobs.train.objective_notes import method_notes


def test_the_defaults_and_a_fitting_choice_need_no_note():
    assert method_notes(GeneratorConfig()) == []
    assert method_notes(GeneratorConfig(prediction="x", time_distribution="logit-normal")) == []


def test_x_prediction_with_uniform_times_is_noted():
    (note,) = method_notes(GeneratorConfig(prediction="x"))
    assert "logit-normal" in note


def test_a_flow_says_that_it_predicts_neither():
    (note,) = method_notes(GeneratorConfig(model="starflow", prediction="x"))
    assert note.startswith("generator.prediction is not used: starflow")
