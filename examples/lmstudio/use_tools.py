"""Give a model functions to call: its docstrings and types tell it what they are for."""

import math

import lmstrix.lmstudio as lms


def add(a: int, b: int) -> int:
    """Return the sum of two numbers."""
    return a + b


def is_prime(number: int) -> bool:
    """Return whether a number is prime."""
    return number > 1 and all(number % low for low in range(2, math.isqrt(number) + 1))


chat = lms.Chat()
chat.add_user_message("Is 12345 + 45668 a prime number?")
model = lms.llm("llama-3.2-1b-instruct")
result = model.act(
    chat,
    [add, is_prime],
    max_prediction_rounds=3,
    config={"maxTokens": 60},
    on_message=chat.append,
    on_prediction_completed=lambda answer: print(f"round {answer.round_index}:", answer),
)
print(f"{result.rounds} rounds in {result.total_time_seconds:.1f} s")
