"""Find out whether a conversation fits into a model's context."""

import lmstrix.lmstudio as lms


def fits(model: lms.LLM, chat: lms.Chat) -> bool:
    """Whether the model holds the chat as it would see it."""
    formatted = model.apply_prompt_template(chat)
    return model.count_tokens(formatted) < model.get_context_length()


model = lms.llm("llama-3.2-1b-instruct")
chat = lms.Chat.from_history(
    {
        "messages": [
            {"role": "user", "content": "What is the meaning of life?"},
            {"role": "assistant", "content": "The meaning of life is..."},
        ]
    }
)
print("It fits." if fits(model, chat) else "It does not fit.")
