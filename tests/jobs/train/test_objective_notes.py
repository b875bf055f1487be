from jobs.config.generator import GeneratorConfig
from jobs.config.models import AutoencoderConfig
from jobs.train.objective_notes import autoencoder_notes, method_notes


def test_the_defaults_and_a_fitting_choice_need_no_note():
    assert method_notes(GeneratorConfig()) == []
    assert method_notes(GeneratorConfig(prediction="x", time_distribution="logit-normal")) == []


def test_x_prediction_with_uniform_times_is_noted():
    (note,) = method_notes(GeneratorConfig(prediction="x"))
    assert "logit-normal" in note


def test_a_flow_says_that_it_predicts_neither():
    (note,) = method_notes(GeneratorConfig(model="starflow", prediction="x"))
    assert note.startswith("generator.prediction is not used: starflow")


def test_an_autoencoder_says_what_it_does_not_read():
    assert autoencoder_notes(AutoencoderConfig()) == []
    assert autoencoder_notes(AutoencoderConfig(objective="pae")) == []
    (kl,) = autoencoder_notes(AutoencoderConfig(objective="gae", kl_weight=1e-3))
    assert kl.startswith("autoencoder.kl_weight is not used")
    notes = autoencoder_notes(AutoencoderConfig(encoder="pca", objective="pae", semantic_weight=0.1))
    assert [note.split()[0] for note in notes] == ["autoencoder.objective", "autoencoder.semantic_weight"]
