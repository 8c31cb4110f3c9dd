import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from upfusion.learner import Batch, DivergedError, Learner, Recipe
from upfusion.losses import LossWeights
from upfusion.network import UPFusion

from .small_priors import NETWORK, TEXT_DIM

SMALL = replace(NETWORK, prior_trained=True)
RECIPE = Recipe(steps=10, learning_rate=1e-3, loss=LossWeights(structure=0.5))


def batch_of(crops: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.rand(crops, 1, 32, 32, generator=generator),
        torch.rand(crops, 1, 32, 32, generator=generator),
        torch.randn(crops, TEXT_DIM, generator=generator),
    )


def learner_of(recipe: Recipe = RECIPE) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Learner(UPFusion(SMALL), recipe)


def are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: p.grad for name, p in learner.network.named_parameters() if p.grad is not None}


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_the_defaults_are_the_papers() -> None:
    recipe = Recipe(steps=100)
    assert recipe.loss == LossWeights(intensity=1, gradient=1, structure=0)
    assert recipe.learning_rate_at(0) == 1e-4
    assert recipe.learning_rate_at(50) == pytest.approx(5.5e-5)
    assert recipe.learning_rate_at(100) == pytest.approx(1e-5)


def test_the_learning_rate_rises_over_the_warm_up() -> None:
    rates = [Recipe(steps=1000, warm_up=4).learning_rate_at(step) for step in range(6)]
    assert rates[:4] == sorted(rates[:4])
    assert rates[0] == pytest.approx(0.25e-4)
    assert rates[5] == Recipe(steps=1000).learning_rate_at(5)


def test_steps_on_a_batch_lower_its_loss() -> None:
    learner, batch = learner_of(), batch_of(2)
    losses = [float(learner.learn([batch])["loss"]) for _ in range(10)]
    assert losses[-1] < 0.9 * losses[0]
    assert learner.step == 10


def test_the_sums_are_over_all_crops_and_add_up() -> None:
    sums = learner_of().learn([batch_of(2), batch_of(1, seed=1)])
    assert set(sums) == {"loss", "intensity", "gradient", "structure"}
    assert float(sums["loss"]) == pytest.approx(
        float(sums["intensity"] + sums["gradient"] + 0.5 * sums["structure"]), rel=1e-5
    )
    twice = [learner_of().learn([batch])["loss"] for batch in (batch_of(2), batch_of(1, seed=1))]
    assert float(sums["loss"]) == pytest.approx(float(sum(twice)), rel=1e-5)


def test_micro_batches_of_any_size_give_the_step_of_the_whole_batch() -> None:
    batch = batch_of(3)
    whole, parts = learner_of(), learner_of()
    whole.learn([batch])
    parts.learn([Batch(batch.a[:2], batch.b[:2], batch.text[:2]), Batch(batch.a[2:], batch.b[2:], batch.text[2:])])
    largest = max(float(gradient.abs().max()) for gradient in gradients(whole).values())
    assert largest_difference(gradients(whole), gradients(parts)) < 1e-4 * largest


def test_a_run_that_resumes_from_a_state_ends_in_the_same_bits(tmp_path) -> None:
    recipe = replace(RECIPE, ema=0.9, clip=0.5, warm_up=3)
    through = learner_of(recipe)
    for step in range(6):
        if step == 3:
            save_file(through.state(), tmp_path / "state")
        through.learn([batch_of(2, seed=step)])
    resumed = learner_of(recipe)
    resumed.learn([batch_of(2, seed=99)])  # whatever it held before is gone
    resumed.load_state(load_file(tmp_path / "state"))
    for step in range(3, 6):
        resumed.learn([batch_of(2, seed=step)])
    assert resumed.step == 6
    assert are_equal(resumed.weights(), through.weights())
    assert save(resumed.state()) == save(through.state())


def test_averaged_weights_follow_the_network_and_are_the_ones_that_are_kept() -> None:
    learner = learner_of(replace(RECIPE, ema=0.99))
    before = learner.weights()
    for step in range(3):
        learner.learn([batch_of(2, seed=step)])
    moved = largest_difference(learner.network.state_dict(), before)
    followed = largest_difference(learner.weights(), before)
    assert 0 < followed < moved
    assert are_equal(learner_of().weights(), dict(learner_of().network.state_dict()))


def test_clipping_bounds_the_norm_of_the_gradient() -> None:
    def norm(clip: float | None) -> float:
        learner = learner_of(replace(RECIPE, clip=clip))
        learner.learn([batch_of(2)])
        return math.sqrt(sum(float((p.grad**2).sum()) for p in learner.parameters if p.grad is not None))

    assert norm(None) > 0.01
    assert norm(0.01) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched() -> None:
    learner = learner_of(replace(RECIPE, ema=0.9))
    learner.learn([batch_of(2)])
    before, bad = learner.weights(), batch_of(2)
    bad.a[0, 0, 0, 0] = math.nan
    with pytest.raises(DivergedError, match=r"gradient.* 2"):
        learner.learn([bad])
    assert are_equal(learner.weights(), before)
    assert learner.step == 1


def test_frozen_weights_stay() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = Learner(UPFusion(NETWORK), RECIPE)
    before = {name: t.clone() for name, t in learner.network.state_dict().items()}
    learner.learn([batch_of(2)])
    changed = {name for name, t in learner.network.state_dict().items() if not torch.equal(t, before[name])}
    assert changed
    assert not any(name.startswith("scpm.prior.") for name in changed)


def test_a_state_leaves_frozen_weights_to_the_network_that_training_began_with() -> None:
    def begin() -> Learner:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Learner(UPFusion(NETWORK), replace(RECIPE, ema=0.9))

    through = begin()
    through.learn([batch_of(2)])
    state = {name: tensor.clone() for name, tensor in through.state().items()}
    frozen = {name for name, p in through.network.named_parameters() if not p.requires_grad}
    assert frozen
    assert not [name for name in state if name.partition(".")[2] in frozen]
    earlier = {f"{of}.{name}": through.weights()[name] for of in ("network", "average") for name in frozen}
    through.learn([batch_of(2, seed=1)])
    for there in (state, state | earlier):
        resumed = begin()
        resumed.load_state(there)
        resumed.learn([batch_of(2, seed=1)])
        assert are_equal(resumed.weights(), through.weights())
        assert are_equal(dict(resumed.network.state_dict()), dict(through.network.state_dict()))


def test_a_network_learns_what_its_teacher_makes_whose_weights_stay() -> None:
    torch.manual_seed(1)
    teacher = UPFusion(SMALL)
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    recipe = replace(RECIPE, steps=20, loss=LossWeights(intensity=0, gradient=0, imitation=1), learning_rate=6e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = Learner(UPFusion(SMALL), recipe, teacher=teacher)
    losses = [float(learner.learn([batch_of(2)])["imitation"]) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
    assert are_equal(before, teacher.state_dict())


def test_bfloat16_takes_about_the_same_step() -> None:
    exact, rough = learner_of(), learner_of(replace(RECIPE, precision="bf16"))
    losses = [float(learner.learn([batch_of(2)])["loss"]) for learner in (exact, rough)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
