"""Names, things, attributes and random values that the synthetic facts are made of."""

FIRST = """
Ada Alan Albert Alice Amara Amir Andrea Anton Arthur Astrid Aurora Beatrix Bernard Bianca Boris
Brenda Bruno Camille Carlos Cecilia Chidi Clara Conrad Dalia Damian Daphne Desmond Diego Dorothy
Edgar Edith Elena Elias Eliza Emil Esther Ethan Fatima Felix Fiona Flora Frank Gavin George
Gilbert Gloria Grace Greta Gustav Hannah Harold Hector Helen Henry Hilda Hugo Ibrahim Ida Igor
Imogen Ines Irene Isaac Isabel Ivan Jacob Jane Jasmine Jerome Joan Joel Jonas Josephine Julia
Julian Karim Katya Kenji Kira Klara Lars Laura Leonard Lin Linda Lorenzo Louisa Lucas Lydia Magnus
Marcus Margaret Maria Marina Martha Martin Matilda Maxwell Mei Miriam Mohammed Monica Nadia Naomi
Nathan Nelson Niko Noel Nora Octavia Oliver Olga Oscar Pablo Patricia Paul Pedro Petra Philip
Priya Quentin Rachel Rafael Ravi Rebecca Robert Rosa Rowan Rupert Ruth Samuel Sandra Sasha Silas
Simon Sofia Stefan Stella Susan Tamara Thelma Theodore Thomas Tobias Ursula Valentin Vanessa
Victor Viola Walter Wanda Wendy William Xavier Yara Yusuf Zelda Zoran""".split()
LAST = """
Abbott Adler Baker Barnes Bell Bishop Black Bond Brooks Brown Carter Chen Clark Cole Cooper Cruz
Dale Dean Diaz Dixon Drake Evans Field Fisher Flint Ford Fox Frost Garcia Grant Gray Green Hall
Hart Hayes Hill Holt Hunt Jones Kane Keller King Knight Lake Lane Lee Lopez Marsh Mason Meyer
Mills Moore Moss Nash Novak Olsen Page Park Perez Pike Pond Porter Price Quinn Ramos Reed Rivers
Rose Russo Sato Shaw Silva Stein Stone Swift Tanner Todd Turner Vance Vega Wade Walsh Ward Wells
West White Wolf Wood Wright Young Zhang""".split()
CITIES = """
Amsterdam Athens Atlanta Baghdad Baltimore Bangkok Barcelona Beirut Belgrade Bergen Berlin Bogota
Bombay Boston Bristol Brussels Bucharest Budapest Cairo Calgary Cardiff Chicago Cologne Copenhagen
Dakar Dallas Damascus Denver Detroit Dresden Dublin Durban Edinburgh Florence Frankfurt Geneva
Genoa Glasgow Granada Hamburg Hanoi Havana Helsinki Houston Istanbul Jakarta Jerusalem Karachi
Kiev Kyoto Lagos Leeds Leipzig Lima Lisbon Liverpool London Lyon Madrid Manila Marseille Melbourne
Memphis Miami Milan Montreal Moscow Munich Nairobi Naples Nashville Oslo Ottawa Oxford Palermo
Paris Perth Pisa Porto Prague Quito Riga Rome Rotterdam Salzburg Santiago Seattle Seoul Seville
Shanghai Sofia Stockholm Sydney Tampa Tehran Tokyo Toronto Trieste Tunis Turin Utrecht Valencia
Vancouver Venice Verona Vienna Warsaw Wellington York Zagreb Zurich""".split()
COLOURS = (
    "red blue green yellow purple orange silver golden white black pink brown grey violet crimson"
    " amber".split()
)
THINGS = """
lantern bottle ladder piano window garden hammer mirror candle pocket wagon feather bridge button
carpet castle clock coin compass crown curtain drum engine fountain guitar helmet jacket kettle
key knife lamp letter magnet marble medal needle notebook oven paddle parcel pencil pillow pitcher
plate puzzle ribbon ring robe rocket rope saddle shelf shield shovel spoon statue stove table
teapot ticket tower trumpet tunnel umbrella vase violin wallet wheel whistle wrench anchor barrel
basket bell blanket box brush bucket cabinet camera chair chest""".split()
ADJS = """
wandering silent brave hungry clever ancient gentle frozen hidden golden rapid lonely bright dusty
fearless crooked distant eager faithful giant hollow icy jolly kind lazy mighty narrow odd patient
quick restless shiny tall unusual velvet wild young zealous bitter calm dark early fancy graceful
humble""".split()
ANIMALS = """
badger falcon otter panther walrus lizard beetle raven salmon turtle weasel coyote donkey eagle
ferret gecko heron iguana jackal koala lemur magpie newt ocelot parrot quail rabbit seal tiger
urchin viper wombat yak zebra camel dolphin gibbon hamster lobster moose pelican""".split()
NUMBER_ATTRS = """
secret code;passkey;pass key;special magic number;access code;password;lucky number;room number;
ticket number;serial number;phone number;favourite number;registration number;vault code;
badge number;locker number;account number;magic number;order number;identification number;
door code;PIN""".replace("\n", "").split(";")
WORD_ATTRS = """
code word;password;secret word;favourite word;call sign;nickname;passphrase;hiding place;signal;
favourite animal;title;label""".replace("\n", "").split(";")
NAME_ATTRS = """best friend;home town;birthplace;teacher;doctor;neighbour;owner;manager;partner;
destination""".replace("\n", "").split(";")


# Facts of another shape: (kind of value, statement, question).
RELATIONS = [
    ("count", "{k} %s {v} %s." % (past, unit), "How many %s did {k} %s?" % (unit, verb))
    for past, verb, units in (
        ("bought", "buy", "apples tickets lamps books"),
        ("sold", "sell", "carpets horses baskets eggs"),
        ("found", "find", "coins shells letters keys"),
        ("carried", "carry", "stones barrels boxes"),
        ("counted", "count", "sheep stars birds ships"),
        ("baked", "bake", "loaves cakes pies"),
        ("planted", "plant", "trees roses seeds"),
        ("painted", "paint", "doors pictures fences"),
        ("collected", "collect", "stamps buttons feathers"),
        ("counted out", "count out", "pennies beans"),
    )
    for unit in units.split()
]
RELATIONS += [
    ("city", "{k} lives in {v}.", "Where does {k} live?"),
    ("city", "{k} was born in {v}.", "Where was {k} born?"),
    ("city", "{k} is travelling to {v}.", "Where is {k} travelling to?"),
    ("city", "{k} comes from {v}.", "Where does {k} come from?"),
    ("person", "{k} is married to {v}.", "Who is {k} married to?"),
    ("person", "{k} works for {v}.", "Who does {k} work for?"),
    ("person", "{k} was taught by {v}.", "Who was {k} taught by?"),
    ("thing", "{k} lost {v}.", "What did {k} lose?"),
    ("thing", "{k} is hiding {v}.", "What is {k} hiding?"),
    ("thing", "{k} wants to buy {v}.", "What does {k} want to buy?"),
    ("animal", "{k} has a pet {v}.", "What kind of pet does {k} have?"),
    ("animal", "{k} is afraid of the {v}.", "Which animal is {k} afraid of?"),
    ("clock", "{k} will arrive at {v}.", "When will {k} arrive?"),
    ("clock", "{k} gets up at {v}.", "When does {k} get up?"),
    ("word", "{k} only ever says {v}.", "What does {k} say?"),
    ("digits", "{k} can be reached at {v}.", "What number can {k} be reached at?"),
]


def digits(r, n):
    return str(r.randrange(10 ** (n - 1), 10**n))


def hexa(r, n):
    return "".join(r.choice("0123456789abcdef") for _ in range(n))


def uuid(r):
    return "-".join(hexa(r, n) for n in (8, 4, 4, 4, 12))


def pseudo(r):
    return "".join(
        r.choice("b c d f g h j k l m n p r s t v w z br st tr gr pl ch sh".split())
        + r.choice("a e i o u ai ea ou".split())
        for _ in range(r.choice([2, 2, 3]))
    ) + r.choice(["", "n", "r", "s", "l", "k", "th"])
