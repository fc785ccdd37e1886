// One session of LM Studio's official JavaScript SDK; prints what it saw as one line of JSON.
//
//   node session.mjs ws://127.0.0.1:PORT

import { Chat, LMStudioClient, rawFunctionTool, tool } from "@lmstudio/sdk";
import { z } from "zod";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const client = new LMStudioClient({ baseUrl: process.argv[2], logger: quiet });
const seen = {};
const greedy = { temperature: 0 };

seen.version = await client.system.getLMStudioVersion();
seen.downloaded = (await client.system.listDownloadedModels()).map((one) => one.modelKey);

const progress = [];
const model = await client.llm.load("tiny-chat", {
  config: { contextLength: 2048 },
  onProgress: (fraction) => progress.push(fraction),
  verbose: false,
});
seen.progress = progress;
seen.loaded = (await client.llm.listLoaded()).map((one) => one.identifier);
seen.context = await model.getContextLength();
seen.info = await model.getModelInfo();

const fragments = [];
const reading = [];
const question = "What is the capital of Poland?";
const prediction = model.respond(question, {
  ...greedy,
  onPromptProcessingProgress: (fraction) => reading.push(fraction),
});
for await (const fragment of prediction) fragments.push(fragment.content);
const answer = await prediction.result();
seen.respond = { text: answer.content, joined: fragments.join(""), stats: answer.stats, reading };

const chat = Chat.from([{ role: "user", content: question }]);
chat.append("assistant", "Warsaw.");
chat.append("user", "And what is the capital of France?");
seen.chat = (await model.respond(chat, greedy)).content;

seen.complete = (await model.complete("Once upon", { ...greedy, maxTokens: 8 })).content;

const pet = z.object({ name: z.string(), legs: z.number().int() });
const structured = await model.respond("Describe a dog.", { ...greedy, structured: pet });
seen.structured = structured.parsed;

const calls = [];
const add = tool({
  name: "add",
  description: "Add two numbers.",
  parameters: { a: z.number(), b: z.number() },
  implementation: ({ a, b }) => {
    calls.push([a, b]);
    return 42; // whatever numbers the model wrote
  },
});
const said = [];
const acted = await model.act("What is 12 plus 30? Use the tool.", [add], {
  ...greedy,
  onMessage: (message) => said.push(message.getText()),
});
seen.act = { rounds: acted.rounds, calls, said };

seen.tokens = await model.tokenize("Hello, world!");
seen.counted = await model.countTokens("Hello, world!");
seen.template = await model.applyPromptTemplate([{ role: "user", content: "Hi there" }]);

const long = model.respond("Go on.", {
  structured: { type: "gbnf", gbnfGrammar: 'root ::= "a" root' },
});
let cancelled = 0;
for await (const _ of long) {
  if (cancelled++ === 0) await long.cancel();
}
seen.cancelled = (await long.result()).stats.stopReason;

const vectors = await client.embedding.model("tiny-embed", { ttl: 60, verbose: false });
const { embedding } = await vectors.embed("Hello");
const several = await vectors.embed(["Hello", "there"]);
seen.embed = { length: embedding.length, several: several.length };

const raw = rawFunctionTool({
  name: "look",
  description: "Look at a place.",
  parametersJsonSchema: { type: "object", properties: { place: { type: "string" } } },
  implementation: () => "sunny",
});
seen.raw = raw.name;

const picture = await client.files.prepareImageBase64(
  "dot.png",
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
);
seen.file = { type: picture.type, size: picture.sizeBytes };

const missing = await client.llm.createDynamicHandle("no-such-model").getModelInfo();
seen.missing = missing === undefined;
try {
  await client.llm.load("no-such-model", { verbose: false });
} catch (error) {
  seen.refused = String(error.message);
}

await model.unload();
seen.after = (await client.llm.listLoaded()).map((one) => one.identifier);
await client[Symbol.asyncDispose]();
console.log(JSON.stringify(seen));
process.exit(0);
