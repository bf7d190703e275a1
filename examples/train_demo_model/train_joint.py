"""Stage 2: trains tower, projector and language model together on conversations."""

import argparse
import time
from pathlib import Path

import torch
from checkpoint import Checkpoint
from compose import Rasters, load_rasters, normalise
from concepts import names_it
from conversations import IGNORED, ROWS, SINGLES, Batch, ConversationMaker
from export import export
from model import IMAGE_SIZE, IMAGE_TOKENS, build_model, compile_layers
from optimiser import Average, Optimisers
from pool import Pool, load_pool
from precision import autocast
from sampling import validation_mask
from tokenizer import IMAGE, build_processor, kept_tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from train_tower import TowerTrainer
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

KEPT_PATCHES = 32
# First the language model alone learns to name what the finished tower sees.
TOWER_FROM = 0.25
FULL_FROM = 0.85
NAMING_WEIGHT = 0.5


class JointTrainer:
    """The whole model, the tower's naming head, and the conversations they learn from."""

    def __init__(
        self,
        rasters: Rasters,
        pool: Pool,
        tokenizer: PreTrainedTokenizerFast,
        args: argparse.Namespace,
    ) -> None:
        self.pool = pool
        self.maker = ConversationMaker(rasters, pool, tokenizer, args.seed)
        self.image_id = self.maker.image_id
        self.pad_id = tokenizer.pad_token_id
        self.token_weights = self.maker.token_weights()
        self.generator = torch.Generator().manual_seed(args.seed)
        self.tower_trainer = TowerTrainer(rasters, pool, args)
        self.lessons = self.tower_trainer.lessons
        self.lessons.load_state_dict(torch.load(args.work / "tower.pt", weights_only=True))
        self.model = new_model(tokenizer)
        self.model.model.vision_tower = self.lessons.tower
        language_model = self.model.model.language_model
        language_model.set_attn_implementation("eager")
        compile_layers(language_model.layers, dynamic=True)

    def loss(self, progress: float) -> Tensor:
        """The loss of one new batch, seen in full or by half of its patches."""
        learning = progress > TOWER_FROM
        batch = self.maker.batch() if learning else self.maker.first_batch()
        number = IMAGE_TOKENS if progress > FULL_FROM else KEPT_PATCHES
        noise = torch.rand(len(batch.chosen), IMAGE_TOKENS, generator=self.generator)
        kept = noise.argsort(1)[:, :number].sort(1).values
        pixels = normalise(self.pool.pixels[batch.chosen].float() / 255)
        with autocast():
            with torch.set_grad_enabled(learning):
                features = self.lessons.see(pixels, kept)
            answers = self.answer_loss(batch, features, kept)
        if not learning:
            return answers
        first = SINGLES + ROWS
        named = self.tower_trainer.naming_loss(
            batch.chosen[:first], SINGLES, features[:first], kept[:first]
        )
        return answers + NAMING_WEIGHT * named

    def answer_loss(self, batch: Batch, features: Tensor, kept: Tensor) -> Tensor:
        """The mean loss of the answers' tokens, each by its weight."""
        projected = self.model.model.multi_modal_projector(features)
        total, weight, start = features.new_zeros(()), features.new_zeros(()), 0
        for conversations in filter(None, (batch.short, batch.long)):
            ids, labels, positions, used = self.collate(conversations, kept[start:])
            part = projected[start : start + used]
            start += used
            embedded = self.model.get_input_embeddings()(ids)
            embedded = embedded.masked_scatter(
                (ids == self.image_id)[..., None].expand_as(embedded), part.to(embedded.dtype)
            )
            length = ids.shape[1]
            future = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)
            hidden = self.model.model.language_model(
                inputs_embeds=embedded,
                position_ids=positions,
                attention_mask=future.expand(len(ids), 1, length, length),
                use_cache=False,
            ).last_hidden_state
            wanted = labels[:, 1:] != IGNORED
            logits = self.model.lm_head(hidden[:, :-1][wanted]).float()
            answer = labels[:, 1:][wanted]
            total = total + F.cross_entropy(logits, answer, self.token_weights, reduction="sum")
            weight = weight + self.token_weights[answer].sum()
        return total / weight

    def collate(
        self, conversations: list[tuple[list[int], list[int]]], kept: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Drops the image tokens of patches not kept, pads, and counts the images."""
        rows, used = [], 0
        for ids, labels in conversations:
            row = torch.tensor([ids, labels, list(range(len(ids)))])
            image = row[0] == self.image_id
            number = int(image.sum()) // IMAGE_TOKENS
            if number:
                seen = torch.zeros(number, IMAGE_TOKENS, dtype=torch.bool)
                seen.scatter_(1, kept[used : used + number], True)
                chosen = ~image
                chosen[image] = seen.flatten()
                row = row[:, chosen]
                used += number
            rows.append(row)
        length = max(row.shape[1] for row in rows)
        filler = torch.tensor([[self.pad_id], [IGNORED], [0]])
        padded = [torch.cat([r, filler.expand(-1, length - r.shape[1])], 1) for r in rows]
        ids, labels, positions = torch.stack(padded).unbind(1)
        return ids, labels, positions, used


class Examiner:
    """Lets the averaged model answer about pictures of the vendor kept for validation."""

    def __init__(self, trainer: JointTrainer, rasters: Rasters) -> None:
        self.maker = trainer.maker
        shown = validation_mask(rasters).nonzero().flatten()
        composer = trainer.tower_trainer.composer
        composer.generator.manual_seed(0)
        self.concepts = [self.maker.concepts[rasters.labels[i]] for i in shown.tolist()]
        self.pixels = normalise(composer.compose([composer.single(shown)])[0])

    @torch.no_grad()
    def named(self, model: LlavaForConditionalGeneration) -> float:
        """The share of the pictures whose answer has the right name."""
        question = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
        prompt = self.maker.tokens([{"role": "user", "content": question}])[0]
        prompt += self.maker.encode("<|assistant|>")
        ids = torch.tensor([prompt]).expand(len(self.concepts), -1)
        made = model.generate(
            input_ids=ids,
            pixel_values=self.pixels,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
        )
        said = self.maker.tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
        right = [names_it(a, c.names) for a, c in zip(said, self.concepts, strict=True)]
        return sum(right) / len(right)


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """A model with random weights for this tokenizer."""
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return build_model(len(tokenizer), tokenizer.convert_tokens_to_ids(IMAGE), *special)


def averaged(trainer: JointTrainer, average: Average) -> LlavaForConditionalGeneration:
    """A model with the averaged weights."""
    model = new_model(trainer.maker.tokenizer)
    model.load_state_dict(average.weights)
    return model.eval()


def main() -> None:
    """Trains everything for the minutes given and exports the folder every few minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=24.0)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--tower-lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    tokenizer = kept_tokenizer(args.work)
    rasters = load_rasters(args.work)
    trainer = JointTrainer(rasters, load_pool(args.work), tokenizer, args)
    examiner = Examiner(trainer, rasters)
    processor = build_processor(tokenizer, IMAGE_SIZE)
    inner = trainer.model.model
    rates = {
        trainer.lessons: args.tower_lr,
        inner.multi_modal_projector: args.lr,
        inner.language_model: args.lr,
    }
    optimisers = Optimisers(rates, args.minutes)
    average = Average(trainer.model, decay=0.99)
    whole = nn.ModuleDict({"model": trainer.model, "lessons": trainer.lessons})
    checkpoint = Checkpoint(args.work / "joint.state", whole, optimisers.parts, average)
    optimisers.go_on(*checkpoint.load())
    smooth, reported = 8.0, time.monotonic()
    while optimisers.progress < 1:
        loss = trainer.loss(optimisers.progress)
        loss.backward()
        optimisers.step()
        average.update(trainer.model)
        checkpoint.save_sometimes(optimisers.elapsed)
        smooth += 0.03 * (loss.item() - smooth)
        if time.monotonic() - reported > 120:
            reported = time.monotonic()
            model = averaged(trainer, average)
            print(
                f"{optimisers.progress * args.minutes:.1f} min, step {optimisers.steps}, "
                f"loss {smooth:.3f}, unseen pictures named right {examiner.named(model):.1%}",
                flush=True,
            )
            export(model, processor, args.out)
    checkpoint.save(optimisers.elapsed)
    model = averaged(trainer, average)
    print(f"done: {optimisers.steps} steps, unseen {examiner.named(model):.1%}", flush=True)
    export(model, processor, args.out)


if __name__ == "__main__":
    main()
