"""Vectors for texts; a list is asked for many at once."""

import lmstrix.lmstudio as lms

model = lms.embedding_model("nomic-embed-text-v1.5")

vector = model.embed("Hello, world!")
print(len(vector), "dimensions")

texts = ["A cat sleeps.", "A dog sleeps.", "Prices rose."]
first, *others = model.embed(texts)
for text, other in zip(texts[1:], others, strict=True):
    alike = sum(a * b for a, b in zip(first, other, strict=True))
    print(f"{alike:.2f} {text}")
print(model.count_tokens(texts[0]), "tokens:", model.tokenize(texts[0]))
