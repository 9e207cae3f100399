"""Half of the plots; the others are in stories.py."""

from story_frame import FEARS, FOODS, StoryFrame, an


class Plots(StoryFrame):
    """A story with its hero, friend, place and object, and plots to choose from."""

    def lost(self):
        f = self.c(
            "under a big leaf",
            "behind an old log",
            "at the bottom of a basket",
            "in a bird's nest",
            "under the bridge",
            "inside a hollow tree",
            "next to a grey stone",
        )
        return [
            self.opening(),
            self.c(
                "{name} had {an_obj}. It was {his} favourite thing in the whole world.",
                "More than anything, {name} loved {his} {obj}.",
                "On {his} birthday, {name} got {an_obj}. {He} took it everywhere.",
            ),
            self.c(
                "One morning, the {obj} was gone! {name} looked in {his} bed. {He} looked under the"
                " table. It was not there.",
                "But one day, {name} could not find the {obj}. {He} looked high and low, but it was"
                " gone.",
                "One windy day, {name} lost the {obj}. {He} was so sad that {he} began to cry.",
            ),
            self.c(
                'Just then, {an_friend} named {fname} came by. "Why are you crying?" asked {fname}.'
                ' "I lost my {obj}," said {name}. "Don\'t worry. I will help you," said {fname}.',
                '{fname} the {friend} heard {name} and came to help. "What is wrong?" {fhe} asked.'
                ' "My {obj} is lost," said {name}. "Let us look for it together," said {fname}.',
                '{name} went to {his} friend {fname} the {friend}. "Have you seen my {obj}?" {he}'
                ' asked. "No," said {fname}, "but four eyes see more than two."',
            ),
            self.c(
                "They looked {spot}. They looked all day. At last, {fname} found the {obj} "
                + f
                + '. "Here it is!" {fhe} shouted.',
                "First they looked {spot}, and then they looked near the path. Finally they saw"
                " something shine " + f + ". It was the {obj}!",
                "They asked everyone they met. In the end, the {obj} was " + f + ".",
            ),
            self.c(
                '"Thank you, {fname}!" said {name}. {He} gave {fhim} a big hug.',
                '{name} jumped for joy. "You are a good friend," {he} said.',
                '{name} laughed and thanked {fname}. "Next time, I will take better care of it,"'
                " {he} said.",
            ),
            self.closing(),
        ]

    def afraid(self):
        fear, when = self.r.choice(FEARS)
        return [
            self.opening(),
            self.c(
                "But {name} had a secret. {He} was afraid of " + fear + ".",
                "There was only one thing that {name} did not like. It was " + fear + ".",
                "{name} tried to be brave, but {he} was very afraid of " + fear + ".",
            ),
            self.c(
                'One day, {his} friend {fname} the {friend} asked, "Will you come with me?" {name}'
                " shook {his} head. \"I can't. I am afraid of " + fear + '," {he} said.',
                '{fname} the {friend} saw that {name} was hiding. "What is the matter?" {fhe}'
                ' asked. "I am scared of ' + fear + '," said {name} in a small voice.',
            ),
            self.c(
                '{fname} did not laugh. "I was afraid once, too," {fhe} said. "Hold my hand, and'
                ' take one small step."',
                '"Everyone is afraid of something," said {fname}. "Let us be brave together."',
                '"When I am scared," said {fname}, "I count to ten and sing a song."',
            ),
            self.c(
                "{name} took a deep breath. {He} took one step, and then another. It was not so bad"
                " after all!",
                "So {name} counted to ten and sang a little song. Slowly, the fear became smaller"
                " and smaller.",
                "They went together. {name}'s heart beat fast, but nothing bad happened. {He} began"
                " to smile.",
            ),
            self.c(
                '"I did it!" cried {name}. "I am not afraid any more!"',
                '"You are very brave," said {fname}. {name} felt proud.',
                "{name} learned that being brave means trying even when you are scared.",
            ),
            self.closing(),
        ]

    def share(self):
        food = self.r.choice(FOODS)
        return [
            self.opening(),
            self.c(
                "One day, {name} found a big basket of "
                + food
                + '. "This is all mine," {he} thought.',
                "One sunny day, {name} had a lot of " + food + ". {He} wanted to eat all of it.",
                "One day, {name} made some " + food + ". It smelled very good.",
            ),
            self.c(
                '{fname} the {friend} came along. {fHe} had not eaten all day. "May I have some?"'
                " {fhe} asked.",
                'Soon {an_friend} named {fname} came to the door. "I am so hungry," said {fname}.'
                ' "Can you share your ' + food + ' with me?"',
            ),
            self.c(
                '{name} did not want to share. "No," {he} said. {fname} walked away with {fhis}'
                " head down. But now the " + food + " did not taste so good.",
                "At first {name} said no. Then {he} saw how sad {fname} was, and {he} felt bad.",
            ),
            self.c(
                '{name} ran after {fname}. "Wait!" {he} called. "I am sorry. Let us eat together."',
                '"Come back, {fname}!" called {name}. "There is enough for two."',
            ),
            self.c(
                "They sat {spot} and ate the "
                + food
                + ". They talked and laughed. It was the best meal {name} ever had.",
                "They shared everything, and {fname} told funny stories. {name} had never had so"
                " much fun.",
            ),
            self.c(
                "{name} learned that food tastes better when you share it.",
                "Now {name} knew that sharing makes everyone happy.",
                "",
            ),
            self.closing(),
        ]

    def rescue(self):
        trouble = self.c(
            "stuck in the mud",
            "caught in a net",
            "trapped under a branch",
            "stuck in a deep hole",
            "tangled in some string",
        )
        tool = self.c("a long rope", "a strong stick", "a big shovel", "a piece of wood")
        return [
            self.opening(),
            self.c(
                'One day, {name} heard a cry. "Help! Help!" someone called.',
                'One rainy day, {name} was walking home when {he} heard a small voice. "Please help'
                ' me!" it said.',
            ),
            "It was {fname} the {friend}. {fHe} was " + trouble + ".",
            self.c(
                '{name} pulled and pulled, but {he} was not strong enough. "I will be back soon,"'
                " {he} said.",
                '"Don\'t be afraid," said {name}. "I will find a way."',
            ),
            self.c(
                "{name} ran home and found " + tool + ". Then {he} ran back as fast as {he} could.",
                "{name} thought and thought. Then {he} had an idea. {He} went to get " + tool + ".",
            ),
            self.c(
                '"One, two, three!" said {name}. With one big pull, {fname} was free!',
                "It was hard work, but {name} did not give up. At last, {fname} was free.",
            ),
            self.c(
                '"You saved me," said {fname}. "How can I thank you?" "Just be my friend," said'
                " {name}.",
                '"Thank you, thank you!" said {fname}. {fHe} gave {name} {an_obj} as a present.',
            ),
            self.closing(),
        ]

    def build(self):
        what = self.c(
            "kite", "boat", "tree house", "snow castle", "bridge", "cake", "wagon", "raft"
        )
        bad = {
            "kite": "would not fly",
            "boat": "sank at once",
            "tree house": "fell down",
            "snow castle": "melted",
            "bridge": "broke in the middle",
            "cake": "was as hard as a stone",
            "wagon": "lost a wheel",
            "raft": "fell apart",
        }[what]
        good = {
            "kite": "flew high up in the sky",
            "boat": "sailed across the water",
            "tree house": "was strong and safe",
            "snow castle": "shone in the moonlight",
            "bridge": "was strong enough for everyone",
            "cake": "was soft and sweet",
            "wagon": "rolled down the road",
            "raft": "floated like a duck",
        }[what]
        return [
            self.opening(),
            "One day, {name} wanted to make " + an(what) + ". {He} worked all morning.",
            self.c(
                "But the "
                + what
                + " "
                + bad
                + '. {name} was very sad. "I will never do it," {he} said.',
                "But when it was done, the " + what + " " + bad + '. "Oh no!" cried {name}.',
            ),
            self.c(
                '{fname} the {friend} saw what happened. "Do not give up," {fhe} said. "Try again,'
                ' and I will help you."',
                '"What went wrong?" asked {his} friend {fname} the {friend}. "Let us think about it'
                ' together."',
            ),
            self.c(
                "So they tried again. {name} did the big parts, and {fname} did the small parts.",
                "They tried a second time, and a third time. Each time it was a little better.",
            ),
            self.c(
                "At last it was ready. This time, the " + what + " " + good + "!",
                "In the end, the " + what + " " + good + ". They clapped their hands.",
            ),
            self.c(
                "{name} learned that you should never give up.",
                '"It is easier with a friend," said {name}.',
                "",
            ),
            self.closing(),
        ]

    def newcomer(self):
        return [
            self.opening(),
            self.c(
                "One day, {an_friend} named {fname} moved in next door. {fname} did not know"
                " anyone, and {fhe} was very lonely.",
                "One day, someone new came to the {place}. It was {an_friend} named {fname}. Nobody"
                " played with {fhim}.",
            ),
            self.c(
                '{name} saw {fname} sitting alone {spot}. "Hello," said {name}. "Do you want to'
                ' play?"',
                '{name} felt sorry for {fname}. {He} took {his} {obj} and went over. "Would you'
                ' like to play with me?" {he} asked.',
            ),
            self.c(
                '{fname} looked up and smiled. "Yes, please!" {fhe} said.',
                '"I would love to," said {fname}. {fHe} was so happy that {fhe} jumped up and'
                " down.",
            ),
            self.c(
                "They played with the {obj} all afternoon. {fname} showed {name} a new game, and"
                " {name} showed {fname} the best place to hide.",
                "They ran, they jumped, and they played hide and seek. They laughed until their"
                " sides hurt.",
            ),
            self.c(
                'When it was time to go home, {fname} said, "Thank you for being my friend."',
                '"Will you come back tomorrow?" asked {fname}. "Of course," said {name}.',
            ),
            self.closing(),
        ]
