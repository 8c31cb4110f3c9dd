import pytest
import torch
from torch.nn import functional as F

from upfusion.checkpoint import EMBEDDED, parse_checkpoint
from upfusion.phrase_bank import load_phrase_bank
from upfusion.phrases_unrelated import UNRELATED
from upfusion.prompts import PROMPTS
from upfusion.wishes import UNHEARD, WISHES, TextReader, Wish, join_factors, join_wishes, load_reader_weights

ENCODER = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def reader() -> TextReader:
    weights = load_reader_weights(ENCODER)
    assert weights is not None
    reader = TextReader(384)
    reader.load_state_dict(weights)
    return reader.eval()


@torch.no_grad()
def _read(reader: TextReader, text: str) -> Wish:
    bank = load_phrase_bank(ENCODER)
    assert bank is not None
    return Wish(*reader(bank.embeddings[[bank.texts.index(text)]])[0].tolist())


def test_a_reader_gives_every_wish_of_every_text() -> None:
    texts_BT = F.normalize(torch.randn(5, 32), dim=1)
    assert TextReader(32).eval()(texts_BT).shape == (5, WISHES)


def test_a_reader_is_small() -> None:
    assert sum(weight.numel() for weight in TextReader(384).parameters()) < 150_000


def test_what_is_read_below_the_threshold_is_nothing() -> None:
    reader = TextReader(8).eval()
    with torch.no_grad():
        reader.last.weight.zero_()
        factors = torch.tensor([-0.99999, 0.99999, 0.99999, UNHEARD - 0.01, UNHEARD + 0.085, -UNHEARD / 2])
        reader.last.bias.copy_(torch.atanh(factors))
        read_1W = reader(torch.ones(1, 8))
    torch.testing.assert_close(read_1W, torch.tensor([[-1.0, 0.0, 0.1, 0.0]]), atol=1e-4, rtol=0)


def test_a_balance_is_the_source_named_times_more_or_less_of_it() -> None:
    factors_BX = torch.tensor([[1.0, -0.5, 0.8, 0, 0, 0], [-1.0, -1.0, 1.0, 0.3, 0, 0], [1.0, 1.0, -0.4, 0, 0.2, 0.1]])
    expected_BW = torch.tensor([[-0.4, 0, 0, 0], [1.0, 0.3, 0, 0], [0.0, 0, 0.2, 0.1]])
    torch.testing.assert_close(join_factors(factors_BX), expected_BW)


def test_a_balance_is_added_to_what_is_read_and_all_is_clamped() -> None:
    read_BW = torch.tensor([[0.5, 0.2, 1.3, -0.4], [-0.9, 0.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0]])
    joined_BW = join_wishes(read_BW, torch.tensor([0.8, -0.8, -0.3]))
    expected_BW = torch.tensor([[1.0, 0.2, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [-0.2, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(joined_BW, expected_BW)


def test_an_encoder_without_a_reader_has_none() -> None:
    assert load_reader_weights("ViT-B-32/openai") is None


@pytest.mark.parametrize(
    ("text", "balance"),
    [("more infrared", 1), ("more daylight", -1), ("less infrared", -1), ("only MRI", 1), ("natural colours", -1)],
)
def test_the_shipped_reader_reads_balances(reader: TextReader, text: str, balance: int) -> None:
    assert _read(reader, text).balance * balance > 0.15


@pytest.mark.parametrize(
    ("text", "wish"),
    [("highlight pedestrians", "hot"), ("reveal what is in the shadows", "dark"), ("suppress noise", "quiet")],
)
def test_the_shipped_reader_reads_other_wishes(reader: TextReader, text: str, wish: str) -> None:
    read = _read(reader, text)._asdict()
    assert read.pop(wish) > 0.5
    assert all(abs(other) < 0.3 for other in read.values())


def test_built_in_prompts_ask_for_nothing(reader: TextReader) -> None:
    path = EMBEDDED / "tiny.safetensors"
    prompts = parse_checkpoint(path.read_bytes(), str(path)).prompts
    assert set(prompts) == set(PROMPTS)
    with torch.no_grad():
        read_NW = reader(torch.stack([prompt.embedding.float() for prompt in prompts.values()]))
    assert read_NW.abs().max() == 0


def test_unrelated_sentences_ask_for_nothing(reader: TextReader) -> None:
    bank = load_phrase_bank(ENCODER)
    assert bank is not None
    rows = [bank.texts.index(text) for text in UNRELATED]
    with torch.no_grad():
        read_NW = reader(bank.embeddings[rows])
    assert (read_NW.abs() < 0.2).all(dim=1).float().mean() > 0.97
