"""Answers of a certain form: a class, a JSON schema, or types of other libraries."""

import dataclasses

import lmstrix.lmstudio as lms


class Book(lms.BaseModel):
    """What is to be known of a book."""

    title: str
    author: str
    year: int


@dataclasses.dataclass
class Place:
    """A place with its size."""

    name: str
    people: int


model = lms.llm("llama-3.2-1b-instruct")

result = model.respond("Tell me about The Hobbit.", response_format=Book)
print(result.parsed["title"], "by", result.parsed["author"])

schema = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "green", "blue"]}},
    "required": ["color"],
}
print(model.respond("Which color is grass?", response_format=schema).parsed)

# Beyond the SDK: the answer as an instance of the class.
place = model.respond("Tell me about a town.", response_format=Place).value
print(place)
