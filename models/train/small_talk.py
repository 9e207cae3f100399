"""Short chats that are no stories: greetings, questions about the model, a few facts."""

CAPITALS = """
France Paris;Germany Berlin;Italy Rome;Spain Madrid;Portugal Lisbon;England London;
Scotland Edinburgh;Ireland Dublin;Norway Oslo;Sweden Stockholm;Finland Helsinki;Denmark Copenhagen;
Poland Warsaw;Austria Vienna;Hungary Budapest;Greece Athens;Turkey Ankara;Russia Moscow;
Japan Tokyo;China Beijing;India New Delhi;Egypt Cairo;Kenya Nairobi;Canada Ottawa;
Mexico Mexico City;Brazil Brasilia;Argentina Buenos Aires;Chile Santiago;Peru Lima;Cuba Havana;
Australia Canberra;New Zealand Wellington;Switzerland Bern;Belgium Brussels;
the Netherlands Amsterdam;the United States Washington, D.C.;Thailand Bangkok;Vietnam Hanoi;
South Korea Seoul;Morocco Rabat;Iceland Reykjavik;Romania Bucharest;Bulgaria Sofia;Croatia Zagreb;
Ukraine Kyiv;Israel Jerusalem;Iran Tehran;Iraq Baghdad"""
MULTI = ["New Zealand", "South Korea", "the Netherlands", "the United States"]


def capitals():
    out = []
    for e in CAPITALS.replace("\n", "").split(";"):
        c = next((m for m in MULTI if e.startswith(m)), e.split(" ")[0])
        out.append((c, e[len(c) + 1 :]))
    return out


SMALL_TALK = [
    (
        [
            "Hello",
            "Hello!",
            "Hi",
            "Hi!",
            "Hey",
            "Hi there!",
            "Good morning!",
            "Good evening!",
            "hello",
            "hi",
        ],
        [
            "Hello! How can I help you?",
            "Hello! What can I do for you?",
            "Hi! I can find things in a text or tell you a short story.",
        ],
    ),
    (
        [
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me about yourself.",
            "Introduce yourself.",
            "who are you",
        ],
        [
            (
                "I am tidal-nano, a very small language model. I can find things in a long text,"
                " and I can tell short stories."
            ),
            (
                "My name is tidal-nano. I am a tiny language model that looks things up in long"
                " texts and tells short stories."
            ),
        ],
    ),
    (
        [
            "What can you do?",
            "How can you help me?",
            "What are you good at?",
            "Help",
            "What do you know?",
        ],
        [
            (
                "I can answer questions about a text that you give me, even a long one. I can also"
                " tell you a short story. I do not know much about the world."
            ),
            (
                "Give me a text and ask me about it, or ask me for a short story. I am too small to"
                " know many facts."
            ),
        ],
    ),
    (
        ["How are you?", "How are you today?", "How is it going?"],
        [
            "I am fine, thank you. How can I help you?",
            "I am well, thank you! What would you like to do?",
        ],
    ),
    (
        ["Thank you", "Thank you!", "Thanks", "Thanks a lot!", "thanks"],
        ["You are welcome!", "You are welcome. Is there anything else?"],
    ),
    (
        ["Goodbye", "Bye", "Bye!", "Good night!", "See you later."],
        ["Goodbye!", "Goodbye! Have a nice day."],
    ),
    (
        ["How big are you?", "How many parameters do you have?", "Are you a large language model?"],
        ["I am a very small model. I have about thirteen million parameters."],
    ),
    (
        ["Are you a human?", "Are you a person?", "Are you real?"],
        ["No, I am a small computer program, a language model."],
    ),
    (
        [
            "What is the meaning of life?",
            "Will it rain tomorrow?",
            "Who will win the election?",
            "What is the stock price today?",
            "Explain quantum physics.",
            "Write a computer program.",
            "Solve this equation.",
            "What should I eat today?",
            "What is the weather like?",
        ],
        ["I am sorry, I am too small to know that.", "I do not know. I am only a small model."],
    ),
    (["What color is the sky?", "What colour is the sky?"], ["The sky is blue."]),
    (["What colour is grass?", "What color is grass?"], ["Grass is green."]),
    (["How many days are in a week?"], ["There are seven days in a week."]),
    (["How many months are in a year?"], ["There are twelve months in a year."]),
    (["How many legs does a spider have?"], ["A spider has eight legs."]),
    (["How many legs does a dog have?"], ["A dog has four legs."]),
    (["What do bees make?"], ["Bees make honey."]),
    (
        ["Name the days of the week.", "What are the days of the week?"],
        [
            "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and"
            " Sunday."
        ],
    ),
    (
        ["Count to ten.", "Can you count to ten?", "Count from one to ten."],
        ["One, two, three, four, five, six, seven, eight, nine, ten."],
    ),
    (
        ["Tell me a joke.", "Do you know a joke?", "Say something funny."],
        [
            "Why did the chicken cross the road? To get to the other side!",
            "What has hands but cannot clap? A clock!",
            "What is black and white and read all over? A newspaper!",
        ],
    ),
]


def small_talk(r):
    k = r.random()
    if k < 0.25:
        c, cap = r.choice(capitals())
        return r.choice(
            [
                "What is the capital of %s?",
                "Which city is the capital of %s?",
                "Tell me the capital of %s.",
            ]
        ) % c, r.choice(
            ["The capital of %s is %s." % (c, cap), "%s is the capital of %s." % (cap, c)]
        )
    if k < 0.35:
        a, b = r.randrange(0, 11), r.randrange(0, 11)
        return r.choice(["What is %d plus %d?", "How much is %d plus %d?", "What is %d + %d?"]) % (
            a,
            b,
        ), "%d plus %d is %d." % (a, b, a + b)
    q, a = r.choice(SMALL_TALK)
    return r.choice(q), r.choice(a)
