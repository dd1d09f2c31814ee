/* synth_words.h - the words of the synthetic stories. Common ones, so that most tokenizers have them as single tokens;
 * no colour or adjective begins with a vowel, so "a" is always right. Lists of different slots may share words:
 * positions tell them apart. */
#ifndef RETORT_SRC_TEXT_SYNTH_WORDS_H
#define RETORT_SRC_TEXT_SYNTH_WORDS_H

static const char *const names[64] = {/* even: he, odd: she */
                                      "Tom",    "Anna",   "Ben",    "Lily",  "Max",    "Emma",   "Sam",    "Mia",
                                      "Jack",   "Sara",   "Tim",    "Lucy",  "Leo",    "Kate",   "Peter",  "Rose",
                                      "David",  "Amy",    "Mark",   "Nina",  "Paul",   "Clara",  "Adam",   "Ella",
                                      "Oscar",  "Grace",  "Henry",  "Jane",  "Luke",   "Mary",   "Noah",   "Ruth",
                                      "James",  "Alice",  "Simon",  "Helen", "Frank",  "Julia",  "George", "Laura",
                                      "Robert", "Sophie", "Eric",   "Lisa",  "Martin", "Maria",  "Daniel", "Susan",
                                      "Alex",   "Diana",  "Victor", "Eva",   "Thomas", "Carol",  "Philip", "Linda",
                                      "Roger",  "Nancy",  "Walter", "Betty", "Oliver", "Hannah", "Jacob",  "Karen"};
static const char *const objects[64] = {
    "ball",   "book",   "cup",    "hat",    "box",    "key",    "bag",    "coat",   "lamp",    "bell",   "drum",
    "kite",   "doll",   "boat",   "car",    "train",  "chair",  "table",  "bottle", "bowl",    "spoon",  "plate",
    "knife",  "clock",  "watch",  "ring",   "brush",  "pen",    "letter", "map",    "picture", "mirror", "blanket",
    "pillow", "candle", "basket", "bucket", "rope",   "stick",  "stone",  "shell",  "flag",    "guitar", "piano",
    "flute",  "phone",  "camera", "radio",  "ticket", "coin",   "purse",  "belt",   "shirt",   "dress",  "shoe",
    "glove",  "scarf",  "button", "needle", "hammer", "ladder", "wheel",  "bike",   "tent"};
static const char *const colours[12] = {"red",   "blue", "green", "yellow", "black",  "white",
                                        "brown", "pink", "grey",  "purple", "golden", "silver"};
static const char *const places[32] = {
    "house",  "garden", "kitchen", "school", "park",    "forest", "street",  "shop",   "room",    "river",  "field",
    "farm",   "barn",   "church",  "market", "station", "bridge", "tower",   "castle", "library", "museum", "hotel",
    "office", "hall",   "cellar",  "bath",   "tree",    "cave",   "village", "city",   "harbour", "valley"};
static const char *const adjectives[48] = {
    "big",    "small",  "little", "tall",    "short",  "long",    "young",    "happy",  "sad",   "quiet",
    "loud",   "quick",  "slow",   "strong",  "weak",   "brave",   "shy",      "kind",   "proud", "poor",
    "rich",   "clean",  "dirty",  "wet",     "dry",    "warm",    "cold",     "hungry", "tired", "lazy",
    "busy",   "clever", "funny",  "strange", "wild",   "gentle",  "pretty",   "fat",    "thin",  "lonely",
    "famous", "polite", "rude",   "careful", "sleepy", "thirsty", "friendly", "nervous"};
static const char *const nouns[32][2] = {/* one, many */
                                         {"dog", "dogs"},         {"cat", "cats"},         {"bird", "birds"},
                                         {"horse", "horses"},     {"cow", "cows"},         {"boy", "boys"},
                                         {"girl", "girls"},       {"man", "men"},          {"woman", "women"},
                                         {"child", "children"},   {"mouse", "mice"},       {"duck", "ducks"},
                                         {"rabbit", "rabbits"},   {"bear", "bears"},       {"wolf", "wolves"},
                                         {"fox", "foxes"},        {"frog", "frogs"},       {"teacher", "teachers"},
                                         {"doctor", "doctors"},   {"farmer", "farmers"},   {"king", "kings"},
                                         {"queen", "queens"},     {"soldier", "soldiers"}, {"sailor", "sailors"},
                                         {"baker", "bakers"},     {"driver", "drivers"},   {"singer", "singers"},
                                         {"painter", "painters"}, {"monkey", "monkeys"},   {"lion", "lions"},
                                         {"tiger", "tigers"},     {"giant", "giants"}};
static const char *const verbs[32][2] = {/* agreeing with one, with many */
                                         {"runs", "run"},       {"sleeps", "sleep"},     {"sings", "sing"},
                                         {"plays", "play"},     {"eats", "eat"},         {"jumps", "jump"},
                                         {"waits", "wait"},     {"sits", "sit"},         {"stands", "stand"},
                                         {"walks", "walk"},     {"laughs", "laugh"},     {"cries", "cry"},
                                         {"works", "work"},     {"reads", "read"},       {"dances", "dance"},
                                         {"hides", "hide"},     {"swims", "swim"},       {"drinks", "drink"},
                                         {"talks", "talk"},     {"smiles", "smile"},     {"rests", "rest"},
                                         {"falls", "fall"},     {"dreams", "dream"},     {"climbs", "climb"},
                                         {"shouts", "shout"},   {"hunts", "hunt"},       {"digs", "dig"},
                                         {"listens", "listen"}, {"whispers", "whisper"}, {"cooks", "cook"},
                                         {"paints", "paint"},   {"travels", "travel"}};
static const char *const moods[12] = {"happy", "sad",   "tired", "angry", "hungry", "cold",
                                      "proud", "lucky", "sick",  "brave", "lonely", "calm"};
static const char *const fruits[12] = {"apples", "pears", "plums",  "nuts",   "eggs",    "cakes",
                                       "coins",  "books", "stones", "shells", "flowers", "leaves"};
static const char *const sounds[8] = {"ho", "la", "boo", "yes", "no", "ha", "hey", "knock"};
static const char *const prepositions[4] = {"near", "with", "behind", "beside"};
static const char *const openers[8] = {"", "Then ", "Later ", "Soon ", "After that ", "Once ", "One day ", "Long ago "};
#endif
