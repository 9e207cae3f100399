"""The words of the stories, and what all plots share: hero, friend, place, object."""

ANIMALS = """
fox rabbit bear mouse owl cat dog frog duck turtle squirrel hedgehog lion elephant monkey penguin
whale dolphin pig cow horse pony sheep goat hen wolf deer otter beaver badger mole crow robin
sparrow butterfly bee ant snail spider ladybird caterpillar crab fish octopus parrot swan goose
panda koala kangaroo giraffe zebra tiger camel donkey puppy kitten bunny chick lamb bat""".split()
BEINGS = """
dragon robot wizard fairy giant princess prince king queen knight pirate farmer baker fisherman
sailor tailor painter gardener shepherd astronaut teacher doctor girl boy child witch elf gnome
mermaid unicorn ghost snowman scarecrow toymaker clown musician""".split()
THINGS = (
    """boat train car truck kite teapot lamp star cloud tree flower snowflake clock balloon pencil
rocket tractor bicycle lighthouse bus toy drum candle raindrop leaf pebble""".split()
)
NAMES = """
Lily Tom Mia Ben Sara Max Anna Sam Lucy Jack Emma Leo Zoe Tim Ella Finn Ruby Oscar Rosie Toby Nora
Hugo Ivy Theo Molly Felix Daisy Otto Poppy Milo Hazel Jasper Clara Rufus Penny Barnaby Willow Pip
Bella Teddy Nina Archie Luna Benny Tilly Gus Maya Freddy Olive Charlie Dora Ned Kitty Bruno Sunny
Pepper Biscuit Hattie Wally Junie Bertie Fern Basil Maple Cosmo Dot Percy Tansy Rory Juno Alfie
Mabel Pixie Digby""".split()
GIRLS = set("""
Lily Mia Sara Anna Lucy Emma Zoe Ella Ruby Rosie Nora Ivy Molly Daisy Poppy Hazel Clara Penny
Willow Bella Nina Luna Tilly Maya Olive Dora Kitty Hattie Junie Fern Maple Dot Tansy Juno Mabel
Pixie""".split())
SHE = {"girl", "princess", "queen", "witch", "mermaid", "hen", "cow", "fairy"}
HE = {"boy", "prince", "king", "wizard", "knight", "fisherman", "giant"}
ADJS = """
little small brave clever kind shy curious happy lonely gentle tiny young old busy silly proud
grumpy quiet cheerful sleepy hungry friendly""".split()
PLACES = {
    "forest": ("in the forest", "under the tall trees"),
    "sea": ("by the sea", "on the warm sand"),
    "farm": ("on a farm", "beside the red barn"),
    "village": ("in a small village", "near the old well"),
    "mountain": ("on a mountain", "among the grey rocks"),
    "garden": ("in a garden", "between the roses"),
    "river": ("by a river", "on the mossy bank"),
    "town": ("in a busy town", "near the market square"),
    "meadow": ("in a green meadow", "in the long grass"),
    "castle": ("in a castle", "behind the high walls"),
    "lake": ("beside a lake", "at the edge of the water"),
    "island": ("on an island", "by the blue water"),
    "hill": ("on a hill", "next to the windmill"),
    "cottage": ("in a cottage", "by the warm fire"),
}
OBJECTS = """
ball hat kite book bell key drum basket blanket scarf cup spoon ring whistle lantern flute umbrella
map shell button ribbon mirror coin toy-boat feather""".split()
COLOURS = "red blue green yellow purple orange silver golden white pink brown".split()
FOODS = """
bread soup cake honey apples berries cookies pie cheese carrots nuts pancakes porridge jam pears
cherries muffins""".split()
FEARS = [
    ("the dark", "night"),
    ("thunder", "storm"),
    ("deep water", "lake"),
    ("high places", "hill"),
    ("strangers", "market"),
    ("the wind", "autumn"),
    ("being alone", "evening"),
]


def an(w):
    return ("an " if w[0] in "aeiou" else "a ") + w


class StoryFrame:
    """One hero, one friend, a place and an object, fixed for the whole story."""

    def __init__(self, r, noun=None, name=None, adj=None, place=None, obj=None, friend=None):
        self.r = r
        kind = r.random()
        self.noun = noun or r.choice(ANIMALS if kind < 0.6 else BEINGS if kind < 0.85 else THINGS)
        pool = (
            [n for n in NAMES if (n in GIRLS) == (self.noun in SHE)]
            if self.noun in SHE | HE
            else NAMES
        )
        self.name = name or r.choice(pool)
        self.adj = adj or r.choice(ADJS)
        self.place = place or r.choice(sorted(PLACES))
        self.where, self.spot = PLACES[self.place]
        self.obj = (obj or r.choice(COLOURS) + " " + r.choice(OBJECTS)).replace("-", " ")
        f = friend or r.choice([a for a in ANIMALS if a != self.noun])
        self.friend = f
        self.fname = r.choice([n for n in NAMES if n != self.name])
        g = "she" if self.name in GIRLS else "he"
        self.p = g
        self.o = {"she": "her", "he": "him"}[g]
        self.d = {"she": "her", "he": "his"}[g]
        g2 = "she" if self.fname in GIRLS else "he"
        self.fp, self.fo, self.fd = (
            g2,
            {"she": "her", "he": "him"}[g2],
            {"she": "her", "he": "his"}[g2],
        )

    def c(self, *o):
        return self.r.choice(o)

    def fill(self, t):
        for k, v in (
            ("{name}", self.name),
            ("{noun}", self.noun),
            ("{a_noun}", an(self.adj + " " + self.noun)),
            ("{where}", self.where),
            ("{spot}", self.spot),
            ("{obj}", self.obj),
            ("{friend}", self.friend),
            ("{fname}", self.fname),
            ("{an_friend}", an(self.friend)),
            ("{an_obj}", an(self.obj)),
            ("{He}", self.p.capitalize()),
            ("{he}", self.p),
            ("{him}", self.o),
            ("{his}", self.d),
            ("{His}", self.d.capitalize()),
            ("{fHe}", self.fp.capitalize()),
            ("{fhe}", self.fp),
            ("{fhim}", self.fo),
            ("{fhis}", self.fd),
            ("{place}", self.place),
        ):
            t = t.replace(k, v)
        return t

    def opening(self):
        like = self.c(
            "liked to sing",
            "loved to play outside",
            "liked to help others",
            "loved to look at the sky",
            "liked long walks",
            "loved to tell jokes",
            "liked to collect stones",
            "loved to dance",
            "liked to sit in the sun",
            "loved to ask questions",
            "liked to make things",
        )
        return self.c(
            "Once upon a time, there was {a_noun} named {name}. {name} lived {where}, and {he} "
            + like
            + ".",
            "Once upon a time, {where}, there lived {a_noun} called {name}. Every day, {he} played"
            " {spot}. {He} " + like + ".",
            "There once was {a_noun} whose name was {name}. {name} lived {where} and " + like + ".",
            "A long time ago, {a_noun} named {name} lived {where}. Everyone knew {name}, because"
            " {he} " + like + ".",
            "{name} was {a_noun} who lived {where}. {He} " + like + ".",
            "Long ago, {where}, there was {a_noun}. {His} name was {name}, and {he} " + like + ".",
        )

    def closing(self):
        return self.c(
            "And they lived happily ever after.",
            "From that day on, {name} and {fname} were the best of friends.",
            "That night, {name} fell asleep with a smile.",
            "And {name} never forgot that day.",
            "{name} was very happy, and so was {fname}.",
            "Everyone cheered, and they danced until the moon came up.",
            "After that, {name} and {fname} played together every day.",
            "The end.",
        )
