"""Several networks, trained step by step together."""

import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from rich.text import Text

from lenet_lab import terminal
from lenet_lab.build import threads
from lenet_lab.callbacks.finite import Step, Watch
from lenet_lab.checkpoint import find_last, trained_together
from lenet_lab.explain import explain, one_line
from lenet_lab.sweeps.member import Member
from lenet_lab.sweeps.stack import Stack, why_not_stacked
from lenet_lab.sweeps.together import JobsFailedError, expectation
from lenet_lab.train import run_alone

IMAGES_TO_TRY = 8  # at most


def train_in_lockstep(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """See `lenet_lab.sweeps.together.train_together`."""
    begun_alone = [config for config in configs if _has_begun_alone(config)]
    together = [config for config in configs if config not in begun_alone]
    results: dict[str, dict[str, Any]] = {}
    reasons: dict[str, str] = {}
    if together:
        _train(together, results, reasons)
    _one_by_one(begun_alone, "it has begun by itself", results, reasons)
    if reasons:
        raise JobsFailedError(reasons)
    return [results[config["folder"]] for config in configs]


def _has_begun_alone(config: dict[str, Any]) -> bool:
    last = find_last(Path(config["folder"]))
    return last is not None and not trained_together(last)


def _train(configs: Sequence[dict[str, Any]], results: dict[str, dict[str, Any]], reasons: dict[str, str]) -> None:
    """Train these together; what came out, or why it failed, goes to `results` and `reasons`, by run folder."""
    terminal.open_log(Path(configs[0]["folder"]) / "train.log")
    members = [Member(configs[0])]
    members += [Member(config, like=members[0].data) for config in configs[1:]]
    first = members[0]
    if reason := _why_one_by_one(members):
        _one_by_one(configs, reason, results, reasons)
        return
    torch.set_num_threads(first.config["threads"] or threads(first.data, len(members)))
    for member in members:
        member.start(len(members))
        if len(members) > 1:
            with member.log():
                terminal.show(Text(expectation(len(members), first.data.batch_size)))

    behind: list[Member] = []
    alive = members
    while alive and (epoch := min(member.epochs for member in alive)) < first.config["trainer"]["max_epochs"]:
        # After an interruption some may be further than others: these wait.
        if behind != (behind := [member for member in alive if member.epochs == epoch]):
            stack = Stack([member.network for member in behind])
        _train_an_epoch(behind, stack)
        alive = [member for member in alive if not member.failure]
        for member in behind:
            if not member.failure:
                member.end_epoch()
    results |= {str(member.folder): member.conclude() for member in alive}
    reasons |= {str(member.folder): member.failure for member in members if member.failure}


def _train_an_epoch(members: Sequence[Member], stack: Stack) -> None:
    for member in members:
        member.network.train()
    first = members[0]
    # (K,), on the device: read when reported only
    loss_sums = torch.stack([member.loss_sum for member in members])
    correct = torch.stack([member.correct for member in members])
    seen, of_epoch = first.images, 0
    watch = None if first.finite is None else Watch(first.finite.every)
    started = time.perf_counter()
    for number, batches in enumerate(zip(*(member.batches() for member in members), strict=True), start=1):
        images, labels = (torch.stack(parts) for parts in zip(*batches, strict=True))
        losses, right = stack.backward(images, labels)
        step = Step(first.steps + 1, first.epochs + 1, number, (images, labels), losses)
        if watch is not None:
            _note_failures(members, watch.see(step))
        loss_sums += losses
        correct += right
        seen += labels.shape[1]
        of_epoch += labels.shape[1]
        for member in members:
            member.step()
        if first.steps % first.log_every == 0:
            means = (loss_sums / first.log_every).tolist(), (correct / seen).tolist()
            rate = of_epoch / (time.perf_counter() - started)  # of each network: all are trained at this rate
            for member, loss, accuracy in zip(members, *means, strict=True):
                if not member.failure:
                    member.report(loss, accuracy, rate)
            loss_sums.zero_()
            correct.zero_()
            seen = 0
    loss_sums.cpu()  # waits for a GPU
    seconds = time.perf_counter() - started
    if watch is not None:
        _note_failures(members, watch.look())
        for place, member in enumerate(members):
            member.check_weights(_of_member(step, place))
    for member, loss_sum, right in zip(members, loss_sums.unbind(), correct.unbind(), strict=True):
        member.loss_sum, member.correct, member.images = loss_sum, right, seen
        member.seconds += seconds / len(members)


def _note_failures(members: Sequence[Member], steps: Sequence[Step]) -> None:
    """Let each member know of the first step in which its loss was not finite; the stack goes on to the epoch's end."""
    for step in steps:
        for place in (~step.loss.isfinite()).nonzero().flatten().tolist():
            members[place].fail(_of_member(step, place))


def _of_member(step: Step, place: int) -> Step:
    images, labels = step.batch
    return step._replace(batch=(images[place], labels[place]), loss=step.loss[place])


def _why_one_by_one(members: Sequence[Member]) -> str:
    """Say why these jobs cannot train together with the results that they would have alone, or nothing."""
    first = members[0]
    if first.data_is_drawn:
        return "the data source draws random numbers"
    if first.device.type not in ("cpu", "cuda"):
        return f"device {first.device.type} is not supported"
    numbers = torch.Generator().manual_seed(0)
    count = min(first.data.batch_size, IMAGES_TO_TRY)
    images = torch.randn((count, *first.data.train.image_shape), generator=numbers)
    return why_not_stacked([member.network for member in members[:2]], images)


def _one_by_one(
    configs: Sequence[dict[str, Any]], reason: str, results: dict[str, dict[str, Any]], reasons: dict[str, str]
) -> None:
    """Run the jobs as if each were the only one, what each says in its own log; one that fails stops no other.

    As `_train`, what came out goes to `results` and `reasons`.
    """
    for config in configs:
        log = Path(config["folder"]) / "train.log"
        with terminal.only_in(log):
            terminal.show(Text(f"This network is not trained together with others: {reason}."))
        with log.open("a") as stream, redirect_stdout(stream):
            try:
                results[config["folder"]] = run_alone(config)
            except Exception as error:  # told once the others have run
                terminal.show(Text(f"error: {explain(error) or traceback.format_exc()}"))
                reasons[config["folder"]] = explain(error) or one_line(error)
