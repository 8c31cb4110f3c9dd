"""The worker process of a training run.

A checkpoint holds everything that the next step depends on, and the crops of a step follow from its number, so
a run resumed from any checkpoint takes exactly the steps of an uninterrupted one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import get_device, prepare_model
from torch import Tensor

from pipelines.storage import objects as storage
from pipelines.storage.scratch import scratch_folder
from pipelines.train.crops import CropRules
from pipelines.train.disk_cache import ImageCache
from pipelines.train.folder import PICTURES
from pipelines.train.guides import GuideRules
from pipelines.train.job_spec import TrainJob
from pipelines.train.loader import CropLoader, LumaCache, Sample
from pipelines.train.log import read_log, write_log
from pipelines.train.prepared import PairReader
from pipelines.train.state import Best, read_state, write_state
from pipelines.train.validation import BEST_BY, TRIPTYCHS, Measured, Validator, mean_of
from upfusion.checkpoint import Checkpoint, Provenance, parse_checkpoint
from upfusion.learner import Batch, DivergedError, Learner
from upfusion.network import UPFusion
from upfusion.phrase_bank import load_phrase_bank
from upfusion.prompts import PROMPTS

# Ray Train's controller processes one report every two seconds, and a worker with two pending ones blocks.
REPORT_SECONDS = 5.0

STATE, MODEL = "state.safetensors", "model.safetensors"
"""Files in the folder of a checkpoint."""


def train_worker(settings: dict[str, Any]) -> None:
    """Train from the last checkpoint, or from the start, to the end: the function that Ray Train runs."""
    Worker(settings["job"]).run()


class Worker:
    """One process's part of a training run."""

    def __init__(self, job: TrainJob) -> None:
        torch.set_num_threads(job.threads)
        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self.job, self.device = job, get_device()
        self.start = parse_checkpoint(storage.read_bytes(job.start), job.start)
        config = job.config
        network = self.start.build_network()
        self.learner = Learner(network, config.recipe(job.steps), prepare_model(network), self._teacher())
        self.texts = {key: torch.tensor(text) for key, text in job.texts.items()}
        reader = PairReader(ImageCache(config.disk_cache, config.cache_folder), job.preparation, config.max_pixels)
        rules = CropRules(
            side=config.crop,
            half_scale_prob=config.halved,
            mismatched_pair_prob=config.unrelated,
            augmentations=config.augment,
            random_prompts=config.random_prompts,
            prompts=tuple(name for name in PROMPTS if name in self.start.prompts),
            seed=config.seed,
        )
        self.guides = GuideRules(phrases=config.phrases, wishes=config.random_wishes, seed=config.seed)
        self.phrases = load_phrase_bank(self.start.config.text_encoder or "") if config.phrases else None
        lumas = LumaCache(reader, config.memory_cache)
        self.loader = CropLoader(job.train_pairs, rules, config.batch, lumas, config.loaders)
        mine = job.val_pairs[self.rank :: self.workers]
        self.validator = Validator(mine, self.texts, reader, config.precision)
        self.drawn = frozenset(pair["pair_id"] for pair in job.val_pairs[:TRIPTYCHS])
        self.best: Best | None = None
        self.log: list[dict[str, Any]] = []
        """Log entries that are not reported yet."""
        self.history: list[dict[str, Any]] = []
        """The log of the whole run."""
        self.reported = time.monotonic()

    def run(self) -> None:
        self._resume()
        share = self.workers / self.job.config.batch
        window = _Window()
        for samples in self.loader.steps(self.learner.step, self.job.steps, self.rank, self.workers):
            try:
                window.add(self.learner.learn(self._batches(samples), share))
            except DivergedError as error:
                # All workers get here together: the averaged gradients are the same on all.
                self._put_log()
                ray.train.report({"log": self.log, "diverged": str(error)})
                return
            if self.job.logs_at(self.learner.step):
                self.log.append(self._summary(window))
                self.history.append(self.log[-1])
                window = _Window()
                # Reports and checkpoints count as training time, validation does not.
                window.began += self._report()

    def _teacher(self) -> UPFusion | None:
        if not self.job.teacher:
            return None
        teacher = parse_checkpoint(storage.read_bytes(self.job.teacher), self.job.teacher)
        return teacher.build_network().requires_grad_(False).to(self.device)

    def _resume(self) -> None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return
        with checkpoint.as_directory() as folder:
            state, self.best = read_state(Path(folder) / STATE)
            self.learner.load_state(state)
        self.history = read_log(self.job.log, up_to=self.learner.step)

    def _batches(self, samples: list[Sample]) -> list[Batch]:
        size = self.job.config.micro_batch or len(samples)
        return [self._batch(samples[start : start + size]) for start in range(0, len(samples), size)]

    def _batch(self, samples: list[Sample]) -> Batch:
        crops = [sample.crop for sample in samples]
        a, b = (torch.from_numpy(np.stack(side))[:, None] for side in ([c.a for c in crops], [c.b for c in crops]))
        guides = [self.guides.draw(sample.number, self._text(sample), self.phrases) for sample in samples]
        text, wish = torch.stack([guide.text for guide in guides]), torch.stack([guide.wish for guide in guides])
        return Batch(*(part.to(self.device) for part in (a, b, text, wish)))

    def _text(self, sample: Sample) -> Tensor:
        if sample.crop.prompt is not None:
            return self.start.prompts[sample.crop.prompt].embedding
        return self.texts[sample.pair["task"], sample.pair["prompt"]]

    def _summary(self, window: "_Window") -> dict[str, Any]:
        """Return the position of the run and the losses of all workers since the last report."""
        sums = torch.stack(list(window.sums.values()))
        seconds = time.perf_counter() - window.began
        if self.workers > 1:
            dist.all_reduce(sums)
        crops = window.steps * self.job.config.batch
        step = self.learner.step
        return {
            "step": step,
            "epoch": self.job.epoch(step),
            **dict(zip(window.sums, (sums / crops).tolist(), strict=True)),
            "learning_rate": self.job.config.recipe(self.job.steps).learning_rate_at(step - 1),
            "samples_per_second": crops / seconds,
            "crops_a_step": self.job.config.batch,
            "workers": self.workers,
        }

    def _report(self) -> float:
        """Report the log, with a checkpoint if one is due; return the seconds of a validation.

        All workers must report equally often: a report is a barrier.
        """
        step, seconds = self.learner.step, 0.0
        if not self.job.checkpoints_at(step):
            if self._is_time():
                self._send()
            return seconds
        model = self._model()
        pictures: dict[str, bytes] = {}
        if self.job.validates_at(step):
            began = time.perf_counter()
            measured, pictures = self._validate(model)
            seconds = time.perf_counter() - began
            model = self._model(measured)
            self._keep_best(model, measured)
            self.log[-1] |= {f"val_{name}": value for name, value in measured.items()}
            self.log[-1] |= {"validation_seconds": seconds, "best": self.best}
        if step == self.job.steps and self.best is None:
            self._put(model)
        self._put_log()
        with self._written(model, pictures) as checkpoint:
            self._send(checkpoint, f"step_{step:07d}")
        return seconds

    def _send(self, checkpoint: ray.train.Checkpoint | None = None, name: str | None = None) -> None:
        ray.train.report({"log": self.log}, checkpoint=checkpoint, checkpoint_dir_name=name)
        self.log, self.reported = [], time.monotonic()

    def _is_time(self) -> bool:
        """Tell whether a report is due, by the clock of rank 0."""
        late = torch.tensor([time.monotonic() - self.reported > REPORT_SECONDS], dtype=torch.int32, device=self.device)
        if self.workers > 1:
            dist.broadcast(late, src=0)
        return bool(late.item())

    def _validate(self, model: Checkpoint) -> tuple[dict[str, float], dict[str, bytes]]:
        """Return the means over all workers' pairs, and on rank 0 the pictures of all."""
        mine = self.validator.validate(model, self.device, self.drawn)
        everybodys: list[tuple[Measured, dict[str, bytes]]] = [mine] * self.workers
        if self.workers > 1:
            dist.all_gather_object(everybodys, mine)
        # In the order of the pairs, so that the sum does not depend on the number of workers.
        measured = {pair_id: values for part, _ in everybodys for pair_id, values in part.items()}
        pictures = {pair_id: picture for _, part in everybodys for pair_id, picture in part.items()}
        return mean_of(dict(sorted(measured.items()))), pictures

    def _keep_best(self, model: Checkpoint, measured: dict[str, float]) -> None:
        """Write the model if it is better than the best so far."""
        value = measured.get(BEST_BY)
        if value is not None and (self.best is None or value > self.best["value"]):
            self.best = {"step": self.learner.step, "value": value}
            self._put(model)

    def _put(self, model: Checkpoint) -> None:
        if self.rank == 0:
            storage.write_bytes(self.job.model, model.to_bytes())

    def _put_log(self) -> None:
        if self.rank == 0:
            write_log(self.job.log, self.history)

    def _model(self, measured: dict[str, float] | None = None) -> Checkpoint:
        step, given = self.learner.step, self.job.provenance
        return Checkpoint(
            name=self.start.name,
            config=self.start.config,
            weights=self.learner.weights(),
            prompts=self.start.prompts,
            provenance=Provenance(
                data=given.data,
                epochs=round(self.job.epoch(step), 3),
                git_commit=given.git_commit,
                metrics={"validation": measured} if measured else {},
                licence=given.licence,
                training={**given.training, "step": step},
                notes=given.notes,
            ),
        )

    @contextmanager
    def _written(self, model: Checkpoint, pictures: dict[str, bytes]) -> Iterator[ray.train.Checkpoint | None]:
        """Write a checkpoint to a folder on rank 0, the only rank that reports one."""
        if self.rank:
            yield None
            return
        with scratch_folder() as folder:
            write_state(folder / STATE, self.learner.state(), self.best)
            (folder / MODEL).write_bytes(model.to_bytes())
            for number, pair_id in enumerate(sorted(pictures), start=1):
                (folder / PICTURES).mkdir(exist_ok=True)
                (folder / PICTURES / f"{number}.png").write_bytes(pictures[pair_id])
            yield ray.train.Checkpoint.from_directory(str(folder))


class _Window:
    """Sums of the losses since the last report."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0
        self.began = time.perf_counter()

    def add(self, sums: dict[str, Tensor]) -> None:
        self.sums = {name: self.sums.get(name, 0) + value for name, value in sums.items()}
        self.steps += 1
