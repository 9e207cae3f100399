"""Prose to hide facts in: book-like English, composed from sentence patterns and word lists.

The tested model was trained on books of the 19th and early 20th century, so the text sounds like
one. Patterns are dealt like cards, each once before any comes again, and their words are drawn
anew every time; so the text has neither digits nor long repeated stretches that could help or
hinder finding a fact. No person has a name: names belong to the facts.
"""

# Who appears: (description, subject pronoun, object pronoun, possessive).
_HE = ("he", "him", "his")
_SHE = ("she", "her", "her")
_PEOPLE = [(who, *_HE) for who in """
the captain;the old miller;my uncle;the schoolmaster;the doctor;
the boatman;a tall stranger;the young lieutenant;the gardener;the innkeeper;the blind fiddler;
the curate;my elder brother;the clockmaker;the ferryman;the judge;the carpenter;the shepherd;
the grocer's boy;the night watchman;the painter;the Frenchman;the woodcutter;the coachman;
the second mate;the merchant;the tailor;the lighthouse keeper;the bookseller;the poacher
""".replace("\n", "").split(";")] + [(who, *_SHE) for who in """the widow;my aunt;the housekeeper;
the miller's daughter;the old governess;the dressmaker;the fisherman's wife;the little girl;
her ladyship;the cook;the landlady;my grandmother;the schoolmistress;the gipsy woman;the nurse;
the innkeeper's sister;the organist's niece;the young widow;the dairymaid;the actress
""".replace("\n", "").split(";")]

_WORDS = {
    "place": """the kitchen;the churchyard;the harbour;the upper meadow;the library;the stable yard;
the old mill;the orchard;the quay;the market square;the attic;the garden gate;the long gallery;
the village green;the turnpike;the edge of the wood;the stone bridge;the parlour;the cellar;
the foot of the hill;the boathouse;the inn;the court;the great hall;the nursery;the shore;
the lane;the barn;the summerhouse;the conservatory;the crossroads;the hayloft;the towpath""",
    "thing": """
a brass telescope;a bundle of letters;an old sea chest;a cracked mirror;a silver spoon;
a lantern;a torn map;a bunch of keys;a walking stick;a faded portrait;a basket of eggs;a snuffbox;
a loaf of bread;a pair of boots;a fishing rod;a leather purse;a heavy Bible;a broken oar;
a length of rope;a blue jug;an ivory comb;a rusty sword;a violin case;a newspaper;a china dog;
a tallow candle;a woollen shawl;a hand bell;a pewter plate;a spade;a wooden horse;a cage""",
    "time": """that evening;towards noon;before daylight;one wet afternoon;on the third day;at dusk;
a little after supper;early the next morning;in the last week of the harvest;that same night;
when the bells had ceased;on market day;about the middle of the winter;an hour later;at sunrise;
during the long frost;when the lamps were lit;on the Sunday following;towards the end of June;
in those days;as soon as breakfast was over;late in the autumn;while the tide was out""",
    "weather": """rain beat upon the windows;a thin mist lay over the fields;the wind had gone down;
the snow was falling thickly;the sun stood low and red;the air was heavy with thunder;
a bright moon had risen;the frost had whitened every twig;clouds were driving from the west;
the heat was hardly to be borne;a cold drizzle had set in;the stars were very clear;
the fog had begun to lift;a fresh breeze ruffled the water;the thaw had turned the road to mud""",
    "feeling": """
uneasiness;relief;a kind of shame;curiosity;quiet joy;bitterness;alarm;pity;wonder;
impatience;a sudden tenderness;pride;weariness;great satisfaction;vexation;dread;hope;remorse;
amusement;a strange calm;envy;gratitude;suspicion;delight;homesickness;resentment""",
    "adverb": """
slowly;gravely;without a word;with great care;in a low voice;hastily;cheerfully;sullenly;
half in earnest;as if by chance;rather stiffly;with a sigh;most politely;in silence;eagerly;
a little sadly;in spite of everything;with an air of mystery;for the second time;abruptly;
very softly;as though nothing had happened;with trembling hands;under protest;good-naturedly""",
    "did": """opened the door;looked out of the window;put down the cup;sat down by the fire;
took up the lamp;shook hands all round;walked up and down;laid a hand upon the latch;turned pale;
laughed aloud;began to hum a tune;folded the paper;lit a pipe;drew the curtain;picked up a stone;
went back to bed;stopped to listen;counted the money;locked the cupboard;poured out the tea;
climbed the stairs;whistled to the dog;bowed to the company;leaned upon the gate;wiped the table;
saddled the mare;untied the boat;mended the net;gathered up the plates;stirred the embers""",
    "matter": """
the price of corn;the new road;an old quarrel;the missing will;the state of the roof;
the wedding;a voyage to the south;the ghost in the tower;the next election;the drowned sailors;
the harvest supper;a debt of long standing;the education of children;the habits of bees;
the weather;a lawsuit;the burning of the mill;the siege;the shape of the earth;the choir;
the character of the late squire;a dream;the loss of the ship;the cattle plague;the fair""",
    "quality": """
patient;obstinate;generous;timid;proud;sharp-tongued;merry;absent-minded;honest;cunning;
melancholy;restless;hard of hearing;fond of company;slow to forgive;careful of money;dignified;
superstitious;outspoken;easily pleased;quick with figures;learned;reserved;vain;devout""",
    "sight": """
a flock of geese;a column of smoke;a row of poplars;a grey sail;a procession of carts;
a herd of red cattle;a ruined chapel;a line of foam;a single lighted window;an empty nest;
a company of soldiers;a field of poppies;a fallen elm;a pedlar with his pack;a drove of ponies;
a rainbow;a heap of slates;a white horse;a bonfire;the spire of the cathedral;a swarm of bees;
an old woman gathering sticks;a barge laden with hay;a wall covered with ivy""",
    "animal": """the dog;an owl;the grey mare;a robin;the cat;a hare;the old donkey;a fox;the cow;
a cricket;the parrot;a pair of swans;the spaniel;a bat;some rooks;the goat;a hedgehog;the pony""",
    "part": """face;voice;hands;step;manner;eyes;bearing;hat;coat;spectacles;gloves;handwriting""",
    "looked": """
grave;careworn;much altered;familiar;out of place;worn with travel;kindly;very pale;
strangely bright;covered with dust;steady;severe;younger than before;wet through;forbidding""",
    "speech": """I never said so;you may depend upon it;there is no use in crying;we shall see;
it is later than I thought;somebody has been here;that is a long story;it will keep till morning;
you had better ask at the inn;nobody tells me anything;I have seen worse;mind the step;
the horses are tired;it is none of our business;we must make the best of it;I cannot sleep;
they are all alike;you will be wet to the skin;there was a time when I believed it;
that door has been shut these twenty years;it sounded like the sea;I would not sell it;
the river is rising;he ought to have written;I suppose it is the wind;they have gone by the lane""",
    "truth": """a promise is easier to make than to keep;there is no company like an old friend;
old houses have long memories;those who hurry seldom arrive in time;every road looks shorter by day;
a secret is a heavy thing to carry;hunger is a good cook;nothing is so quiet as an empty school;
people are kinder in bad weather;a man is known by his gate;the sea gives nothing back;
children see more than they are told;money has a way of talking;the longest night has its morning;
good advice is seldom welcome;bread tastes best when it has been earned""",
}
_WORDS = {slot: words.replace("\n", "").split(";") for slot, words in _WORDS.items()}

# {A} {B}: two people of the passage; {he} {him} {his}: of A; {she} {her_} {hers}: of B.
_PATTERNS = """{A} {did} {adverb}, and {he} did not speak again until {B} {did}.
{Time}, while {weather}, {A} went down to {place} with {thing} under {his} arm.
It was said in the village that {A} was {quality}, but {B} knew better.
There was nothing in {place} but {thing} and {thing2}.
{A} had always been {quality}, and age had only made {him} more so.
From {place} one could see {sight}, and beyond it {sight2}.
"{Speech}," said {B} {adverb}.
"{Speech}," {A} answered; "and besides, {speech2}."
{Time} {A} {did}, for {weather}.
Nobody had been in {place} since the spring, and {thing} still lay where {B} had left it.
{B} spoke {adverb} of {matter}, and then of {matter2}, until {A} {did}.
The {part} of {B} {verb_be} {looked}, so that {A} felt {feeling}.
They went on past {place}, where {weather}, and came at last to {place2}.
{A} thought of {matter} with {feeling}, and {did} {adverb}.
It was {B} who first noticed {sight} {near} {place}.
If {B} had not {did_pp}, {he} would never have spoken of {matter}.
{Truth}, as {A} used to say when {he} {did}.
"{Speech}!" cried {B}, and {A} {did}.
For a long while there was no sound in {place} except {animal}, and the ticking of the clock.
{Animal} had followed them as far as {place}, and would not be sent home.
{A} laid {thing} upon the table {adverb}, and {B} looked at it with {feeling}.
Long afterwards {B} told me that {he} had carried {thing} all the way from {place}.
{Time} a letter came for {A}, and it had to do with {matter}.
Neither of them would own to {feeling}, though {weather} and the road was dark.
{B} was {quality}, it is true; but {she} was also {quality2}, which is a rarer thing.
Beyond {place} the path divided, and there {A} {did} and waited.
In {place} hung {thing}, which had once belonged to the father of {B}.
When {A} heard of {matter}, {he} {did} and asked for {thing}.
"Have you forgotten {matter}?" asked {B} {adverb}.
They quarrelled about {matter} all through the winter, and made it up again in {place}.
{Weather}, and {animal} had taken shelter in {place}.
At the sight of {sight} {A} was filled with {feeling}.
{A} could not look at {thing} without {feeling}.
The road to {place} was so bad that {A} was obliged to leave {thing} behind.
{B} gave {him} {thing}, and {A} gave {her_} {thing2} in exchange.
"I should like to know," said {A}, "what {matter} has to do with us."
There are people who can talk of {matter} for an hour together, and {B} was one of them.
Not a soul was stirring near {place}; only {animal} moved among the shadows.
{Time}, to the surprise of everyone, {B} {did} and began to speak of {matter}.
{A} stood so long in {place} that {B} came out to look for {him}.
The history of {matter} was known to all of them, yet nobody ever mentioned it before {B}.
{A} was too {quality} to complain, and too {quality2} to forget.
Some say that {truth}; {B} was of another opinion.
Behind {place} ran a little stream, and beside it we found {thing}.
{B} had a great respect for {matter}, but none at all for {A}.
{A} {did}; {B} {did2}; and for a minute nothing more was said.
What {B} felt, {time}, was not {feeling} but something nearer to {feeling2}.
"{Speech}," repeated {A} to himself, as one does who expects no reply.
All this happened when {weather} and the days were growing short.
So they sat in {place} until {animal} was heard outside, and the fire had burned low.
{A} had learned as a child that {truth}, and {he} never doubted it.
Through the open door of {place} they could see {sight}.
{B} would have given {thing} and a good deal more to be rid of {feeling}.
It took {him} the whole of the morning to bring {thing} from {place} to {place2}.
Upon my asking about {matter}, {A} {did} and changed the subject.
{Animal} alone seemed to share the {feeling_bare} of {B}.
The company in {place} fell silent when {A} came in.
{A}, who was {quality}, took no notice; {B}, who was {quality2}, took a great deal.
{Time} there was {sight} to be seen from {place}, and half the parish went to look.
"{Speech}," was all that {B} would say about {matter}.
Whoever had left {thing} in {place} had not meant it to be found.
{A} slept badly, dreamed of {matter}, and rose before anyone else.
They had gone but a little way when {B} {did} and pointed to {sight}.
{B} remembered {place} as it had been, with {thing} in the corner and {animal} at the door.
I have often wondered why {A} never went back to {place}.
A smell of apples and damp straw hung about {place}, and {weather}.
{He} listened {adverb} to all that {B} had to tell of {matter}.
"And what then?" asked {A}; but {B} only {did}.
Half a mile from {place} stood {sight}, the last that any traveller would see before nightfall.
{A} was glad of {thing}, for {weather} and there was still far to go.
There was a rumour of {matter}, which {B} repeated {adverb} to everyone at {place}.
The servants whispered that {A} had been seen near {place} with {thing}.
{B} did not believe in {feeling}; {she} believed in soap, early rising, and {matter}.
Before {A} could answer, {animal} set up such a noise that {B} {did}.
{Weather}; and on the far side of the water we saw {sight}.
It was a question of {matter}, and on that {A} was never known to be {quality}.
{A} and {B} had not met since {matter} had come between them.
The door of {place} stood open, and {thing} was gone.
{B} sang {adverb} as {she} worked, and {animal} listened from the wall.
No one could have been more {quality} than {A} was {time}.
Little by little {feeling} gave way to {feeling2}, and {A} {did}.
{A} wished to hear no more of {matter} as long as {he} lived.
On the shelf, between {thing} and {thing2}, {B} kept the whole of {hers} savings.
The children were sent to {place}, where they found {sight} and forgot the time.
It is hard to say whether {A} was the more {quality} or {B} the more {quality2}.
With {thing} in one hand and a candle in the other, {B} went down to {place}.
"That," said {A} {adverb}, "is what comes of {matter}."
{B} looked at {sight} for some time {adverb}.
Every year, when {weather}, {A} would talk of leaving {place} for good.
The stranger asked the way to {place}, and {A} {did} before he told him.""".split("\n")

_IRREGULAR = {"sat": "sat", "took": "taken", "shook": "shaken", "put": "put", "began": "begun",
              "drew": "drawn", "went": "gone", "lit": "lit", "laid": "laid"}


def _upper(text):
    return text[0].upper() + text[1:]


class FillerWriter:
    """Endless paragraphs. Not shared between threads; the same random source, the same text."""

    def __init__(self, random):
        self._random = random
        self._decks = {}

    def paragraphs(self):
        """Yields paragraphs, each a list of sentences."""
        while True:
            cast = self._random.sample(_PEOPLE, 2)
            for _ in range(self._random.randint(1, 3)):
                count = self._random.choice([1, 2, 3, 3, 4, 4, 5, 6])
                yield [self._sentence(cast) for _ in range(count)]

    def _draw(self, name, cards):
        deck = self._decks.get(name)
        if not deck:
            deck = self._decks[name] = self._random.sample(cards, len(cards))
        return deck.pop()

    def _sentence(self, cast):
        first, second = self._random.sample(cast, 2)
        pattern = self._draw("pattern", _PATTERNS)
        words = {
            "A": first[0], "he": first[1], "him": first[2], "his": first[3], "He": _upper(first[1]),
            "B": second[0], "she": second[1], "her_": second[2], "hers": second[3],
            "near": self._random.choice(["near", "beyond", "close to", "not far from"]),
        }
        for slot, choices in _WORDS.items():
            for name in (slot, slot + "2"):
                if "{" + name + "}" in pattern or "{" + _upper(name) + "}" in pattern:
                    words[name] = self._draw(slot, choices)
                    words[_upper(name)] = _upper(words[name])
        if "{did_pp}" in pattern:
            verb, rest = self._draw("did", _WORDS["did"]).split(" ", 1)
            words["did_pp"] = _IRREGULAR.get(verb, verb) + " " + rest
        if "{feeling_bare}" in pattern:
            feeling = self._draw("feeling", _WORDS["feeling"])
            words["feeling_bare"] = feeling.removeprefix("a kind of ").removeprefix("a ")
        if "{verb_be}" in pattern:
            plural = words["part"].endswith("s")
            words["verb_be"] = "were" if plural else "was"
        if first[1] == "she":
            pattern = pattern.replace("himself", "herself")
        return _upper(pattern.format(**words))
