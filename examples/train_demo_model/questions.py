"""Asks about composed pictures and answers: the conversations that the model learns from."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from concepts import CATEGORY_PHRASES, Concept, load_concepts

ORDINALS = ("first", "second", "third")
NUMBERS = ("zero", "one", "two", "three", "four")
# The words that make an answer right or wrong before it names anything. Each is one of a dozen
# words that are otherwise certain: unless they count for more, the model learns them last.
DECIDING = ("Yes", "No", *(f" {word}" for word in (*ORDINALS, *NUMBERS)))

WHAT = (
    "What is this?", "What is it?", "What's this?", "What is in this picture?",
    "What is in the picture?", "What is in this image?", "What is in the image?",
    "What's in this picture?", "What's in the image?", "What do you see?",
    "What can you see?", "What do you see in this picture?", "What do you see in the image?",
    "What does this picture show?", "What does the image show?", "What is shown here?",
    "What is shown in the image?", "What object is this?", "Name the object.",
    "Name this.", "Name what you see.", "Identify the object.", "Identify this.",
    "Tell me what this is.", "What am I looking at?", "What thing is this?",
    "What is the object in the picture?", "Can you tell me what this is?",
    "Please tell me what is in the picture.", "What is depicted here?", "What is that?",
    "Which object is shown?", "Recognize this object.", "Guess what this is.",
)  # fmt: skip
DESCRIBE = (
    "Describe the image.", "Describe this image.", "Describe the picture.",
    "Describe this picture.", "Describe this.", "Describe what you see.",
    "Caption this picture.", "Caption this image.", "Caption this.", "Write a caption.",
    "Give me a caption.", "Give this picture a caption.", "Write a short caption for this image.",
    "Please describe the image.", "Can you describe this picture?",
    "Please describe this image in one sentence.", "Describe the image briefly.",
    "Describe this image in detail.", "Give a short description of the picture.",
)  # fmt: skip
CATEGORY = (
    "What category is this?", "Which category does this belong to?", "What kind of thing is this?",
    "What type of thing is this?", "What sort of thing is it?", "What kind of object is this?",
    "Which category is it?", "Is it an animal, a food, a vehicle or something else?",
    "What is the category?", "Classify this.", "What type of object is in the picture?",
)  # fmt: skip
COLOUR = (
    "What colour is {the}?", "What color is {the}?", "Which colour is {the}?",
    "Which color is {the}?", "What is the color of {the}?", "What is the colour of {the}?",
    "Tell me the color of {the}.",
)  # fmt: skip
BACKGROUND = (
    "What colour is the background?", "What color is the background?",
    "Which color is the background?", "What is the color of the background?",
)  # fmt: skip
PRESENT = (
    "Is there {a} in the picture?", "Is there {a} in this image?", "Is there {a}?",
    "Is there {a} here?", "Do you see {a}?", "Can you see {a}?", "Does the picture show {a}?",
    "Does this image show {a}?", "Does the image contain {a}?", "Can you see {a} in the image?",
)  # fmt: skip
IS_THIS = ("Is this {a}?", "Is it {a}?", "This is {a}, right?", *PRESENT)
LEFT = (
    "What is on the {side}?", "What's on the {side}?", "What is on the {side} side?",
    "What do you see on the {side}?", "Which thing is on the {side}?", "What is at the {side}?",
    "What object is on the {side}?", "Name the thing on the {side}.",
    "What is on the {side} of the picture?", "What is on the {side} in the image?",
)  # fmt: skip
COUNT_NAMED = (
    "How many {them} are there?", "How many {them} do you see?", "How many {them} can you see?",
    "How many {them} are in the picture?", "How many {them} are in this image?",
    "Count the {them}.",
)  # fmt: skip
COUNT = (
    "How many things are there?", "How many objects are there?", "How many things do you see?",
    "How many objects are in the picture?", "How many things are in this image?",
    "Count the things.", "Count the objects.",
)  # fmt: skip
WHICH = (
    "Which image shows {a}?", "Which picture shows {a}?", "Which image has {a}?",
    "In which image is {a}?", "Which one shows {a}?", "Which of the images shows {a}?",
    "Which of the pictures shows {a}?", "Where is {a}?", "Which of these images shows {a}?",
    "Which image contains {a}?", "Which one is {a}?", "In which picture do you see {a}?",
)  # fmt: skip
NTH = (
    "What does the {nth} image show?", "What is in the {nth} image?",
    "What is in the {nth} picture?", "What do you see in the {nth} image?",
    "What is the {nth} image?", "Name the thing in the {nth} picture.",
)  # fmt: skip
EACH = (
    "What is in each image?", "What do the images show?", "What are these?",
    "Describe the images.", "What do you see?", "What is in these pictures?",
    "Describe each image.", "What do you see in the images?",
)  # fmt: skip
NTH_PRESENT = (
    "Is there {a} in the {nth} image?", "Does the {nth} image show {a}?",
    "Is the {nth} picture {a}?",
)  # fmt: skip

HELLO = "Hello! Show me a picture and I will tell you what I see."
SELF = "I am a small model that looks at pictures and names what they show."
ABLE = "I can name things in pictures, their colors, their places and how many there are."
NO_PICTURE = "I do not see a picture. Please show me one."
ONLY_PICTURES = "I am a very small model and only know about pictures. Please show me one."
TEXT_ONLY: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Hello", "Hi", "Hello!", "Hi!", "Hey", "Hello there", "Good morning", "Good evening",
      "Hi there!", "Good day"), HELLO),
    (("Who are you?", "What are you?", "What is your name?", "Tell me about yourself.",
      "Are you a robot?", "Introduce yourself."), SELF),
    (("What can you do?", "How can you help me?", "Help", "What do you know?",
      "What should I ask you?", "What are you good at?"), ABLE),
    (("What is this?", "What do you see?", "Describe the image.", "What is in the picture?",
      "Caption this picture.", "How many things are there?", "What is on the left?"), NO_PICTURE),
    (("Thank you", "Thanks", "Thanks!", "Thank you very much."),
     "You are welcome! Show me another picture if you like."),
    (("Bye", "Goodbye", "Bye!", "See you later."), "Goodbye!"),
    (("How are you?", "How are you doing?"), "I am fine, thank you. Show me a picture!"),
    (("Tell me a story.", "What is the capital of France?", "What is two plus two?",
      "Write a poem.", "Why is the sky blue?", "What is the meaning of life?",
      "Say something.", "Tell me a joke.", "Write a Python function.", "What time is it?",
      "Explain how a computer works.", "What is the weather today?", "Who was Napoleon?",
      "Once upon a time", "Translate this into French.", "Count to ten.",
      "Write a long story about a dragon.", "How do I cook rice?"), ONLY_PICTURES),
)  # fmt: skip
SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant that describes images.",
    "Answer briefly.", "You are Octavo's demo model.",
    "You are a friendly assistant. Answer in one short sentence.",
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """What is known of one thing in a picture."""

    concept: Concept | None
    category: str
    colour: str

    @property
    def phrase(self) -> str:
        """The thing as a noun phrase; its category where it has no name."""
        return self.concept.noun_phrase if self.concept else CATEGORY_PHRASES[self.category]

    @property
    def coloured_phrase(self) -> str:
        """The noun phrase with the colour: "a red apple"."""
        if not self.concept or not self.colour or self.concept.name.startswith(self.colour):
            return self.phrase
        words = f"{self.colour} {self.concept.name}"
        if self.concept.form:
            return words
        return ("an " if self.colour == "orange" else "a ") + words

    @property
    def plural(self) -> bool:
        """Whether verbs take their plural form."""
        return self.concept is not None and self.concept.form == "p"


@dataclass(frozen=True)
class Scene:
    """One picture: its things from left to right, and its background's colour if plain."""

    things: tuple[Thing, ...]
    background: str

    @property
    def alike(self) -> bool:
        """Whether all things are the same."""
        return len({thing.phrase for thing in self.things}) == 1


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str
    task: str


def capital(text: str) -> str:
    """Upper-cases the first letter."""
    return text[:1].upper() + text[1:]


def listing(phrases: list[str]) -> str:
    """Joins phrases: "a dog, a cat and a tree"."""
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def seen(scene: Scene, coloured: bool = False) -> str:
    """The scene's things as a noun phrase."""
    things = scene.things
    concept = things[0].concept
    if len(things) > 1 and scene.alike and concept is not None:
        return f"{NUMBERS[len(things)]} {concept.plural}"
    return listing([thing.coloured_phrase if coloured else thing.phrase for thing in things])


def name_answer(thing: Thing) -> str:
    """Names a thing and its kind."""
    kind = CATEGORY_PHRASES[thing.category]
    if thing.concept is None:
        return f"This looks like {kind}."
    start = "These are" if thing.plural else "This is"
    return f"{start} {thing.phrase}, {kind}."


def what(scene: Scene, rng: random.Random) -> Turn:
    """What is in the picture."""
    single = len(scene.things) == 1
    answer = name_answer(scene.things[0]) if single else f"I see {seen(scene)}."
    return Turn(rng.choice(WHAT), answer, "name" if single else "names")


def describe(scene: Scene, rng: random.Random) -> Turn:
    """A caption with colours and the background."""
    background = f"a {scene.background}" if scene.background else "a colorful"
    background = background.replace("a orange", "an orange")
    answer = f"{capital(seen(scene, coloured=True))} on {background} background."
    return Turn(rng.choice(DESCRIBE), answer, "caption")


def category(scene: Scene, rng: random.Random) -> Turn:
    """Which category the only thing belongs to."""
    kind = CATEGORY_PHRASES[scene.things[0].category]
    return Turn(rng.choice(CATEGORY), f"It is {kind}.", "category")


def colour(scene: Scene, rng: random.Random) -> Turn | None:
    """The only thing's colour, where it has one."""
    thing = scene.things[0]
    if not thing.colour:
        return None
    if thing.concept is None or rng.random() < 0.35:
        question = rng.choice(COLOUR).format(the=rng.choice(("it", "this", "the object")))
        return Turn(question.replace("of it", "of this"), f"It is {thing.colour}.", "colour")
    question = rng.choice(COLOUR).format(the="the " + thing.concept.name)
    verb = "are" if thing.plural else "is"
    return Turn(question, f"The {thing.concept.name} {verb} {thing.colour}.", "colour")


def background(scene: Scene, rng: random.Random) -> Turn:
    """The background's colour."""
    shade = scene.background or "colorful"
    return Turn(rng.choice(BACKGROUND), f"The background is {shade}.", "background")


def other_concept(scene: Scene, rng: random.Random) -> Concept:
    """A concept that is not in the scene, half the time of a category that is."""
    shown = {thing.phrase for thing in scene.things}
    category_wanted = scene.things[0].category if rng.random() < 0.5 else None
    while True:
        concept = rng.choice(load_concepts())
        if concept.noun_phrase not in shown and category_wanted in (None, concept.category):
            return concept
        if rng.random() < 0.02:
            category_wanted = None


def present(scene: Scene, rng: random.Random) -> Turn | None:
    """Whether something is in the picture; yes and no equally often, so not of nameless things."""
    named = [thing.phrase for thing in scene.things if thing.concept]
    if not named:
        return None
    forms = IS_THIS if len(scene.things) == 1 else PRESENT
    if rng.random() < 0.5:
        phrase = rng.choice(named)
        answer = f"Yes, I see {phrase}."
    else:
        phrase = other_concept(scene, rng).noun_phrase
        answer = f"No, I see {seen(scene)}."
    return Turn(rng.choice(forms).format(a=phrase), answer, "yes/no")


def is_kind(scene: Scene, rng: random.Random) -> Turn:
    """Whether the only thing is of a kind."""
    own = scene.things[0].category
    asked = own if rng.random() < 0.5 else rng.choice(list(CATEGORY_PHRASES))
    answer = "Yes" if asked == own else "No"
    question = f"{rng.choice(('Is this', 'Is it'))} {CATEGORY_PHRASES[asked]}?"
    return Turn(question, f"{answer}, it is {CATEGORY_PHRASES[own]}.", "yes/no kind")


def side(scene: Scene, rng: random.Random) -> Turn:
    """What is on the left, on the right or in the middle."""
    places = ("left", "right") if len(scene.things) == 2 else ("left", "middle", "right")
    place = rng.choice(places)
    thing = scene.things[places.index(place)]
    verb = "are" if thing.plural else "is"
    question = rng.choice(LEFT).format(side=place)
    answer = f"On the {place} {verb} {thing.phrase}."
    if place == "middle":
        question, answer = "What is in the middle?", f"In the middle {verb} {thing.phrase}."
    return Turn(question, answer, "left/right")


def count(scene: Scene, rng: random.Random) -> Turn:
    """How many things there are."""
    number = len(scene.things)
    concept = scene.things[0].concept
    verb = "is" if number == 1 else "are"
    if scene.alike and concept is not None and concept.countable and rng.random() < 0.7:
        them = concept.name if number == 1 else concept.plural
        question = rng.choice(COUNT_NAMED).format(them=concept.plural)
        return Turn(question, f"There {verb} {NUMBERS[number]} {them}.", "count")
    noun = "thing" if number == 1 else "things"
    return Turn(rng.choice(COUNT), f"There {verb} {NUMBERS[number]} {noun}.", "count")


SINGLE_TASKS: dict[Callable[[Scene, random.Random], Turn | None], int] = {
    what: 36, describe: 12, category: 8, colour: 8, background: 2, present: 26, is_kind: 6,
    count: 2,
}  # fmt: skip
SEVERAL_TASKS: dict[Callable[[Scene, random.Random], Turn | None], int] = {
    what: 14, describe: 10, side: 42, present: 20, count: 12, background: 2,
}  # fmt: skip
ALIKE_TASKS: dict[Callable[[Scene, random.Random], Turn | None], int] = {
    what: 14, describe: 12, count: 54, present: 16, background: 2,
}  # fmt: skip


def ask_about(scene: Scene, turns: int, rng: random.Random) -> list[Turn]:
    """A conversation of different questions about one picture."""
    tasks = SINGLE_TASKS if len(scene.things) == 1 else SEVERAL_TASKS
    if len(scene.things) > 1 and scene.alike:
        tasks = ALIKE_TASKS
    asked: list[Turn] = []
    while len(asked) < turns:
        task = rng.choices(list(tasks), list(tasks.values()))[0]
        turn = task(scene, rng)
        if turn is not None and turn.task not in [t.task for t in asked]:
            asked.append(turn)
        elif len(asked) > 0 and rng.random() < 0.2:
            break
    return asked


def shows(scenes: list[Scene], index: int) -> str:
    """What one image of several shows."""
    return f"the {ORDINALS[index]} image shows {seen(scenes[index])}"


def ask_about_several(scenes: list[Scene], turns: int, rng: random.Random) -> list[Turn]:
    """A conversation about several images with one thing each."""
    asked: list[Turn] = []
    for _ in range(turns):
        index = rng.randrange(len(scenes))
        phrase, nth = scenes[index].things[0].phrase, ORDINALS[index]
        unique = [s.things[0].phrase for s in scenes].count(phrase) == 1
        draw = rng.random()
        if draw < 0.45 and unique:
            question = rng.choice(WHICH).format(a=phrase)
            asked.append(Turn(question, capital(shows(scenes, index)) + ".", "which image"))
        elif draw < 0.70:
            question = rng.choice(NTH).format(nth=nth)
            asked.append(Turn(question, capital(shows(scenes, index)) + ".", "nth image"))
        elif draw < 0.85:
            answer = capital(listing([shows(scenes, i) for i in range(len(scenes))])) + "."
            asked.append(Turn(rng.choice(EACH), answer, "each image"))
        else:
            yes = rng.random() < 0.5
            asked_for = phrase if yes else other_concept(scenes[index], rng).noun_phrase
            question = rng.choice(NTH_PRESENT).format(a=asked_for, nth=nth)
            answer = f"{'Yes' if yes else 'No'}, {shows(scenes, index)}."
            asked.append(Turn(question, answer, "yes/no nth image"))
    return asked


def chat(rng: random.Random) -> list[Turn]:
    """A conversation without a picture."""
    group, answer = rng.choice(TEXT_ONLY)
    return [Turn(rng.choice(group), answer, "chat")]


def restyle(question: str, rng: random.Random) -> str:
    """Writes a question as people do: small letters, no question mark, a "please"."""
    draw = rng.random()
    if draw < 0.12:
        question = question.lower()
    elif draw < 0.15:
        question = question.upper()
    elif draw < 0.20:
        question = question[:1].lower() + question[1:]
    if rng.random() < 0.12:
        question = question.rstrip("?.")
    return question


def messages(
    turns: list[Turn], images: int, rng: random.Random
) -> list[dict[str, str | list[dict[str, str]]]]:
    """The conversation as chat messages, its images before or after the first question."""
    chatted: list[dict[str, str | list[dict[str, str]]]] = []
    if rng.random() < 0.06:
        chatted.append({"role": "system", "content": rng.choice(SYSTEM)})
    for number, turn in enumerate(turns):
        question = restyle(turn.question, rng)
        content: str | list[dict[str, str]] = question
        if images and number == 0:
            content = place_images(question, images, rng)
        chatted.append({"role": "user", "content": content})
        chatted.append({"role": "assistant", "content": turn.answer})
    return chatted


def place_images(question: str, images: int, rng: random.Random) -> list[dict[str, str]]:
    """The parts of a message with images; sometimes with "Image 1:" before each."""
    text = {"type": "text", "text": question}
    parts: list[dict[str, str]] = []
    numbered = images > 1 and rng.random() < 0.2
    for number in range(images):
        if numbered:
            parts.append({"type": "text", "text": f"Image {number + 1}:"})
        parts.append({"type": "image"})
    return [*parts, text] if rng.random() < 0.65 else [text, *parts]
