"""The stages of a fuse job, one after the other in this process and without Ray."""

from pipelines.archive.load import load_sources
from pipelines.fuse.actor import FuseActor
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import Plan
from pipelines.fuse.writer import Writer
from pipelines.sources.ranges import agree_on_ranges


def run_stages(plan: Plan) -> None:
    """Carry out a plan as far as rows and images go."""
    config = plan.config
    Destination(config.out).claim(plan.run)
    if plan.rigs is not None:
        Destination(config.out).keep_rigs(plan.rigs.to_json())
    plan = plan.with_ranges(agree_on_ranges(Destination(config.out).uri, plan.ranges))
    actor = FuseActor(plan.method, plan.texts, config.metrics, threads=1, on_gpu=False, keep_b=config.also == "b")
    write = Writer(config, plan.method.name)
    for block in load_sources(plan.found.pairs, config.max_bytes, config.max_pixels, plan.pair_options, plan.register):
        write(actor(block))
