"""Towers of a fixed length see captions as they were trained on them, whatever their folder's tokenizer would do."""

import json

import pytest
import torch

from fae.encoders.joint_towers import TokenPooler
from fae.encoders.text_encoders import TextEncoder, text_encoder_size
from fae.weights.files import WeightsError

transformers = pytest.importorskip("transformers", reason="needs the extra text")
CPU = torch.device("cpu")
LENGTH = 12
WORDS = ["<pad>", "<eos>", "<unk>", "a", "dog", "runs", "A", "Dog", "RUNS", "fast"]
TOWERS = {"siglip": "Siglip", "siglip2": "Siglip2"}


def save_tokenizer(folder):
    """A tokenizer that knows capitals and fills up on the left, as Gemma's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, padding_side="left", model_max_length=LENGTH, **special
    )
    tokenizer.save_pretrained(folder)


@pytest.fixture(params=["siglip", "siglip2", "siglip2 joint"])
def folder(request, tmp_path):
    """A tower of random weights: text alone, or the whole joint model as NaFlex folders have it."""
    torch.manual_seed(0)
    kind, _, joint = request.param.partition(" ")
    name = TOWERS[kind]
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": len(WORDS), "max_position_embeddings": LENGTH, "projection_size": 16}
    if joint:
        config = getattr(transformers, f"{name}Config")(text_config=text, vision_config={**sizes, "num_patches": 16})
        model = getattr(transformers, f"{name}Model")(config)
    else:
        model = getattr(transformers, f"{name}TextModel")(getattr(transformers, f"{name}TextConfig")(**text))
    model.eval().save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    return tmp_path


def ids(tokenizer, text):
    """Token ids of a text as it is, filled up on the right."""
    numbers = tokenizer(text)["input_ids"]
    return torch.tensor([numbers + [tokenizer.pad_token_id] * (LENGTH - len(numbers))])


@torch.no_grad()
def test_captions_are_lower_case_and_filled_up_on_the_right(folder):
    encoder = TextEncoder.load(folder, CPU)
    expected = encoder.model(input_ids=ids(encoder.tokenizer, "a dog runs"))
    found = encoder(["A Dog RUNS"], LENGTH)
    torch.testing.assert_close(found.states, expected.last_hidden_state)
    torch.testing.assert_close(found.pooled, expected.pooler_output)
    assert encoder.lengths(["A Dog RUNS", "a"]) == encoder.lengths(["a dog runs", "a"])
    assert encoder.tokenization == {"lower_case": True, "padded_to": LENGTH}


def test_fewer_tokens_are_the_first_states_of_the_whole(folder):
    encoder = TextEncoder.load(folder, CPU)
    whole, part = encoder(["a dog runs fast"], LENGTH), encoder(["a dog runs fast"], 3)
    torch.testing.assert_close(part.states, whole.states[:, :3])
    torch.testing.assert_close(part.pooled, whole.pooled)
    assert part.lengths.tolist() == [3]


def test_its_size_is_known_without_weights(folder):
    assert (text_encoder_size(str(folder)).width, text_encoder_size(str(folder)).pooled_width) == (16, 16)


def test_a_package_that_a_tokenizer_needs_is_named(tmp_path, monkeypatch):
    def missing(*words, **options):
        raise ImportError("SiglipTokenizer requires the SentencePiece library")

    config = transformers.SiglipTextConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    config.save_pretrained(tmp_path)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", missing)
    with pytest.raises(WeightsError, match=r"SentencePiece library; run: pip install 'fae-pipe\[text\]'"):
        TextEncoder.load(tmp_path, CPU)


def test_a_folder_that_asks_to_run_its_code_is_refused_and_nobody_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked at the terminal"))
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('its code was run')\n")
    for call in (
        lambda: TextEncoder.load(tmp_path, CPU),
        lambda: text_encoder_size(str(tmp_path)),
        lambda: TokenPooler(tmp_path, "off", CPU),
    ):
        with pytest.raises(
            WeightsError, match=r"asks to run code of its own \(trust_remote_code\), which is never done"
        ):
            call()
