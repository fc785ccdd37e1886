"""First names for the people in facts: common ones, each a word of its own in most tokenizers."""

PEOPLE = (
    *("Anna", "Paul", "Maria", "Peter", "Julia", "Robert", "Clara", "Simon", "Nora", "Victor"),
    *("Emma", "Oscar", "Irene", "Felix", "Sarah", "Walter", "Grace", "Martha", "Lucas", "Diana"),
)
