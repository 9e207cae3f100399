"""Short children's stories from a template grammar, and small talk.

A 13M-parameter model cannot learn to plot from a few hundred example stories; these templates give
it a few thousand variants of a dozen simple plots that keep their hero, friend, place and object
straight. Everything here is written for this project.
"""

from story_frame import ANIMALS, an
from story_plots import Plots


class Story(Plots):
    """One story: a plot filled in."""

    def race(self):
        return [
            self.opening(),
            self.c(
                'One day, there was a big race. {fname} the {friend} said, "I am the fastest.'
                ' Nobody can beat me!"',
                '{fname} the {friend} was very fast and liked to boast. "I will win the race,"'
                " {fhe} said.",
            ),
            self.c(
                '{name} was not very fast, but {he} wanted to try. "I will do my best," {he} said.',
                'Everyone laughed when {name} said, "I want to race, too."',
            ),
            "Ready, steady, go! {fname} ran ahead and was soon out of sight.",
            self.c(
                "{fname} was so sure to win that {fhe} lay down {spot} and fell asleep.",
                "On the way, {fname} stopped to look at {fhimself} in the water.",
            ).replace("{fhimself}", "{fhim}self"),
            self.c(
                "{name} did not stop. Step by step, {he} went on and on.",
                "{name} kept going, slowly but surely.",
            ),
            self.c(
                "When {fname} opened {fhis} eyes, {name} was already at the finish line. Everyone"
                " cheered!",
                "By the time {fname} came running, {name} had won the race and the {obj}, which was"
                " the prize.",
            ),
            self.c(
                '"Well done," said {fname}. "I should not have boasted."',
                "{fname} learned that slow and steady wins the race.",
            ),
            self.closing(),
        ]

    def wish(self):
        w = self.c(
            "to fly",
            "to talk to the stars",
            "to be big and strong",
            "to have a hundred toys",
            "to see the whole world",
        )
        return [
            self.opening(),
            self.c(
                "One day, {name} found {an_obj} {spot}. When {he} touched it, it began to shine.",
                "One night, {name} found {an_obj}. It was magic!",
            ),
            self.c(
                '"I can give you one wish," said the {obj}. "But choose well."',
                'A tiny voice said, "You may make one wish, and only one."',
            ),
            "{name} thought for a long time. {He} wanted " + w + ".",
            self.c(
                "Just then, {he} saw {fname} the {friend}. {fHe} was very sick and could not play.",
                "But then {he} remembered {his} friend {fname} the {friend}, who was hurt and could"
                " not walk.",
            ),
            self.c(
                '"I wish that {fname} will be well again," said {name}.',
                'So {name} closed {his} eyes and said, "Please make {fname} well."',
            ),
            self.c(
                'There was a bright light, and {fname} jumped up. "I feel wonderful!" {fhe} said.',
                "The {obj} shone once more, and then {fname} came running through the door.",
            ),
            self.c(
                '"That was a kind wish," said the {obj}.',
                "{name} did not get what {he} wanted before, but {he} had something better: a happy"
                " friend.",
            ),
            self.closing(),
        ]

    def journey(self):
        goal = self.c(
            "the sea",
            "the moon",
            "the highest mountain",
            "the end of the rainbow",
            "the big city",
            "the northern lights",
            "the old castle",
        )
        meet = self.r.choice([a for a in ANIMALS if a not in (self.noun, self.friend)])
        return [
            self.opening(),
            self.c(
                "{name} had one big dream. {He} wanted to see " + goal + ".",
                "Every night, {name} dreamed about " + goal + ".",
            ),
            self.c(
                "One morning, {he} packed some bread, took {his} {obj}, and set off with {fname}"
                " the {friend}.",
                "So one day, {name} and {his} friend {fname} the {friend} put on their boots and"
                " went on a long journey.",
            ),
            self.c(
                "They walked through the woods and over the hills. It rained, and the wind blew,"
                " but they did not turn back.",
                "First they crossed a river. Then they climbed a steep path. At night they slept"
                " under the stars.",
            ),
            "On the way they met "
            + an(meet)
            + '. "Where are you going?" it asked. "We want to see '
            + goal
            + '," said {name}. "Then follow the path until you come to the tall pine tree," said'
            " the " + meet + ".",
            self.c(
                'They followed the path, and there it was! {name} could not believe {his} eyes. "It'
                ' is beautiful," {he} said.',
                "At last they saw " + goal + ". They stood very still and held hands.",
            ),
            self.c(
                'They stayed until the sun went down. Then {name} said, "Now I want to go home."',
                '"The best part," said {name}, "is that you came with me."',
            ),
            self.closing(),
        ]

    def truth(self):
        thing = self.c(
            "a blue vase", "the big window", "a pretty cup", "the old clock", "a glass bowl"
        )
        return [
            self.opening(),
            "One day, {name} was playing with {his} {obj} in the house. Crash! {He} broke "
            + thing
            + ".",
            self.c(
                '{name} was afraid. "I will hide the pieces," {he} thought.',
                '"Oh no," thought {name}. "What will everyone say?"',
            ),
            self.c(
                '{His} friend {fname} the {friend} saw it. "You should tell the truth," {fhe}'
                " said.",
                'Soon {fname} the {friend} came in. "What happened here?" {fhe} asked. {name}'
                " looked at the floor.",
            ),
            self.c(
                "{name} thought about it all day. In the evening, {he} went to {his} grandmother."
                ' "I broke it," {he} said. "I am sorry."',
                '{name} took a deep breath. "I did it," {he} said. "I am very sorry."',
            ),
            self.c(
                '{His} grandmother hugged {him}. "Thank you for telling the truth," she said. "Let'
                ' us fix it together."',
                '"Everyone makes mistakes," said {his} grandmother. "I am proud that you told me."',
            ),
            self.c(
                "{name} felt light and happy again.",
                "They glued the pieces, and {name} was glad that {he} told the truth.",
            ),
            self.closing(),
        ]

    def seed(self):
        plant = self.c("a sunflower", "an apple tree", "a pumpkin", "a bean plant", "a rose bush")
        return [
            self.opening(),
            self.c(
                'One spring day, {fname} the {friend} gave {name} a tiny seed. "Plant it and wait,"'
                " {fhe} said.",
                "One day, {name} found a small seed {spot}. {He} planted it and gave it some"
                " water.",
            ),
            self.c(
                '{name} looked at the ground every hour. Nothing happened. "Why does it not grow?"'
                " {he} asked.",
                "The next day, {name} ran to look, but there was nothing to see. {He} was angry.",
            ),
            self.c(
                '"You must be patient," said {fname}. "Give it water and sun, and sing to it."',
                '"Good things take time," said {his} friend {fname} the {friend}.',
            ),
            self.c(
                "So {name} waited. Days went by, and then weeks. Every morning, {he} brought a"
                " little water.",
                "{name} gave it water every day and pulled out the weeds.",
            ),
            self.c(
                "One morning, there was a small green leaf! It grew and grew until it was "
                + plant
                + ".",
                "At last, a green shoot came out of the ground. By summer, it was "
                + plant
                + ", taller than {name}.",
            ),
            self.c(
                '"It was worth the wait," said {name}.',
                "{name} learned to be patient, and {he} gave a new seed to {fname}.",
            ),
            self.closing(),
        ]

    PLOTS = [
        "lost",
        "afraid",
        "share",
        "rescue",
        "build",
        "newcomer",
        "race",
        "wish",
        "journey",
        "truth",
        "seed",
    ]

    def text(self, plot=None):
        parts = [self.fill(p) for p in getattr(self, plot or self.r.choice(self.PLOTS))() if p]
        style = self.r.random()
        if style < 0.5:  # paragraphs of two or three steps
            out, i = [], 0
            while i < len(parts):
                n = self.r.choice([1, 2, 2, 3])
                out.append(" ".join(parts[i : i + n]))
                i += n
            return "\n\n".join(out)
        return " ".join(parts)


def story_chat(r):
    """(user message, assistant story)."""
    s = Story(r)
    k = r.random()
    noun = s.noun
    if k < 0.42:
        topic = an(noun)
    elif k < 0.60:
        topic = an(s.adj + " " + noun)
    elif k < 0.75:
        topic = an(noun) + " named " + s.name
    elif k < 0.85:
        topic = an(s.adj + " " + noun) + " called " + s.name
    elif k < 0.93:
        topic = an(noun) + " and " + an(s.friend)
    else:
        topic = an(noun) + " who lived " + s.where
    ask = (
        r.choice(
            [
                "Tell me a story about %s.",
                "Write a short story about %s.",
                "Can you tell me a story about %s?",
                "Please tell me a short story about %s.",
                "Tell me a bedtime story about %s.",
                "Write a story about %s.",
                "I want to hear a story about %s.",
                "Could you write a little story about %s?",
                "tell me a story about %s",
                "Tell me a short story about %s.",
                "Make up a story about %s.",
                "Story about %s, please.",
            ]
        )
        % topic
    )
    if r.random() < 0.06:
        ask = r.choice(
            [
                "Tell me a story.",
                "Write a short story.",
                "Tell me a short story.",
                "Can you tell me a story?",
                "Write me a story, please.",
            ]
        )
    return ask, s.text()
