"""The same from asyncio: several questions at once."""

import asyncio

import lmstrix.lmstudio as lms


async def main() -> None:
    """Ask two questions and wait for both."""
    async with lms.AsyncClient() as client:
        model = await client.llm.model("llama-3.2-1b-instruct")
        questions = ("Who are you?", "What is a llama?")
        results = await asyncio.gather(
            *(model.respond(question, config={"maxTokens": 30}) for question in questions)
        )
        for question, result in zip(questions, results, strict=True):
            print(question, "->", result)

        async for fragment in await model.respond_stream("Hello!", config={"maxTokens": 20}):
            print(fragment.content, end="", flush=True)
        print()


asyncio.run(main())
