"""What the SDK does not have: estimates, calls that are only read, seeds, limits for silence."""

import lmstrix.lmstudio as lms

client = lms.Client(timeouts=lms.Timeouts(call_s=30, prompt_s=120, tokens_s=30))

usage = client.llm.estimate_resources("llama-3.2-1b-instruct", config={"contextLength": 2048})
print(f"A load would take {usage.memory.total_bytes / 2**20:.0f} MiB.")

model = client.llm.model("llama-3.2-1b-instruct")
weather = lms.RawTool(
    name="get_weather",
    description="The weather in a place.",
    parameters={
        "type": "object",
        "properties": {"place": {"type": "string"}},
        "required": ["place"],
    },
)
result = model.respond(
    "How is the weather in Vienna?",
    tools=[weather],
    config={"seed": 7, "maxTokens": 60},
    on_event=lambda event: print(type(event).__name__, end=" "),
)
print()
for call in result.tool_call_requests:
    print("It asks for", call.name, call.arguments)
print("Thought:", result.reasoning_content)
print("Said:", result.non_reasoning_content)

print("Server:", client.system.version().version)
client.close()
