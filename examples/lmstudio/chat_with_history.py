"""A conversation that remembers what was said. An empty line ends it."""

import lmstrix.lmstudio as lms

model = lms.llm("llama-3.2-1b-instruct")
chat = lms.Chat("You are a helpful assistant who answers in one sentence.")

while True:
    try:
        said = input("You: ")
    except EOFError:
        break
    if not said:
        break
    chat.add_user_message(said)
    print("Bot: ", end="", flush=True)
    stream = model.respond_stream(chat, config={"maxTokens": 30}, on_message=chat.append)
    for fragment in stream:
        print(fragment.content, end="", flush=True)
    print()

print(chat)
