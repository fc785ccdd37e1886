"""Hold a client for as long as it is used, and no longer."""

import lmstrix.lmstudio as lms

with lms.Client() as client:
    model = client.llm.model("llama-3.2-1b-instruct")
    for fragment in model.respond_stream("Tell me a fact.", config={"maxTokens": 40}):
        print(fragment.content, end="", flush=True)
    print()
