"""Entry point of `upfusion demo`: draw a dozen synthetic pairs of a night street and fuse them."""

import sys
from pathlib import Path

from pydantic import Field

from jobs.command_line import job_command
from jobs.fuse import run_fuse
from jobs.terminal import Terminal
from pipelines.config.base import JobConfig
from pipelines.fuse.config import FuseConfig


class DemoConfig(JobConfig):
    """Options of `upfusion demo`."""

    out: str = Field("demo", description="Folder for the pairs (archive/) and the results (fused/).")
    count: int = Field(12, ge=1, description="Number of pairs.")
    recording: bool = Field(
        False,
        description="Render a pair of recordings of the street instead, and an animated picture of the fused one.",
    )
    unregistered: bool = Field(
        False, description="Two cameras that are not registered: estimate their rig, fuse by it, show before and after."
    )


@job_command(DemoConfig, name="demo")
def command(config: DemoConfig, verbose: bool) -> int:
    """Draw synthetic infrared-visible pairs of a night street and fuse them: no data, no network, no GPU."""
    from pipelines.demo.street import write_archive

    archive, fused = Path(config.out) / "archive", Path(config.out) / "fused"
    if config.recording:
        return _fuse_recording(Path(config.out), verbose=verbose)
    if config.unregistered:
        return _fuse_unregistered(Path(config.out), config.count, verbose=verbose)
    write_archive(archive, config.count)
    settings = FuseConfig(
        source=str(archive / "pairs.csv"),
        out=str(fused),
        images="both",
        # An SQLite file beside the results, so that the demo writes nothing elsewhere.
        tracking_uri=f"sqlite:///{Path(config.out).resolve()}/mlflow.db",
    )
    return run_fuse(settings, verbose=verbose)


def _fuse_unregistered(folder: Path, count: int, *, verbose: bool) -> int:
    from pipelines.align.before_after import write_before_after
    from pipelines.align.config import AlignConfig
    from pipelines.align.job import align
    from pipelines.demo.street.two_cameras import write_unregistered

    archive, rig, picture = folder / "two_cameras", folder / "rig.json", folder / "before_after.webp"
    console = Terminal()
    with Terminal(stderr=True).status("drawing streets") as status:
        names = write_unregistered(archive, max(count, 16))  # so many show the lens as well
        outcome = align(AlignConfig(source=str(archive), out=str(rig)), status.update)
        status.update("drawing before and after")
        a, b = (archive / side / names[0] for side in ("visible", "infrared"))
        write_before_after(a, b, rig, picture)
    settings = FuseConfig(
        source=str(archive),
        out=str(folder / "fused_by_rig"),
        images="both",
        rig=str(rig),
        tracking_uri=f"sqlite:///{folder.resolve()}/mlflow.db",
    )
    code = run_fuse(settings, verbose=verbose)
    for heading, text in {"Rig": outcome.page, "Picture": str(picture)}.items():
        console.print(f"[bold]{heading:9s}[/] {text}", highlight=False, soft_wrap=True)
    return code


def _fuse_recording(folder: Path, *, verbose: bool) -> int:
    from pipelines.demo.street.video import write_videos
    from pipelines.fuse.footage.animate import animate

    recordings, fused = folder / "recordings", folder / "fused_recordings"
    write_videos(recordings)
    settings = FuseConfig(
        source=str(recordings),
        out=str(fused),
        segment_seconds=2.0,
        tracking_uri=f"sqlite:///{folder.resolve()}/mlflow.db",
    )
    code = run_fuse(settings, verbose=verbose)
    sources = (str(recordings / "visible" / "street.mp4"), str(recordings / "infrared" / "street.mp4"))
    animate((*sources, str(fused / "recordings" / "street.mp4")), folder / "street.webp")
    Terminal().print(f"[bold]Animated[/]  {folder / 'street.webp'}", highlight=False, soft_wrap=True)
    return code


if __name__ == "__main__":
    sys.exit(command())
