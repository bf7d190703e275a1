"""Stage 2: trains tower, projector and language model together on conversations."""

import argparse
import time
from pathlib import Path

import torch
from compose import Rasters, load_rasters, normalise
from conversations import IGNORED, Batch, ConversationMaker
from export import export
from model import IMAGE_SIZE, IMAGE_TOKENS, NamingHead, build_model
from optimiser import Average, Optimisers
from sampling import held_out, weights
from tokenizer import IMAGE, build_processor, train_tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

KEPT_PATCHES = 32
FULL_FROM = 0.75


class JointTrainer:
    """The whole model, the tower's naming head, and the conversations they learn from."""

    def __init__(
        self, rasters: Rasters, tokenizer: PreTrainedTokenizerFast, args: argparse.Namespace
    ) -> None:
        self.image_id = tokenizer.convert_tokens_to_ids(IMAGE)
        self.pad_id = tokenizer.pad_token_id
        special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        self.model = build_model(len(tokenizer), self.image_id, *special)
        tower = torch.load(args.work / "tower.pt", weights_only=True)
        index = {name: i for i, name in enumerate(tower["names"])}
        self.targets = torch.tensor([index[label] for label in rasters.labels])
        self.head = NamingHead(self.model.config.vision_config.hidden_size, len(index))
        both = nn.ModuleList([self.model.model.vision_tower, self.head])
        both.load_state_dict(tower["weights"])
        shown = weights(rasters, ~held_out(rasters), concept_share=0.88)
        self.maker = ConversationMaker(rasters, shown, tokenizer, args.seed)

    def see(self, pixels: Tensor, kept: Tensor) -> Tensor:
        """The features of the kept patches."""
        tower = self.model.model.vision_tower
        embedded = tower.embeddings(pixels)
        embedded = embedded.gather(1, kept[:, :, None].expand(-1, -1, embedded.shape[2]))
        return tower.encoder(inputs_embeds=embedded).last_hidden_state

    def loss(self, full: bool) -> Tensor:
        """The loss of one new batch, seen in full or by half of its patches."""
        batch = self.maker.batch()
        number = IMAGE_TOKENS if full else KEPT_PATCHES
        noise = torch.rand(len(batch.pixels), IMAGE_TOKENS, generator=self.maker.generator)
        kept = noise.argsort(1)[:, :number].sort(1).values
        features = self.see(normalise(batch.pixels), kept)
        everywhere = torch.ones(len(batch.singles), number, dtype=torch.bool)
        logits = self.head(features[: len(batch.singles)], everywhere)
        named = F.cross_entropy(logits, self.targets[batch.singles], label_smoothing=0.1)
        return named + self.answer_loss(
            batch, self.model.model.multi_modal_projector(features), kept
        )

    def answer_loss(self, batch: Batch, features: Tensor, kept: Tensor) -> Tensor:
        """The mean loss of the answers' tokens."""
        total, tokens, start = features.new_zeros(()), 0, 0
        for conversations in (batch.short, batch.long):
            ids, labels, positions, used = self.collate(conversations, kept[start:])
            part = features[start : start + used]
            start += used
            embedded = self.model.get_input_embeddings()(ids)
            embedded = embedded.masked_scatter(
                (ids == self.image_id)[..., None].expand_as(embedded), part
            )
            length = ids.shape[1]
            causal = torch.ones(length, length, dtype=torch.bool).tril()
            hidden = self.model.model.language_model(
                inputs_embeds=embedded,
                position_ids=positions,
                attention_mask=causal.expand(len(ids), 1, length, length),
                use_cache=False,
            ).last_hidden_state
            wanted = labels[:, 1:] != IGNORED
            logits = self.model.lm_head(hidden[:, :-1][wanted])
            total = total + F.cross_entropy(logits, labels[:, 1:][wanted], reduction="sum")
            tokens += int(wanted.sum())
        return total / tokens

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


def write(trainer: JointTrainer, average: Average, args: argparse.Namespace) -> None:
    """Exports the averaged weights."""
    tokenizer = trainer.maker.tokenizer
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    model = build_model(len(tokenizer), trainer.image_id, *special)
    model.load_state_dict(average.weights)
    export(model, build_processor(tokenizer, IMAGE_SIZE), args.out)


def main() -> None:
    """Trains everything for the minutes given and exports the folder every few minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--tower-lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)
    tokenizer = train_tokenizer(args.work / "train" / "node_modules")
    trainer = JointTrainer(load_rasters(args.work), tokenizer, args)
    inner = trainer.model.model
    rates = {
        inner.vision_tower: args.tower_lr,
        trainer.head: args.tower_lr,
        inner.multi_modal_projector: args.lr,
        inner.language_model: args.lr,
    }
    optimisers = Optimisers(rates, args.minutes)
    average = Average(trainer.model, decay=0.99)
    smooth, reported, exported = 10.0, time.monotonic(), time.monotonic()
    while optimisers.progress < 1:
        loss = trainer.loss(full=optimisers.progress > FULL_FROM)
        loss.backward()
        optimisers.step()
        average.update(trainer.model)
        smooth += 0.03 * (loss.item() - smooth)
        if time.monotonic() - reported > 30:
            reported = time.monotonic()
            minutes = optimisers.progress * args.minutes
            print(f"{minutes:.1f} min, step {optimisers.steps}, loss {smooth:.3f}", flush=True)
        if time.monotonic() - exported > 240:
            exported = time.monotonic()
            write(trainer, average, args)
    write(trainer, average, args)
    print(f"done: {optimisers.steps} steps, loss {smooth:.3f}", flush=True)


if __name__ == "__main__":
    main()
