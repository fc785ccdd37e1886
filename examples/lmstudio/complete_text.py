"""Continue a text, and be told what happens meanwhile."""

import lmstrix.lmstudio as lms

model = lms.llm("llama-3.2-1b-instruct")

result = model.complete(
    "Once upon a time,",
    config={"maxTokens": 30, "temperature": 0.7, "stopStrings": ["The end"]},
    on_prompt_processing_progress=lambda done: print(f"prompt: {done:.0%}"),
    on_first_token=lambda: print("it begins"),
    on_message=lambda message: print("whole:", message.content[0].text),
)
print(result.prediction_config.max_tokens, "tokens at most")

stream = model.complete_stream("My name is", config={"maxTokens": 100})
for count, fragment in enumerate(stream):
    print(fragment.content, end="", flush=True)
    if count == 3:
        stream.cancel()
print()
print("Ended by:", stream.result().stats.stop_reason)
