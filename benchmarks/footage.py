"""A long recording: memory over time, killed and continued, and its speed beside that of the same frames as images.

    python benchmarks/footage.py [SECONDS] [FRAMES A SECOND]
    python benchmarks/footage.py speed      # 640x480 with `nano`: frames/s of the whole job, start included and not

Runs the console command as a user does, four times in processes of their own: undisturbed, killed half way and
continued, and on the same frames as pairs of PNG. No metrics, so that the network and the streams around it are what is
timed. The street is drawn for LOOP seconds and shown again and again.
"""

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import psutil
from PIL import Image

from pipelines.demo.street import draw_moment
from pipelines.demo.street.video import write_video

WIDTH, HEIGHT, LOOP = 64, 48, 20
SPEED_SIZE, SPEED_SECONDS, SPEED_RATE = (640, 480), (40, 120), 25
SAMPLE_SECONDS = 2.0


def main() -> None:
    """Draw, fuse in every way and print the figures."""
    if sys.argv[1:2] == ["speed"]:
        _measure_speed()
        return
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = _draw(folder, seconds, rate)
        print(f"{seconds} s at {rate} frames/s: {frames} frames of {WIDTH}x{HEIGHT}", flush=True)
        whole, memory = _run(folder, "recording", "whole")
        print(f"as a recording: {whole:.0f} s, {frames / whole:.2f} frames/s", flush=True)
        _say_memory(memory)
        images, _ = _run(folder, "images", "images")
        print(f"as images: {images:.0f} s, {frames / images:.2f} frames/s", flush=True)
        print(f"a recording has {images / whole:.0%} of the speed of its frames as images", flush=True)
        segments = _rows(folder / "whole")
        killed, _ = _run(folder, "recording", "killed", kill_at=segments // 2)
        done = f"{_rows(folder / 'killed')} of {segments}"
        rest, _ = _run(folder, "recording", "killed")
        print(f"killed after {killed:.0f} s with {done} segments done, continued for {rest:.0f} s")
        same = _digest(folder / "whole") == _digest(folder / "killed")
        print(f"the joined recording {'equals' if same else 'DIFFERS FROM'} the undisturbed one byte for byte")


def _measure_speed() -> None:
    """Fuse a short and a long recording with `nano`; the difference has no start in it."""
    frames, spent = [], []
    for seconds in SPEED_SECONDS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            loop = [draw_moment(7, n / 5, *SPEED_SIZE) for n in range(50)]
            for side, sensor in enumerate(("visible", "infrared")):
                file = folder / "recording" / sensor / "street.mp4"
                file.parent.mkdir(parents=True)
                write_video(file, [loop[n // 5 % 50][side] for n in range(seconds * SPEED_RATE)], SPEED_RATE)
            frames.append(seconds * SPEED_RATE)
            spent.append(_run(folder, "recording", "out", options=("--model", "nano"))[0])
        print(
            f"{frames[-1]} frames: {spent[-1]:.1f} s, {frames[-1] / spent[-1]:.1f} frames/s, start included", flush=True
        )
    print(f"beyond the start: {(frames[1] - frames[0]) / (spent[1] - spent[0]):.1f} frames/s")


def _draw(folder: Path, seconds: int, rate: int) -> int:
    loop = [draw_moment(7, n / rate, WIDTH, HEIGHT) for n in range(LOOP * rate)]
    frames = [loop[n % len(loop)] for n in range(seconds * rate)]
    for side, sensor in enumerate(("visible", "infrared")):
        file = folder / "recording" / sensor / "street.mp4"
        file.parent.mkdir(parents=True)
        write_video(file, [pair[side] for pair in frames], rate)
        images = folder / "images" / sensor
        images.mkdir(parents=True)
        with av.open(str(file)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                Image.fromarray(frame.to_ndarray(format="rgb24")).save(images / f"{number:06d}.png")
    return len(frames)


def _run(
    folder: Path, source: str, out: str, kill_at: int | None = None, options: tuple[str, ...] = ()
) -> tuple[float, list[int]]:
    command = [sys.executable, "-m", "jobs.fuse", str(folder / source), "--out", str(folder / out), *options]
    began, memory = time.monotonic(), list[int]()
    job = subprocess.Popen([*command, "--metrics", "none", "--no-tracking"], stdout=subprocess.DEVNULL)
    while job.poll() is None:
        family = _family(job.pid)
        memory.append(sum(map(_pss, family)))
        if kill_at is not None and _rows(folder / out) >= kill_at:
            for process in family:
                process.kill()
        time.sleep(SAMPLE_SECONDS)
    if job.returncode and kill_at is None:
        raise SystemExit(f"the job ended with exit code {job.returncode}")
    return time.monotonic() - began, memory


def _rows(out: Path) -> int:
    return len(list((out / "pairs").glob("*.parquet")))


def _family(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _say_memory(memory: list[int]) -> None:
    """Print the memory of the quarters of a run, of which the first has the start in it."""
    quarter = max(1, len(memory) // 4)
    medians = [statistics.median(memory[n * quarter : (n + 1) * quarter]) / 2**30 for n in range(4)]
    print(f"memory of all processes, median of each quarter: {', '.join(f'{m:.2f}' for m in medians)} GiB", flush=True)
    print(f"its peak: {max(memory) / 2**30:.2f} GiB", flush=True)


def _digest(out: Path) -> str:
    return hashlib.sha256((out / "recordings" / "street.mp4").read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
