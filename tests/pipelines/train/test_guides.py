"""What guides the crops of a training run."""

import torch

from pipelines.train.guides import JITTER, GuideRules
from upfusion.phrase_bank import PhraseBank

TEXT = torch.nn.functional.normalize(torch.arange(1.0, 9.0), dim=0)
BANK = PhraseBank(("more B", "less noise"), torch.tensor([[0.6, 0, 0, 0], [0, 0, 0, 1]]), torch.eye(8)[:2])


def test_without_rules_a_pair_keeps_its_own_text_and_wishes_nothing():
    for number in range(20):
        guide = GuideRules(seed=3).draw(number, TEXT, BANK)
        assert torch.equal(guide.text, TEXT)
        assert not guide.wish.any()


def test_the_guide_of_a_crop_follows_from_its_number_alone():
    rules = GuideRules(phrases=0.5, wishes=0.5, seed=3)
    first = [rules.draw(number, TEXT, BANK) for number in range(40)]
    again = [rules.draw(number, TEXT, BANK) for number in reversed(range(40))][::-1]
    assert all(torch.equal(a.text, b.text) and torch.equal(a.wish, b.wish) for a, b in zip(first, again, strict=True))
    others = [GuideRules(phrases=0.5, wishes=0.5, seed=4).draw(number, TEXT, BANK) for number in range(40)]
    assert any(not torch.equal(a.wish, b.wish) for a, b in zip(first, others, strict=True))


def test_a_phrase_brings_its_wish_and_text_near_its_own():
    guides = [GuideRules(phrases=1.0).draw(number, TEXT, BANK) for number in range(60)]
    for guide in guides:
        (index,) = [i for i, wish in enumerate(BANK.wishes) if torch.equal(guide.wish, wish)]
        assert abs(guide.text.norm() - 1) < 1e-5
        assert guide.text @ BANK.embeddings[index] > 1 - JITTER
    assert len({tuple(guide.wish.tolist()) for guide in guides}) == 2


def test_random_wishes_reach_both_ends_of_the_dial_and_stay_in_range():
    drawn = torch.stack([GuideRules(wishes=1.0).draw(number, TEXT, None).wish for number in range(400)])
    balance, others = drawn[:, 0], drawn[:, 1:]
    assert balance.min() == -1
    assert balance.max() == 1
    assert abs(balance.mean()) < 0.1
    assert (others >= 0).all()
    assert (others <= 1).all()
    assert ((others > 0).float().mean(dim=0) - 1 / 6).abs().max() < 0.06


def test_shares_are_shares():
    rules = GuideRules(phrases=0.3, wishes=0.5)
    guides = [rules.draw(number, TEXT, BANK) for number in range(600)]
    by_phrase = sum(not torch.equal(guide.text, TEXT) for guide in guides) / 600
    wished = sum(bool(guide.wish.any()) for guide in guides) / 600
    assert abs(by_phrase - 0.3) < 0.06
    assert abs(wished - (0.3 + 0.7 * 0.5)) < 0.06
