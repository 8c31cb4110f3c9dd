"""What a text can ask of the fused image, and sentences that ask for it: the vocabulary that networks train with.

Most sentences come from templates, each used with several names, so that a network learns the direction of a request
and not the words of one sensor. The sentences of a `Wish()` teach it to ignore what asks for nothing.
"""

from collections.abc import Iterator, Sequence

from upfusion.phrases_unrelated import UNRELATED
from upfusion.prompts import PROMPTS
from upfusion.wishes import Wish

NAMES = (  # source B, source A
    ("infrared", "visible"), ("thermal", "daylight"), ("MRI", "CT"), ("radar", "optical"), ("IR", "RGB"),
    ("heat camera", "colour camera"), ("second image", "first image"), ("MR scan", "PET scan"),
    ("source B", "source A"), ("near infrared", "visible light"), ("SAR", "satellite photo"),
    ("thermal image", "photograph"), ("LWIR", "visible"), ("MRI", "SPECT"), ("infrared camera", "normal camera"),
    ("heat", "colour"), ("image B", "image A"), ("MR", "CT scan"), ("NIR", "RGB image"),
    ("thermal channel", "visible channel"), ("infrared picture", "photo"),
)  # fmt: skip
"""Names of the two sources, pair by pair."""

TOWARDS: tuple[tuple[str, float], ...] = (
    ("more {x}", 0.6), ("less {x}", -0.6), ("a bit more {x}", 0.3), ("a little less {x}", -0.3),
    ("much more {x}", 1.0), ("far less {x} please", -1.0), ("only {x}", 1.0), ("no {x}", -1.0),
    ("mostly {x}", 1.0), ("hardly any {x}", -1.0), ("slightly more {x}", 0.3), ("slightly less {x}", -0.3),
    ("more {x}, less {y}", 0.6), ("more {x} than {y}", 0.6), ("{x} rather than {y}", 0.6),
    ("mainly the {x}, with a trace of the {y}", 1.0), ("prefer the {x}", 0.6), ("do not prefer the {x}", -0.3),
    ("as much as possible of the {x}", 1.0), ("as little as possible of the {x}", -1.0),
    ("turn the {x} up", 0.6), ("turn the {x} down", -0.6), ("turn the {x} down a bit", -0.3),
    ("turn up the {x} a little", 0.3), ("too much {x}", -0.6), ("too little {x}", 0.6),
    ("far too much {x}", -1.0), ("far too little {x}", 1.0), ("there is too much {x} in the result", -0.6),
    ("there is not enough {x} in the picture", 0.6), ("a touch too much {x}", -0.3), ("not quite enough {x}", 0.3),
    ("I can hardly see the {x}", 0.6), ("I see nothing but the {x}", -0.6), ("the {x} gets lost", 0.6),
    ("the {x} covers everything", -0.6), ("the {x} is too weak", 0.6), ("the {x} is too strong", -0.6),
    ("the {x} could be a little stronger", 0.3), ("the {x} could be a little weaker", -0.3),
    ("give the {x} more weight", 0.6), ("give the {x} less weight", -0.6), ("give the {x} all the weight", 1.0),
    ("Weight the {x} somewhat higher than the {y}.", 0.3), ("Weight the {x} lower than the {y}.", -0.6),
    ("Increase the share of the {x}.", 0.6), ("Reduce the share of the {x}.", -0.6),
    ("Keep nearly everything of the {x} and only the strongest edges of the {y}.", 1.0),
    ("The result should look almost like the {x}.", 1.0), ("It should look less like the {x}.", -0.6),
    ("Please make the fused image a little closer to the {x}.", 0.3),
    ("Please move the fused image away from the {x}, towards the {y}.", -0.6),
    ("I care about the {x}; the {y} matters less to me.", 0.6), ("I do not care much for the {x}.", -0.6),
    ("Whenever the two disagree, follow the {x}.", 0.6), ("Whenever the two disagree, do not follow the {x}.", -0.6),
    ("Base the result on the {x} and add just a little of the {y}.", 1.0),
    ("Our operators complain that the {y} hides what the {x} shows, so let the {x} come through more.", 0.6),
    ("We already know the scene from the {y}, so what we need to look at now is chiefly the {x}.", 0.6),
    ("don't show so much {x}", -0.6), ("don't lose the {x}", 0.3), ("the {x} must not win over the {y}", -0.3),
    ("with a slight preference for the {x}", 0.3), ("mute the {x}", -1.0), ("stronger {x}", 0.6), ("weaker {x}", -0.6),
)  # fmt: skip
"""Templates with how far they ask for x, -1..1: y is the other source of the same pair."""

SHORT = ("more {x}", "less {x}")
"""What people type first: these are used with every name."""

TOWARDS_A: tuple[tuple[str, float], ...] = (
    ("natural colours", -0.6), ("keep the colours natural", -0.6), ("Make it look like the photo.", -0.6),
    ("as the eye sees it", -0.6), ("It should look the way a person standing there would see it.", -0.6),
    ("true to life colours, please", -0.6), ("Do not change the colours of the scene.", -0.6),
    ("realistic colour", -0.6), ("like an ordinary photograph", -0.6), ("The colours look washed out.", -0.6),
    ("The colours are gone, bring them back.", -0.6), ("It looks too artificial.", -0.6), ("less ghostly", -0.6),
    ("I want to read the signs and the licence plates.", -0.6), ("show the road markings clearly", -0.3),
    ("keep the skull and the bones", -0.6), ("bone matters most", -0.6), ("show the metabolism first", -0.6),
    ("keep the colour of the tracer uptake", -0.6), ("the reflected light, not the heat", -0.6),
    ("trees should be as dark as they look to us", -0.6), ("fields and roofs as seen from above by eye", -0.6),
    ("no glowing bodies, just the normal view", -1.0), ("colour only, ignore temperature", -1.0),
)  # fmt: skip

TOWARDS_B: tuple[tuple[str, float], ...] = (
    ("heat over colour", 0.6), ("Make it look like a thermal picture.", 0.6), ("show the temperature", 0.6),
    ("as a night vision device sees it", 0.6), ("It should look the way a thermal imager would show it.", 0.6),
    ("I want to see where it is warm.", 0.6), ("Temperature differences matter more than colours.", 0.6),
    ("heat signature", 0.6), ("like the output of a heat sensor", 0.6), ("The warm parts look washed out.", 0.6),
    ("The heat is gone, bring it back.", 0.6), ("It looks too much like a snapshot.", 0.6), ("more glow", 0.6),
    ("I want to see through the smoke.", 0.6), ("look through the haze into the distance", 0.3),
    ("keep the soft tissue", 0.6), ("anatomy matters most", 0.6), ("show the anatomy first", 0.6),
    ("keep the grey and white matter of the brain", 0.6), ("the heat, not the reflected light", 0.6),
    ("leaves should be as bright as the NIR sensor shows them", 0.6), ("metal and walls as the radar echoes them", 0.6),
    ("no daylight picture, just the emitted heat", 1.0), ("temperature only, ignore colour", 1.0),
)  # fmt: skip

TARGETS = (
    "people", "pedestrians", "vehicles", "warm targets", "engines", "hot spots", "animals", "lesions", "the uptake",
    "persons", "cars and cyclists", "bright targets", "the tumour", "warm bodies",
)  # fmt: skip

HOT: tuple[tuple[str, float], ...] = (
    ("keep {x} bright", 1.0), ("{x} should stand out", 1.0), ("make {x} bright", 1.0), ("highlight {x}", 1.0),
    ("do not let {x} fade", 1.0), ("I must be able to spot {x} at a glance", 1.0), ("{x} are hard to see", 1.0),
    ("{x} must stay as bright as in the sensor that shows them best", 1.0), ("bright {x}", 1.0),
    ("keep {x} fairly bright", 0.5), ("make {x} a little brighter", 0.5), ("{x} could stand out slightly more", 0.5),
    ("The most important thing in the fused image is that {x} remain clearly visible.", 1.0),
    ("Where are {x}? I cannot find them in the result.", 1.0), ("don't dim {x}", 1.0), ("target: {x}", 0.5),
    ("We search for {x} from a drone, so preserve their full brightness.", 1.0), ("pay some attention to {x}", 0.5),
)  # fmt: skip

PLACES = (
    "the shadows", "dark areas", "the dark", "the unlit street", "the black regions", "the night scene",
    "the darkest corners", "underexposed parts", "the shade under the trees", "the dim background",
)  # fmt: skip

DARK: tuple[tuple[str, float], ...] = (
    ("reveal what is in {x}", 1.0), ("brighten {x}", 1.0), ("lift {x}", 1.0), ("show the detail in {x}", 1.0),
    ("{x} should be readable", 1.0), ("I can't see anything in {x}", 1.0), ("what is hidden in {x}?", 1.0),
    ("make {x} lighter", 1.0), ("open up {x}", 1.0), ("brighten {x} a little", 0.5), ("lift {x} slightly", 0.5),
    ("{x} could be somewhat lighter", 0.5), ("{x}: too dark", 1.0), ("do not leave {x} black", 1.0),
    ("It was recorded at night; make visible what lies in {x}.", 1.0), ("more light in {x}", 1.0),
    ("Raise the brightness of {x} so that obstacles there can be recognised.", 1.0), ("a bit more light for {x}", 0.5),
)  # fmt: skip

NOISES = (
    "noise", "grain", "sensor noise", "speckle", "the graininess", "noise and grain", "random flicker of pixels",
    "image noise", "the noise of the detector", "salt and pepper specks",
)  # fmt: skip

QUIET: tuple[tuple[str, float], ...] = (
    ("suppress {x}", 1.0), ("remove {x}", 1.0), ("less {x}", 1.0), ("no {x}", 1.0), ("too much {x}", 1.0),
    ("without {x}", 1.0), ("smooth away {x}", 1.0), ("flat areas should be free of {x}", 1.0),
    ("I am disturbed by {x}", 1.0), ("reduce {x} a little", 0.5), ("slightly less {x}", 0.5), ("filter out {x}", 1.0),
    ("a touch of smoothing against {x}", 0.5), ("The sky shows {x}, please clean it.", 1.0),
    ("The fused image should be calm and clean, with no {x} carried over from either source.", 1.0),
    ("clean up {x}", 1.0), ("do not copy {x} into the result", 1.0), ("some attenuation of {x}", 0.5),
)  # fmt: skip

EVEN = (
    "as much {x} as {y}", "more {x} and more {y}", "less {x} and less {y}", "more {x}, but not more {x}",
    "keep the detail of the {x} and of the {y}", "{x} and {y}", "combine {x} with {y}", "only {x} and only {y}",
    "The {x} and the {y} matter equally.", "neither the {x} nor the {y} should dominate",
    "too much {x} and too much {y}", "Merge the {x} and the {y} into one picture with the best of both.",
)  # fmt: skip
"""Templates that name both sources and prefer neither."""

NEUTRAL = (
    "fuse both images", "balanced", "keep the detail of both", "fuse", "merge", "combine the two", "equal weights",
    "half and half", "the best of both", "image fusion", "Fuse the pair.", "no preference", "default", "neutral",
    "Keep the edges and textures of both sources.", "Two images of the same place, one result.", "a fused image",
    "Do what you think is best.", "Keep everything important from both sensors.", "sharp and detailed", "high quality",
    "Produce one informative image from two complementary ones.", "nothing special", "as usual", "leave it as it is",
    "I like the result as it is.", "Preserve structure, contrast and texture.", "good contrast", "crisp edges",
    "leave the shadows as they are", "do not brighten anything", "do not smooth anything", "keep the raw grain",
    "people need not stand out", "I do not mind the noise", "The night may stay dark.", "no denoising, please",
    "A sensor measures one thing, another sensor measures another. Keep the strong structures of either.",
    "Two registered medical images of one slice. Keep the structure of both in one image.",
    "Two registered images of one street from two cameras. Keep the targets and the background of both.",
    "An aerial scene seen by two instruments. Keep the salient objects, the lines and the texture of both.",
    "Medical image fusion of a brain slice.", "A street at night.", "A road with cars.", "brain", "city", "harbour",
    "A person walks along a street.", "A drone flies over a forest.", "An axial slice of a head.", "car park",
)  # fmt: skip

PARTS: tuple[tuple[str, Wish], ...] = (
    ("more infrared", Wish(balance=0.6)), ("natural colours", Wish(balance=-0.6)),
    ("less thermal", Wish(balance=-0.6)), ("mostly the MRI", Wish(balance=1.0)),
    ("mostly the visible", Wish(balance=-1.0)), ("keep people bright", Wish(hot=1.0)),
    ("lift the shadows", Wish(dark=1.0)), ("suppress the noise", Wish(quiet=1.0)), ("bright vehicles", Wish(hot=1.0)),
    ("show what is in the dark", Wish(dark=1.0)), ("without grain", Wish(quiet=1.0)),
)  # fmt: skip
"""Parts of the sentences that ask for two things at once."""


def _fill(templates: Sequence[tuple[str, float]], words: Sequence[str], each: int) -> Iterator[tuple[str, float]]:
    """Put `each` words into every template, other words into the next one."""
    for number, (template, strength) in enumerate(templates):
        for turn in range(each):
            yield template.format(x=words[(number * each + turn) % len(words)]), strength


def _name(template: str, x: str, y: str) -> str:
    text = template.format(x=x, y=y)
    return text.replace("the source", "source").replace("the image ", "image ")


def _about_balance(each: int) -> Iterator[tuple[str, Wish]]:
    for number, (template, strength) in enumerate(TOWARDS):
        for turn in range(len(NAMES) if template in SHORT else each):
            b, a = NAMES[(number * each + turn) % len(NAMES)]
            yield _name(template, b, a), Wish(balance=strength)
            yield _name(template, a, b), Wish(balance=-strength)
    for text, strength in (*TOWARDS_A, *TOWARDS_B):
        yield text, Wish(balance=strength)


def _about_two_things() -> Iterator[tuple[str, Wish]]:
    for number, (first, one) in enumerate(PARTS):
        for second, other in PARTS[number + 1 :]:
            fields = (one._asdict(), other._asdict())
            if not any(fields[0][name] and fields[1][name] for name in fields[0]):
                joined = f"{first} and {second}" if number % 2 else f"{second}, {first}"
                yield joined, Wish(**{name: fields[0][name] + fields[1][name] for name in fields[0]})


def _about_nothing() -> Iterator[str]:
    yield from PROMPTS.values()
    yield from NEUTRAL
    for number, template in enumerate(EVEN):
        for turn in range(3):
            b, a = NAMES[(number * 3 + turn) % len(NAMES)]
            yield _name(template, *((b, a) if number % 2 else (a, b)))
    yield from UNRELATED


def _build() -> dict[str, Wish]:
    phrases = dict(_about_balance(each=5))
    phrases |= {text: Wish(hot=strength) for text, strength in _fill(HOT, TARGETS, each=8)}
    phrases |= {text: Wish(dark=strength) for text, strength in _fill(DARK, PLACES, each=8)}
    phrases |= {text: Wish(quiet=strength) for text, strength in _fill(QUIET, NOISES, each=8)}
    return phrases | dict(_about_two_things()) | {text: Wish() for text in _about_nothing()}


PHRASES: dict[str, Wish] = _build()
"""Every sentence with what it asks for, always in the same order."""
