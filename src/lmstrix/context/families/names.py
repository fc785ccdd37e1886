"""Names that facts are about: common words, each a token or two in most tokenizers."""

PEOPLE = (
    *("Anna", "Paul", "Maria", "Peter", "Julia", "Robert", "Clara", "Simon", "Nora", "Victor"),
    *("Emma", "Oscar", "Irene", "Felix", "Sarah", "Walter", "Grace", "Martha", "Lucas", "Diana"),
)
NOUNS = (
    *(
        "lamp",
        "wolf",
        "river",
        "garden",
        "bread",
        "mirror",
        "ticket",
        "engine",
        "blanket",
        "candle",
    ),
    *("window", "bottle", "market", "forest", "castle", "bridge", "letter", "pocket", "hammer"),
    *("island", "basket", "button", "carpet", "dragon", "feather", "kitchen", "ladder", "mountain"),
    *("needle", "orange", "pencil", "rabbit", "saddle", "table", "umbrella", "valley", "wagon"),
    *("anchor", "barrel", "circle", "desert", "eagle", "flower", "guitar", "helmet", "jacket"),
)
