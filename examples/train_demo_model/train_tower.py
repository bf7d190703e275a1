"""Stage 1: teaches the vision tower to name what pictures show, from labels and the teacher."""

import argparse
import time
from pathlib import Path

import torch
from checkpoint import Checkpoint
from compose import Composer, Rasters, load_rasters, normalise
from model import (
    GRID,
    IMAGE_TOKENS,
    NamingHead,
    compile_layers,
    patch_features,
    vision_config,
)
from optimiser import Average, Optimisers
from pool import Pool, load_pool
from precision import autocast
from sampling import Labels, validation_mask
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SiglipVisionModel

BATCH = 256
ROWS = 80
# Most of the time the tower sees a random half of the patches: nearly twice the pictures.
KEPT_PATCHES = 32
FULL_FROM = 0.75
TEMPERATURE = 2.0


def regions(places: Tensor, things: Tensor) -> Tensor:
    """For each thing of a row the mask of the patches where it is."""
    columns = (torch.arange(IMAGE_TOKENS) % GRID + 0.5) / GRID
    return (columns * things[:, None]).floor() == places[:, None]


class Lessons(nn.Module):
    """The tower with its throw-away heads: for names and for the teacher's features."""

    def __init__(self, labels: int, grid_width: int) -> None:
        super().__init__()
        self.tower = SiglipVisionModel(vision_config())
        self.tower.set_attn_implementation("eager")  # Faster than SDPA on short sequences.
        compile_layers(self.tower.encoder.layers, dynamic=False)
        width = self.tower.config.hidden_size
        self.names = NamingHead(width, labels)
        self.grid = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, grid_width))

    def see(self, pixels: Tensor, kept: Tensor | None) -> Tensor:
        """The features of the kept patches."""
        embedded = self.tower.embeddings(pixels)
        if kept is not None:
            embedded = embedded.gather(1, kept[:, :, None].expand(-1, -1, embedded.shape[2]))
        return self.tower.encoder(inputs_embeds=embedded).last_hidden_state.float()


class TowerTrainer:
    """The lessons and the pictures that they are about."""

    def __init__(self, rasters: Rasters, pool: Pool, args: argparse.Namespace) -> None:
        self.labels = Labels(rasters)
        self.pool = pool
        self.counts = pool.counts()
        targets = self.labels.targets[pool.things.clamp(min=0)]
        self.targets = torch.where(pool.things >= 0, targets, -1)
        self.grid_mean = pool.grids[:5000].float().mean((0, 1))
        self.grid_scale = pool.grids[:5000].float().std((0, 1)) + 1e-3
        self.composer = Composer(rasters, torch.Generator().manual_seed(0))
        self.validation = validation_mask(rasters).nonzero().flatten()
        self.generator = torch.Generator().manual_seed(args.seed)
        self.lessons = Lessons(len(self.labels.names), pool.grids.shape[2])

    def draw(self) -> Tensor:
        """The indices of a batch: single things, then rows."""
        single = torch.randint(self.pool.singles, (BATCH - ROWS,), generator=self.generator)
        row = torch.randint(self.pool.singles, len(self.pool), (ROWS,), generator=self.generator)
        return torch.cat([single, row])

    def load(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels and teacher's grids, half of the single things mirrored, all lit anew."""
        pixels = self.pool.pixels[chosen].float() / 255
        grids = (self.pool.grids[chosen].float() - self.grid_mean) / self.grid_scale
        mirrored = torch.rand(BATCH, generator=self.generator) < 0.5
        mirrored[BATCH - ROWS :] = False
        pixels[mirrored] = pixels[mirrored].flip(3)
        grids[mirrored] = grids[mirrored].unflatten(1, (GRID, GRID)).flip(2).flatten(1, 2)
        gain = torch.rand(BATCH, 3, 1, 1, generator=self.generator) * 0.3 + 0.85
        return normalise((pixels * gain).clamp(0, 1)), grids

    def loss(self, full: bool) -> Tensor:
        """The loss of one new batch, seen in full or by half of its patches."""
        chosen = self.draw()
        pixels, grids = self.load(chosen)
        kept = None
        if not full:
            noise = torch.rand(BATCH, IMAGE_TOKENS, generator=self.generator)
            kept = noise.argsort(1)[:, :KEPT_PATCHES]
            grids = grids.gather(1, kept[:, :, None].expand(-1, -1, grids.shape[2]))
        with autocast():
            features = self.lessons.see(pixels, kept)
        like_teacher = F.smooth_l1_loss(self.lessons.grid(features), grids)
        return self.naming_loss(chosen, BATCH - ROWS, features, kept) + like_teacher

    def naming_loss(
        self, chosen: Tensor, singles: int, features: Tensor, kept: Tensor | None
    ) -> Tensor:
        """How well every thing is named, by its label and (the first ones) by the teacher."""
        things, targets = self.counts[chosen], self.targets[chosen]
        which, place = (targets >= 0).nonzero(as_tuple=True)
        region = regions(place, things[which])
        if kept is not None:
            region = region.gather(1, kept[which])
        logits = self.lessons.names(features[which], region)
        loss = F.cross_entropy(logits, targets[which, place], label_smoothing=0.1)
        everywhere = torch.ones(singles, features.shape[1], dtype=torch.bool)
        said = self.lessons.names(features[:singles], everywhere)
        wanted = self.pool.logits[chosen[:singles]].float()
        return loss + distillation(said, wanted)

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")
    def validate(self, average: Average) -> float:
        """The share of unseen pictures named right, in one plain composition each."""
        kept = {k: v.clone() for k, v in self.lessons.state_dict().items()}
        self.lessons.load_state_dict(average.weights)
        self.composer.generator.manual_seed(0)
        right = 0
        for part in self.validation.split(256):
            pixels, _ = self.composer.compose([self.composer.single(part)])
            features = patch_features(self.lessons.tower, normalise(pixels))
            region = torch.ones(len(part), IMAGE_TOKENS, dtype=torch.bool)
            logits = self.lessons.names(features, region)
            right += int((logits.argmax(1) == self.labels.targets[part]).sum())
        self.lessons.load_state_dict(kept)
        return right / max(1, len(self.validation))


def distillation(logits: Tensor, wanted: Tensor) -> Tensor:
    """How far the student's view of all names is from the teacher's."""
    said = F.log_softmax(logits / TEMPERATURE, 1)
    meant = F.log_softmax(wanted / TEMPERATURE, 1)
    return F.kl_div(said, meant, log_target=True, reduction="batchmean") * TEMPERATURE**2


def save(average: Average, path: Path) -> None:
    """Writes the averaged weights."""
    torch.save(average.weights, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def main() -> None:
    """Trains the tower for the minutes given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    trainer = TowerTrainer(load_rasters(args.work), load_pool(args.work), args)
    optimisers = Optimisers({trainer.lessons: args.lr}, args.minutes)
    average = Average(trainer.lessons, decay=0.995)
    state = args.work / "tower.state"
    checkpoint = Checkpoint(state, trainer.lessons, optimisers.parts, average)
    optimisers.go_on(*checkpoint.load())
    smooth, reported = 7.0, time.monotonic()
    while optimisers.progress < 1:
        loss = trainer.loss(full=optimisers.progress > FULL_FROM)
        loss.backward()
        optimisers.step()
        average.update(trainer.lessons)
        checkpoint.save_sometimes(optimisers.elapsed)
        smooth += 0.02 * (loss.item() - smooth)
        if time.monotonic() - reported > 60:
            reported = time.monotonic()
            minutes = optimisers.progress * args.minutes
            print(
                f"{minutes:.1f} min, step {optimisers.steps}, loss {smooth:.3f}, "
                f"unseen pictures named right {trainer.validate(average):.1%}",
                flush=True,
            )
    checkpoint.save(optimisers.elapsed)
    save(average, args.work / "tower.pt")
    print(f"done: {optimisers.steps} steps, unseen {trainer.validate(average):.1%}", flush=True)


if __name__ == "__main__":
    main()
