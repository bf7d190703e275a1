"""Scores a model folder on pictures that it has not seen, through transformers' generate."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from compose import Rasters, load_rasters
from concepts import Concept, load_concepts, names_it
from conversations import ConversationMaker
from gcompris import DRAWN, PHOTOGRAPHED, labelled_pictures
from PIL import Image
from pool import PoolMaker
from questions import (
    Scene,
    Turn,
    ask_about,
    ask_about_several,
)
from rasterise import open_picture
from sampling import held_out, is_concept, of_validation_vendor, training_mask
from sources import VAGUE_WORDS, Picture, icons
from torch import Tensor
from transformers import AutoProcessor, LlavaForConditionalGeneration

SHOWN = 224
PER_TASK = 200
EXACT_TASKS = ("category", "colour", "background", "count")


def on_white(image: Image.Image) -> Image.Image:
    """Puts a transparent picture in the middle of a white square."""
    image = image.convert("RGBA")
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2), image)
    return square


@dataclass
class Answerer:
    """The model as a user meets it: chat template, processor, greedy generation."""

    folder: Path

    def __post_init__(self) -> None:
        self.model = LlavaForConditionalGeneration.from_pretrained(
            self.folder, dtype=torch.float32
        ).eval()
        self.processor = AutoProcessor.from_pretrained(self.folder)
        self.processor.tokenizer.padding_side = "left"

    def prompt(self, question: str, images: int) -> str:
        """A prompt with the images before the question."""
        parts = [*[{"type": "image"}] * images, {"type": "text", "text": question}]
        chat = [{"role": "user", "content": parts}]
        return self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)

    @torch.no_grad()
    def answer(self, asked: list[tuple[str, list[Image.Image]]], batch: int = 50) -> list[str]:
        """Answers questions about images."""
        answers = []
        for start in range(0, len(asked), batch):
            part = asked[start : start + batch]
            images = [image for _, shown in part for image in shown]
            texts = [self.prompt(question, len(shown)) for question, shown in part]
            inputs = self.processor(text=texts, images=images, padding=True, return_tensors="pt")
            made = self.model.generate(**inputs, max_new_tokens=40, do_sample=False)
            made = made[:, inputs["input_ids"].shape[1] :]
            answers += self.processor.batch_decode(made, skip_special_tokens=True)
        return answers


def openmoji(work: Path, every: bool = False) -> list[tuple[Concept, Image.Image]]:
    """OpenMoji's picture of each concept (its first emoji), or all pictures of all concepts."""
    modules = work / "test" / "node_modules"
    characters = json.loads((modules / "@iconify-json" / "openmoji" / "chars.json").read_text())
    by_code = {k.upper().replace("-FE0F", ""): v for k, v in characters.items()}
    drawings = dict(icons(modules, "openmoji"))
    found = []
    for concept in load_concepts():
        codes = [code for code in concept.emoji if by_code.get(code) in drawings]
        for code in codes if every else codes[:1]:
            svg = drawings[by_code[code]]
            picture = Picture("openmoji", code, concept.name, concept.category, svg)
            found.append((concept, on_white(open_picture(picture, SHOWN))))
    return found


def tuxpaint(work: Path) -> list[tuple[Concept, Image.Image]]:
    """Tux Paint's stamps whose English caption names exactly one concept."""
    stamps = work / "test" / "debian" / "usr" / "share" / "tuxpaint" / "stamps"
    found = []
    for path in sorted(stamps.rglob("*.txt")):
        caption = path.read_text(encoding="utf-8", errors="replace").split("\n")[0]
        named = [
            concept
            for concept in load_concepts()
            if names_it(caption, tuple(n for n in concept.names if n not in VAGUE_WORDS))
        ]
        pictures = [path.with_suffix(s) for s in (".png", ".svg") if path.with_suffix(s).exists()]
        if len(named) == 1 and pictures:
            picture = Picture("tuxpaint", path.stem, "", "", path=str(pictures[0]))
            try:
                found.append((named[0], on_white(open_picture(picture, SHOWN))))
            except ValueError:
                print(f"cannot be drawn, left out: {path.stem}")
    return found


def gcompris(work: Path, activities: tuple[str, ...]) -> list[tuple[Concept, Image.Image]]:
    """GCompris's drawings or photographs of the concepts."""
    found = labelled_pictures(work / "test" / "debian", activities)
    return [(concept, on_white(image)) for concept, image in found]


def of_rasters(rasters: Rasters, mask: Tensor) -> list[tuple[Concept, Image.Image]]:
    """The concepts among some of the rasters."""
    concepts = {c.name: c for c in load_concepts()}
    found = []
    for i in (mask & is_concept(rasters)).nonzero().flatten().tolist():
        image = Image.fromarray(rasters.pixels[i].numpy(), "RGBA")
        found.append((concepts[rasters.labels[i]], on_white(image)))
    return found


def name_score(
    answerer: Answerer, pictures: list[tuple[Concept, Image.Image]], question: str
) -> tuple[int, int, list[str]]:
    """How many pictures are named right, of how many, and every answer."""
    answers = answerer.answer([(question, [image]) for _, image in pictures])
    right = [names_it(a, c.names) for (c, _), a in zip(pictures, answers, strict=True)]
    lines = [
        f"{'ok ' if good else 'BAD'} {concept.name}: {answer}"
        for good, (concept, _), answer in zip(right, pictures, answers, strict=True)
    ]
    return sum(right), len(pictures), lines


def to_images(pictures: Tensor) -> list[Image.Image]:
    """Composed pictures as images."""
    arrays = pictures.permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array) for array in arrays]


def is_right(turn: Turn, answer: str, scenes: list[Scene]) -> bool:
    """Whether an answer to a composed picture's question is right."""
    if turn.task in EXACT_TASKS:
        return answer == turn.answer
    if turn.task.startswith("yes/no"):
        return answer.split(",")[0] == turn.answer.split(",")[0]
    if turn.task == "which image":
        return answer.split()[:3] == turn.answer.split()[:3]
    wanted = [t.concept for s in scenes for t in s.things if t.phrase in turn.answer.lower()]
    return all(c is not None and names_it(answer, (*c.names, c.plural)) for c in wanted)


def composed_question(
    maker: ConversationMaker, task: str
) -> tuple[Turn, list[Scene], list[Image.Image]]:
    """A question of the task about one or more of the maker's pictures."""
    rng = maker.rng
    while True:
        if task in ("left/right", "count", "names"):
            shown = [maker.row()]
        else:
            shown = maker.several(rng.choice((2, 3)) if "image" in task else 1)
        scenes = [maker.scene(index) for index in shown]
        turns = (
            ask_about(scenes[0], 1, rng) if len(shown) == 1 else ask_about_several(scenes, 1, rng)
        )
        if turns[0].task == task:
            return turns[0], scenes, to_images(maker.pool.pixels[shown])


def named_things(answer: str, scene: Scene) -> set[int]:
    """Which of a scene's things an answer names."""
    return {
        i
        for i, thing in enumerate(scene.things)
        if thing.concept and names_it(answer, (*thing.concept.names, thing.concept.plural))
    }


def detail(task: str, cases: list[tuple[Turn, Scene, str, bool]]) -> str:
    """What a share alone hides: each answer's own share, and the side apart from the name."""
    if task == "left/right":
        known = [(named_things(a, s), named_things(t.answer, s)) for t, s, a, _ in cases]
        known = [(said, wanted) for said, wanted in known if said]
        sides = sum(bool(said & wanted) for said, wanted in known)
        return f"; {len(known)} named one of the things, {sides} of them the one on that side"
    if not task.startswith("yes/no"):
        return ""
    parts = []
    for wanted in ("Yes", "No"):
        right = [good for turn, _, _, good in cases if turn.answer.startswith(wanted)]
        parts.append(f"{wanted.lower()} {sum(right)} of {len(right)}")
    return "; " + ", ".join(parts)


def chance(task: str, cases: list[tuple[Turn, list[Scene]]]) -> str:
    """The share that guessing would have right, where that is not about none."""
    if task.startswith("yes/no"):
        return ", chance 50%"
    if task == "which image":
        return f", chance {sum(1 / len(scenes) for _, scenes in cases) / len(cases):.0%}"
    return ""


def composition_scores(
    answerer: Answerer, maker: ConversationMaker, number: int, report: Callable[[str], None]
) -> None:
    """Scores every task on compositions that training has not seen."""
    tasks = ("name", "category", "colour", "background", "yes/no", "yes/no kind", "count",
             "left/right", "which image", "yes/no nth image", "nth image")  # fmt: skip
    for task in tasks:
        cases = [composed_question(maker, task) for _ in range(number)]
        answers = answerer.answer([(turn.question, images) for turn, _, images in cases])
        scored = [
            (turn, scenes[0], answer, is_right(turn, answer, scenes))
            for (turn, scenes, _), answer in zip(cases, answers, strict=True)
        ]
        right = sum(good for *_, good in scored)
        report(
            f"new compositions, {task}: {right} of {number} ({right / number:.1%}"
            f"{chance(task, [case[:2] for case in cases])}){detail(task, scored)}"
        )


def main() -> None:
    """Prints all scores; `--answers` also writes what the model said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--tests", action="store_true", help="also the unseen test sets")
    parser.add_argument("--per-task", type=int, default=PER_TASK)
    args = parser.parse_args()
    torch.set_num_threads(2)
    answerer = Answerer(args.model)
    rasters = load_rasters(args.work)
    hidden = held_out(rasters)
    said: list[str] = []

    question = "What is this?"
    sets = [
        ("held-out Openclipart pictures", of_rasters(rasters, hidden), question),
        ("FxEmojis", of_rasters(rasters, of_validation_vendor(rasters)), question),
    ]
    if args.tests:
        first, photos = openmoji(args.work), tuxpaint(args.work)
        sets += [
            ("OpenMoji, one picture per concept", first, question),
            ("OpenMoji, one picture per concept", first, "What is in this picture?"),
            ("OpenMoji, all pictures of concepts", openmoji(args.work, True), question),
            ("Tux Paint stamps", photos, question),
            ("GCompris, drawings", gcompris(args.work, DRAWN), question),
            ("GCompris, photographs", gcompris(args.work, PHOTOGRAPHED), question),
        ]
    for title, pictures, question in sets:
        right, count, lines = name_score(answerer, pictures, question)
        print(f'{title}, "{question}": {right} of {count} ({right / count:.1%})', flush=True)
        said += [f"# {title}, {question}", *lines]
    pool = PoolMaker(rasters, training_mask(rasters), seed=99).make(singles=4000, rows=1500)
    maker = ConversationMaker(rasters, pool, answerer.processor.tokenizer, seed=99)
    composition_scores(answerer, maker, args.per_task, lambda line: print(line, flush=True))
    if args.answers:
        args.answers.write_text("\n".join(said) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
