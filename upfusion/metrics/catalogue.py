"""Every metric by name: what it is called, what it may be, where it comes from."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import Tensor

from upfusion.metrics.ag import ag
from upfusion.metrics.balanced import balanced
from upfusion.metrics.cc import cc
from upfusion.metrics.en import en
from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.mi import mi
from upfusion.metrics.ms_ssim import SMALLEST_SIDE as MS_SSIM_SIDE
from upfusion.metrics.ms_ssim import ms_ssim
from upfusion.metrics.nabf import nabf
from upfusion.metrics.psnr import psnr
from upfusion.metrics.qabf import qabf
from upfusion.metrics.qcb import qcb
from upfusion.metrics.qp import qp
from upfusion.metrics.qy import SMALLEST_SIDE as QY_SIDE
from upfusion.metrics.qy import qy
from upfusion.metrics.scd import scd
from upfusion.metrics.sd import sd
from upfusion.metrics.sf import sf
from upfusion.metrics.ssim import WINDOW_SIZE as SSIM_SIDE
from upfusion.metrics.ssim import ssim_per_source
from upfusion.metrics.vif import SMALLEST_SIDE as VIF_SIDE
from upfusion.metrics.vif import vif_per_source

# Raised whenever a metric gives another number for the same images, or none where it gave one.
METRICS_VERSION = 2

Function = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of a fused pair: a function of luma `a, b, f`, each `(N, 1, H, W)` on the 0..255 scale.

    `function` gives one value per pair, `(N,)`, or something that several metrics are made of, each by its own `value`.
    `costly` metrics take longer than all the others together, and are measured only where they are asked for.
    """

    name: str
    title: str
    lowest: float
    highest: float  # infinite where there is no upper limit
    published: str  # by whom, and when
    doi: str
    equals: str  # the published code that gives the same numbers
    function: Function
    value: Callable[[Tensor], Tensor] = lambda result: result
    higher_is_better: bool | None = True
    smallest_side: int = 1
    otherwise_none: str = "its formula divides by zero here"  # where no image is flat or too small
    costly: bool = False

    def __call__(self, a: Tensor, b: Tensor, f: Tensor) -> Tensor:
        """One value per pair, `(N,)`; NaN where the metric has no meaning."""
        return nan_where_flat(self.value(self.function(a, b, f)), a, b, f)


def _directions(mean: Metric) -> tuple[Metric, ...]:
    """The mean of F against A and F against B, which `mean.function` gives as `(N, 2)`; each; their harmonic mean."""
    return (
        replace(mean, value=lambda both: both.mean(1)),
        replace(mean, name=f"{mean.name}_a", title=f"{mean.title}, A alone", value=lambda both: both[:, 0]),
        replace(mean, name=f"{mean.name}_b", title=f"{mean.title}, B alone", value=lambda both: both[:, 1]),
        replace(mean, name=f"{mean.name}_balanced", title=f"{mean.title}, balanced", value=balanced, lowest=0),
    )


def _of_fused(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda _a, _b, f: function(f)


EVALUATOR = "UP-Fusion's evaluator"
TOOLBOX = "imageFusionMetrics"
VIF = Metric(
    name="vif",
    title="Visual information fidelity",
    lowest=0,
    highest=math.inf,
    published="Sheikh and Bovik 2006",
    doi="10.1109/TIP.2005.859378",
    equals="`vifp_mscale.m`, mean of both sources",
    function=vif_per_source,
    smallest_side=VIF_SIDE,
    otherwise_none="a source has no detail at any scale",
)
SSIM = Metric(
    name="ssim",
    title="Structural similarity",
    lowest=-1,
    highest=1,
    published="Wang et al. 2004",
    doi="10.1109/TIP.2003.819861",
    equals="`ssim_index.m`, mean of both sources",
    function=ssim_per_source,
    smallest_side=SSIM_SIDE,
)
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            *_directions(VIF),
            *_directions(SSIM),
            Metric(
                name="ms_ssim",
                title="Multi-scale structural similarity",
                lowest=0,
                highest=1,
                published="Wang, Simoncelli and Bovik 2003",
                doi="10.1109/ACSSC.2003.1292216",
                equals="`pytorch-msssim`, mean of both sources",
                function=ms_ssim,
                smallest_side=MS_SSIM_SIDE,
            ),
            Metric(
                name="qabf",
                title="Edge preservation",
                lowest=0,
                highest=1,
                published="Xydeas and Petrovic 2000",
                doi="10.1049/el:20000267",
                equals=EVALUATOR,
                function=qabf,
            ),
            Metric(
                name="nabf",
                title="Artifacts",
                lowest=0,
                highest=1,
                published="Shreyamsha Kumar 2013",
                doi="10.1007/s11760-012-0361-x",
                equals="Evaluation-for-Image-Fusion, called with F first",
                function=nabf,
                higher_is_better=False,
                smallest_side=2,
            ),
            Metric(
                name="qcb",
                title="Preservation of perceived contrast",
                lowest=0,
                highest=1,
                published="Chen and Blum 2009",
                doi="10.1016/j.imavis.2007.12.002",
                equals=f"`metricChenBlum.m` of {TOOLBOX}",
                function=qcb,
                otherwise_none="no source has any contrast at some pixel",
            ),
            Metric(
                name="qy",
                title="Similarity to the nearer source",
                lowest=-1,
                highest=1,
                published="Yang et al. 2008",
                doi="10.1016/j.inffus.2006.09.001",
                equals=f"`metricYang.m` of {TOOLBOX}",
                function=qy,
                smallest_side=QY_SIDE,
                otherwise_none="the sources share a flat area, where rounding alone would decide",
            ),
            Metric(
                name="mi",
                title="Mutual information (bits)",
                lowest=0,
                highest=16,
                published="Qu, Zhang and Yan 2002",
                doi="10.1049/el:20020212",
                equals=f"{EVALUATOR}, in bits instead of nats",
                function=mi,
            ),
            Metric(
                name="scd",
                title="Sum of the correlations of differences",
                lowest=-2,
                highest=2,
                published="Aslantas and Bendes 2015",
                doi="10.1016/j.aeue.2015.09.004",
                equals=EVALUATOR,
                function=scd,
                otherwise_none="F differs from a source by nothing but a constant",
            ),
            Metric(
                name="cc",
                title="Correlation coefficient",
                lowest=-1,
                highest=1,
                published="Ma, Ma and Li 2019",
                doi="10.1016/j.inffus.2018.02.004",
                equals=EVALUATOR,
                function=cc,
            ),
            Metric(
                name="en",
                title="Entropy (bits)",
                lowest=0,
                highest=8,
                published="Ma, Ma and Li 2019",
                doi="10.1016/j.inffus.2018.02.004",
                equals=EVALUATOR,
                function=_of_fused(en),
            ),
            Metric(
                name="sd",
                title="Standard deviation",
                lowest=0,
                highest=127.5,
                published="Ma, Ma and Li 2019",
                doi="10.1016/j.inffus.2018.02.004",
                equals=EVALUATOR,
                function=_of_fused(sd),
            ),
            Metric(
                name="sf",
                title="Spatial frequency",
                lowest=0,
                highest=255 * math.sqrt(2),
                published="Eskicioglu and Fisher 1995",
                doi="10.1109/26.477498",
                equals=EVALUATOR,
                function=_of_fused(sf),
                smallest_side=2,
            ),
            Metric(
                name="ag",
                title="Average gradient",
                lowest=0,
                highest=255,
                published="Cui et al. 2015",
                doi="10.1016/j.optcom.2014.12.032",
                equals=EVALUATOR,
                function=_of_fused(ag),
                smallest_side=2,
            ),
            Metric(
                name="psnr",
                title="Peak signal-to-noise ratio (dB)",
                lowest=0,
                highest=math.inf,
                published="Jagalingam and Hegde 2015",
                doi="10.1016/j.aqpro.2015.02.019",
                equals=f"{EVALUATOR}, with the peak always 255",
                function=psnr,
                otherwise_none="F equals both sources",
            ),
            Metric(
                name="qp",
                title="Preservation of phase congruency",
                lowest=-1,
                highest=1,
                published="Zhao et al. 2007, as in Liu et al. 2012",
                doi="10.1109/TPAMI.2011.109",
                equals=f"`metricZhao.m` of {TOOLBOX}",
                function=qp,
                otherwise_none="no source has a feature",
                costly=True,
            ),
        )
    }
)
DEFAULT_METRICS: tuple[str, ...] = tuple(name for name, metric in METRICS.items() if not metric.costly)
