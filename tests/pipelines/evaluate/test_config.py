import pytest
from pydantic import ValidationError

from pipelines.evaluate.config import EvaluateConfig
from upfusion.metrics import DEFAULT_METRICS, METRICS


def config_of(**settings) -> EvaluateConfig:
    return EvaluateConfig(**{"sets": ("in",), "out": "out"} | settings)


def test_by_default_the_model_that_ships_is_compared_with_what_needs_no_network():
    config = config_of()
    assert config.methods == ("tiny", "mean", "max", "laplacian")
    assert config.metrics == DEFAULT_METRICS
    assert (config.reference, config.costs, config.milliseconds) == (None, (), {})


@pytest.mark.parametrize("option", ["sets", "methods"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("one", ("one",)),
        ("one,two", ("one", "two")),
        (" one , two words ,", ("one", "two words")),
        (("one", "a,b"), ("one", "a,b")),
        (["one", "two"], ("one", "two")),
    ],
)
def test_words_stand_in_a_list_or_between_commas(option, given, words):
    assert getattr(config_of(**{option: given}), option) == words


@pytest.mark.parametrize(("given", "metrics"), [("en,vif", ("vif", "en")), ("all", tuple(METRICS))])
def test_metrics_are_in_the_order_of_the_catalogue(given, metrics):
    assert config_of(metrics=given).metrics == metrics


def test_costs_are_milliseconds_by_method_whatever_it_is_called():
    config = config_of(costs="theirs=12.5,a=b=3")
    assert config.milliseconds == {"theirs": 12.5, "a=b": 3.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sets": ()}, "at least 1 item"),
        ({"sets": " , "}, "at least 1 item"),
        ({"methods": ""}, "at least 1 item"),
        ({"metrics": "none"}, "metric"),
        ({"metrics": "beauty"}, "'beauty'"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"sheet_pairs": -1}, "greater than or equal to 0"),
        ({"actors": 0}, "greater than or equal to 1"),
        ({"gpus_per_actor": -1}, "greater than or equal to 0"),
        ({"precision": "fp16"}, "'fp32' or 'bf16'"),
        ({"person": -1}, "greater than or equal to 0"),
        ({"costs": "theirs"}, "NAME=MILLISECONDS"),
        ({"costs": "theirs=fast"}, "NAME=MILLISECONDS"),
        ({"costs": "theirs=-1"}, "NAME=MILLISECONDS"),
        ({"costs": "=7"}, "NAME=MILLISECONDS"),
        ({"costs": "ours=1,theirs=1 ms"}, "NAME=MILLISECONDS"),
        ({"detector": "retinanet_resnet50_fpn"}, "--detect WEIGHTS"),
        ({"method": "tiny"}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(settings, message):
    with pytest.raises(ValidationError, match=message):
        config_of(**settings)


def test_a_detector_is_chosen_together_with_its_weights():
    config = config_of(detect="w.pth", detector="retinanet_resnet50_fpn")
    assert (config.detect, config.detector, config.person) == ("w.pth", "retinanet_resnet50_fpn", 1)
