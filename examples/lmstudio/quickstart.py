"""Ask a model one question. It is loaded if it is not."""

import lmstrix.lmstudio as lms

model = lms.llm("llama-3.2-1b-instruct")
result = model.respond("What is the meaning of life?", config={"maxTokens": 40})

print(result)
print("Model:", result.model_info.display_name)
print("Tokens:", result.stats.predicted_tokens_count)
print("Seconds to the first token:", result.stats.time_to_first_token_sec)
print("Ended by:", result.stats.stop_reason)
