import copy
import math

import pytest
import torch
from torch import nn

from fae.models.autoencoder import FeatureAutoencoder
from fae.models.lightning_dit import LightningDiT
from fae.models.pixel_vae import PixelVAE
from fae.optim.muon import MUON_RULES, MuonWithAdamW, block_matrices
from fae.optim.optimizers import load_optimizer_tensors, make_optimizer, optimizer_tensors


def model():
    torch.manual_seed(0)
    made = LightningDiT(4, (2, 2), 3, 32, 2, 2)
    for value in made.parameters():
        if value.requires_grad:
            nn.init.normal_(value, std=0.1)
    return made


def gradients(made, seed):
    draws = torch.Generator().manual_seed(seed)
    for value in made.parameters():
        if value.requires_grad:
            value.grad = torch.randn(value.shape, generator=draws)


def trained(steps, made, optimizer, first=0):
    for number in range(first, first + steps):
        gradients(made, number)
        optimizer.step()
    return made


def test_the_blocks_matrices_are_muons_and_all_else_is_adamws():
    made = model()
    optimizer = make_optimizer(made, 1e-2, kind="muon")
    assert isinstance(optimizer, MuonWithAdamW)
    names = {id(value): name for name, value in made.named_parameters()}
    muons = {names[id(value)] for group in optimizer.muon.param_groups for value in group["params"]}
    expected = {name for name in names.values() if name.startswith("blocks.") and name.endswith("weight")}
    assert muons == {name for name in expected if "norm" not in name}
    assert len(muons) == 2 * 5
    others = {names[id(value)] for group in optimizer.adamw.param_groups for value in group["params"]}
    assert muons | others == {name for name, value in made.named_parameters() if value.requires_grad}
    assert not muons & others


@pytest.mark.parametrize("guarded", [False, True])
def test_each_part_takes_the_step_of_torchs_own_optimizer(guarded):
    made, other = model(), model()
    optimizer = make_optimizer(made, 1e-2, beta2=0.95, weight_decay=0.1, kind="muon")
    optimizer.found_inf = torch.zeros(()) if guarded else None
    trained(3, made, optimizer)
    matrices = block_matrices(other)
    ids = {id(value) for value in matrices}
    rest = [value for value in other.parameters() if value.requires_grad and id(value) not in ids]
    decayed = {id(m.weight) for m in other.modules() if isinstance(m, nn.Linear)}
    groups = [
        {"params": [value for value in rest if id(value) in decayed], "weight_decay": 0.1},
        {"params": [value for value in rest if id(value) not in decayed], "weight_decay": 0.0},
    ]
    muon = torch.optim.Muon(matrices, lr=1e-2, weight_decay=0.1, **MUON_RULES)
    adamw = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), fused=True)
    for number in range(3):
        gradients(other, number)
        muon.step()
        adamw.step()
    for (name, ours), theirs in zip(made.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_step_has_adamws_root_mean_square_whatever_the_matrix():
    made = model()
    before = [value.detach().clone() for value in block_matrices(made)]
    trained(1, made, make_optimizer(made, 1e-2, kind="muon"))
    for value, old in zip(block_matrices(made), before, strict=True):
        step = float((value.detach() - old).square().mean().sqrt()) / 1e-2
        # Of an exactly orthogonal (out, in) matrix 0.2·√max/√max = 0.2; five iterations are within 30 %.
        assert step == pytest.approx(0.2, rel=0.3), value.shape


def test_going_on_from_a_saved_state_gives_the_same_bits():
    whole = model()
    trained(5, whole, make_optimizer(whole, 1e-2, kind="muon"))
    half = model()
    first = make_optimizer(half, 1e-2, kind="muon")
    trained(2, half, first)
    tensors = {name: value.clone() for name, value in optimizer_tensors(first).items()}
    resumed = copy.deepcopy(half)
    second = make_optimizer(resumed, 1e-2, kind="muon")
    load_optimizer_tensors(second, tensors)
    for group in second.param_groups:
        group["lr"] = 1e-2
    trained(3, resumed, second, first=2)
    for (name, ours), theirs in zip(resumed.named_parameters(), whole.named_parameters(), strict=True):
        assert torch.equal(ours, theirs[1]), name


def test_rates_set_in_the_groups_reach_both_before_and_after_loading():
    made = model()
    optimizer = make_optimizer(made, 1e-2, kind="muon")
    for loaded in (False, True):
        if loaded:
            load_optimizer_tensors(optimizer, optimizer_tensors(optimizer))
        before = [value.detach().clone() for value in made.parameters()]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        trained(1, made, optimizer)
        assert all(torch.equal(*pair) for pair in zip(made.parameters(), before, strict=True))


def test_a_step_that_is_not_finite_changes_nothing():
    made = model()
    optimizer = make_optimizer(made, 1e-2, kind="muon")
    trained(1, made, optimizer)
    before = [value.detach().clone() for value in made.parameters()]
    state = {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    for spoilt in (0, None):
        gradients(made, 1)
        if spoilt is not None:
            block_matrices(made)[spoilt].grad.fill_(math.nan)
        optimizer.found_inf = torch.ones(())
        optimizer.step()
        assert all(torch.equal(*pair) for pair in zip(made.parameters(), before, strict=True))
        after = optimizer_tensors(optimizer)
        assert all(torch.equal(value, after[name]) for name, value in state.items())
    optimizer.found_inf = torch.zeros(())
    optimizer.step()
    assert not any(torch.equal(*pair) for pair in zip(block_matrices(made), block_matrices(model()), strict=True))


def test_an_autoencoder_has_blocks_and_a_convolutional_one_is_refused():
    assert block_matrices(FeatureAutoencoder(64, 4, (2, 2), heads=2, head_dim=32, decoder_depth=1))
    vae = PixelVAE(image_size=32, grid=(4, 4), latent_channels=4, width=16)
    if not block_matrices(vae):
        with pytest.raises(ValueError, match="optimizer muon: expected a model with blocks of linear layers"):
            make_optimizer(vae, kind="muon")


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer: expected one of adamw, muon; received 'sgd'"):
        make_optimizer(model(), kind="sgd")
