"""Train a cross-encoder from the bundled encoder: `python -m sage_nb.models.train_reranker groups.jsonl out/`.

Each line of the file is a group, `{"question": str, "passages": [str, …], "targets": [float, …]}`: a teacher's scores
of some passages for one question, in its own units. The loss is listwise, the divergence of the model's softmax over a
group from the teacher's (ListNet, Cao et al., ICML 2007), so that a teacher may be another ranker, a person, or both. A
run that is stopped goes on from its last checkpoint, and gives what it would have given.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sage_nb.errors import BadValueError
from sage_nb.models.untrained import untrained_cross_encoder

if TYPE_CHECKING:
    import torch

STATE = "training.pt"
# What makes a step on a CPU 2.3 times as fast: no dropout (one pass over much data needs none), attention without the
# fused kernel, whose backward in bfloat16 is slow, and embeddings, two thirds of all weights, that stay as they are.
UNDROPPED = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PLAIN = {"attn_implementation": "eager"}


class Group(msgspec.Struct, frozen=True):
    """A question, passages, and what a teacher says of each."""

    question: str
    passages: tuple[str, ...]
    targets: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """How to train: `layers` are those of the bundled encoder that are kept, `length` is in tokens of a pair."""

    epochs: int = 1
    batch: int = 4
    rate: float = 1e-4
    warm: float = 0.05
    length: int = 192
    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    seed: int = 0
    every: int = 250


def read_groups(path: Path) -> list[Group]:
    """The groups in a file; BadValueError names the line that is none."""
    groups = []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), start=1):
        try:
            group = msgspec.json.decode(line, type=Group)
        except msgspec.MsgspecError as error:
            raise BadValueError(f"line {number} of {path} is no group: {error}") from error
        if len(group.passages) != len(group.targets) or len(group.passages) < 2:
            raise BadValueError(f"line {number} of {path} needs two passages or more, and a target for each")
        groups.append(group)
    if not groups:
        raise BadValueError(f"there are no groups in {path}")
    return groups


def schedule(groups: int, recipe: Recipe) -> list[list[int]]:
    """Which groups each step takes: every group once an epoch, in an order that the seed alone decides.

    >>> schedule(5, Recipe(batch=2)) == schedule(5, Recipe(batch=2))
    True
    >>> sorted(index for step in schedule(5, Recipe(batch=2)) for index in step)
    [0, 1, 2, 3, 4]
    """
    chance, steps = random.Random(recipe.seed), []
    for _ in range(recipe.epochs):
        order = list(range(groups))
        chance.shuffle(order)
        steps += [order[at : at + recipe.batch] for at in range(0, groups, recipe.batch)]
    return steps


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate: up in a straight line, then down in half a cosine.

    >>> recipe = Recipe(rate=1.0, warm=0.1)
    >>> [round(rate_at(step, 100, recipe), 2) for step in (0, 9, 99)]
    [0.1, 1.0, 0.0]
    """
    warm = max(1, round(recipe.warm * steps))
    if step < warm:
        return recipe.rate * (step + 1) / warm
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / (steps - warm + 1)))


class Trainer:
    """A model in training, with all that it takes to go on later."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        self.out, self.recipe, self.step = out, recipe, 0
        begun = (out / STATE).exists()
        if not begun:
            untrained_cross_encoder(out, recipe.seed, recipe.layers)
        self.encoder = CrossEncoder(
            str(out),
            num_labels=1,
            max_length=recipe.length,
            activation_fn=torch.nn.Identity(),  # logits: a sigmoid would make all that is clearly good alike
            config_kwargs=UNDROPPED,
            model_kwargs=PLAIN,
        )
        self.device = self.encoder.device
        self.model: Any = self.encoder.model.train()
        self.model.bert.embeddings.requires_grad_(requires_grad=False)
        learning = [each for each in self.model.parameters() if each.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=recipe.rate, weight_decay=0.01)
        if begun:
            self._resume()

    def learn(self, groups: Sequence[Group], rate: float) -> float:
        """One step; gives its loss."""
        import torch

        for each in self.optimizer.param_groups:
            each["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16):
            scores = self._scores(groups)
        loss: Any = torch.stack(list(_divergences(scores.float(), groups))).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())

    def save(self) -> None:
        """Write the model for its users, and what a later run goes on from: all of it, or what was there before."""
        import torch

        self.encoder.save_pretrained(str(self.out))
        held = {"recipe": asdict(self.recipe), "step": self.step, "optimizer": self.optimizer.state_dict()}
        torch.save({**held, "model": self.model.state_dict()}, self.out / f"{STATE}.new")
        (self.out / f"{STATE}.new").replace(self.out / STATE)

    def _resume(self) -> None:
        import torch

        held = torch.load(self.out / STATE, weights_only=True)
        changed = [name for name, value in asdict(self.recipe).items() if value != held["recipe"][name]]
        if changed:
            raise BadValueError(f"{self.out} was begun with another {', '.join(changed)}; train into another folder")
        self.model.load_state_dict(held["model"])
        self.optimizer.load_state_dict(held["optimizer"])
        self.step = held["step"]

    def _scores(self, groups: Sequence[Group]) -> torch.Tensor:
        pairs = [(group.question, passage) for group in groups for passage in group.passages]
        questions, passages = zip(*pairs, strict=True)
        encoded = self.encoder.tokenizer(
            questions, passages, truncation=True, max_length=self.recipe.length, padding=True, return_tensors="pt"
        ).to(self.device)
        logits: torch.Tensor = self.encoder(dict(encoded))["scores"]
        return logits.reshape(-1)


def train(groups: Sequence[Group], out: Path, recipe: Recipe) -> Iterator[tuple[int, int, float]]:
    """Train into `out`; gives (step, steps, loss) after each."""
    out.mkdir(parents=True, exist_ok=True)
    trainer, steps = Trainer(out, recipe), schedule(len(groups), recipe)
    while trainer.step < len(steps):
        at = trainer.step
        loss = trainer.learn([groups[index] for index in steps[at]], rate_at(at, len(steps), recipe))
        if trainer.step % recipe.every == 0 or trainer.step == len(steps):
            trainer.save()
        yield trainer.step, len(steps), loss


def halved(folder: Path) -> Path:
    """Write what is shipped, the model in half precision, into `half` below a trained one; gives that folder."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder))
    model.half()
    model.save_pretrained(str(folder / "half"))
    return folder / "half"


def _divergences(scores: torch.Tensor, groups: Sequence[Group]) -> Iterator[torch.Tensor]:
    """Of the model's softmax from the teacher's, group by group."""
    import torch

    at = 0
    for group in groups:
        given = torch.log_softmax(scores[at : at + len(group.passages)], 0)
        wanted = torch.log_softmax(torch.tensor(group.targets, device=scores.device), 0)
        yield torch.nn.functional.kl_div(given, wanted, reduction="sum", log_target=True)
        at += len(group.passages)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the arguments, train, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", type=Path)
    parser.add_argument("out", type=Path)
    for name, default in asdict(Recipe()).items():
        many = isinstance(default, tuple)
        kind = int if many else type(default)
        parser.add_argument(f"--{name}", type=kind, nargs="+" if many else None, default=default)
    given: dict[str, Any] = vars(parser.parse_args(argv))
    path, out = given.pop("groups"), given.pop("out")
    recipe = Recipe(**{**given, "layers": tuple(given["layers"])})
    begun, losses = time.monotonic(), []
    for step, steps, loss in train(read_groups(path), out, recipe):
        losses.append(loss)
        if step % 50 == 0 or step == steps:
            mean, seconds = sum(losses[-50:]) / len(losses[-50:]), time.monotonic() - begun
            sys.stdout.write(f"step {step} of {steps}: loss {mean:.4f}, {seconds:.0f} s\n")
            sys.stdout.flush()
    sys.stdout.write(f"in half precision: {halved(out)}\n")


if __name__ == "__main__":
    main()
