"""Stage 1: teaches the vision tower to name what pictures show, as a plain classifier."""

import argparse
import time
from pathlib import Path

import torch
from compose import Composer, Rasters, load_rasters, normalise
from model import IMAGE_TOKENS, NamingHead, patch_features, vision_config
from optimiser import Average, Optimisers
from sampling import held_out, is_concept, weights
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SiglipVisionModel

BATCH = 128
PAIRS = 32
# Most of the time the tower sees a random half of the patches: nearly twice the pictures.
KEPT_PATCHES = 32
FULL_FROM = 0.7


class TowerTrainer:
    """The tower, its throw-away head, and the pictures they learn from."""

    def __init__(self, rasters: Rasters, args: argparse.Namespace) -> None:
        self.rasters = rasters
        self.names = sorted(set(rasters.labels))
        index = {name: i for i, name in enumerate(self.names)}
        self.targets = torch.tensor([index[label] for label in rasters.labels])
        unseen = torch.tensor([v == args.validation_vendor for v in rasters.vendors])
        self.weights = weights(rasters, ~held_out(rasters) & ~unseen, concept_share=0.8)
        self.validation = (unseen | held_out(rasters)) & is_concept(rasters)
        self.generator = torch.Generator().manual_seed(args.seed)
        self.composer = Composer(rasters, self.generator)
        self.tower = SiglipVisionModel(vision_config())
        self.head = NamingHead(self.tower.config.hidden_size, len(self.names))

    def draw(self, count: int) -> Tensor:
        """Random rasters."""
        return torch.multinomial(self.weights, count, True, generator=self.generator)

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures; which picture, which patches and which name each lesson is about."""
        single, left, right = self.draw(BATCH - PAIRS), self.draw(PAIRS), self.draw(PAIRS)
        one, _ = self.composer.compose([self.composer.single(single)])
        layouts = [self.composer.row(left, 0, 2), self.composer.row(right, 1, 2)]
        two, _ = self.composer.compose(layouts)
        columns = torch.arange(IMAGE_TOKENS) % 8
        everywhere = torch.ones(BATCH - PAIRS, IMAGE_TOKENS, dtype=torch.bool)
        regions = torch.cat(
            [everywhere, (columns < 4).expand(PAIRS, -1), (columns >= 4).expand(PAIRS, -1)]
        )
        pair_ids = torch.arange(BATCH - PAIRS, BATCH)
        ids = torch.cat([torch.arange(BATCH - PAIRS), pair_ids, pair_ids])
        targets = self.targets[torch.cat([single, left, right])]
        return normalise(torch.cat([one, two])), ids, regions, targets

    def loss(self, full: bool) -> Tensor:
        """The loss of one new batch, seen in full or by half of its patches."""
        pixels, ids, regions, targets = self.batch()
        if full:
            features = patch_features(self.tower, pixels)
        else:
            noise = torch.rand(BATCH, IMAGE_TOKENS, generator=self.generator)
            kept = noise.argsort(1)[:, :KEPT_PATCHES]
            regions = regions.gather(1, kept[ids])
            embedded = self.tower.embeddings(pixels)
            embedded = embedded.gather(1, kept[:, :, None].expand(-1, -1, embedded.shape[2]))
            features = self.tower.encoder(inputs_embeds=embedded).last_hidden_state
        logits = self.head(features[ids], regions)
        return F.cross_entropy(logits, targets, label_smoothing=0.1)

    @torch.no_grad()
    def validate(self, average: Average) -> float:
        """The share of unseen pictures named right, in one plain composition each."""
        modules = nn.ModuleList([self.tower, self.head])
        kept = {k: v.clone() for k, v in modules.state_dict().items()}
        modules.load_state_dict(average.weights)
        composer = Composer(self.rasters, torch.Generator().manual_seed(0))
        right = 0
        chosen = self.validation.nonzero().flatten()
        for part in chosen.split(256):
            pixels, _ = composer.compose([composer.single(part)])
            features = patch_features(self.tower, normalise(pixels))
            region = torch.ones(len(part), IMAGE_TOKENS, dtype=torch.bool)
            right += int((self.head(features, region).argmax(1) == self.targets[part]).sum())
        modules.load_state_dict(kept)
        return right / max(1, len(chosen))

    def save(self, average: Average, path: Path) -> None:
        """Writes the averaged tower and head."""
        torch.save({"names": self.names, "weights": average.weights}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)


def main() -> None:
    """Trains the tower for the minutes given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35.0)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--validation-vendor", default="fxemoji")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    trainer = TowerTrainer(load_rasters(args.work), args)
    modules = nn.ModuleList([trainer.tower, trainer.head])
    optimisers = Optimisers({modules: args.lr}, args.minutes)
    average = Average(modules, decay=0.995)
    smooth, reported = 7.0, time.monotonic()
    while optimisers.progress < 1:
        loss = trainer.loss(full=optimisers.progress > FULL_FROM)
        loss.backward()
        optimisers.step()
        average.update(modules)
        smooth += 0.02 * (loss.item() - smooth)
        if time.monotonic() - reported > 120:
            reported = time.monotonic()
            score = trainer.validate(average)
            trainer.save(average, args.work / "tower.pt")
            minutes = optimisers.progress * args.minutes
            print(
                f"{minutes:.1f} min, step {optimisers.steps}, loss {smooth:.3f}, "
                f"unseen pictures named right {score:.1%}",
                flush=True,
            )
    trainer.save(average, args.work / "tower.pt")
    print(f"done: {optimisers.steps} steps, unseen {trainer.validate(average):.1%}", flush=True)


if __name__ == "__main__":
    main()
