// Other people's clients in JavaScript against a server, unchanged but for its address; as
// foreign_clients.py. Run by scripts/client-check, beside a node_modules that has the clients.
import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

// The most tokens of an answer; a model that knows nothing may write long numbers.
const MAX_TOKENS = 1500;
const QUESTION = "What colour is the sky?";
const MESSAGES = [{ role: "user", content: QUESTION }];
const Colour = z.object({ name: z.enum(["red", "green", "blue"]), bright: z.boolean() }).strict();

const [url] = process.argv.slice(2);
const model = (await (await fetch(`${url}/models`)).json()).data[0].id;
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const provider = createOpenAICompatible({
  name: "here",
  baseURL: url,
  supportsStructuredOutputs: true,
})(model);

const formed = () => ({
  model,
  messages: MESSAGES,
  max_tokens: MAX_TOKENS,
  response_format: zodResponseFormat(Colour, "colour"),
});
const forced = () => ({
  model,
  messages: MESSAGES,
  max_tokens: MAX_TOKENS,
  tools: [zodFunction({ name: "colour", parameters: Colour })],
  tool_choice: { type: "function", function: { name: "colour" } },
});
const asked = { model: provider, prompt: QUESTION, maxOutputTokens: MAX_TOKENS, maxRetries: 0 };
const tools = { colour: tool({ description: "The colour of something.", inputSchema: Colour }) };

// By the package whose version is told.
const CHECKS = [
  ["openai", async function parse() {
    return (await client.chat.completions.parse(formed())).choices[0].message.parsed;
  }],
  ["openai", async function stream() {
    const completion = await client.chat.completions.stream(formed()).finalChatCompletion();
    return completion.choices[0].message.parsed;
  }],
  ["openai", async function tool() {
    const completion = await client.chat.completions.parse(forced());
    return completion.choices[0].message.tool_calls[0].function.parsed_arguments;
  }],
  ["openai", async function tool_stream() {
    const completion = await client.chat.completions.stream(forced()).finalChatCompletion();
    return completion.choices[0].message.tool_calls[0].function.parsed_arguments;
  }],
  ["ai", async function object_output() {
    return (await generateText({ ...asked, output: Output.object({ schema: Colour }) })).output;
  }],
  ["ai", async function object_stream() {
    const result = streamText({ ...asked, output: Output.object({ schema: Colour }) });
    await result.consumeStream();
    return await result.output;
  }],
  ["ai", async function tool_choice_required() {
    const { toolCalls } = await generateText({ ...asked, tools, toolChoice: "required" });
    return toolCalls[0].input;
  }],
  ["ai", async function tool_choice_named_stream() {
    const toolChoice = { type: "tool", toolName: "colour" };
    const result = streamText({ ...asked, tools, toolChoice });
    return (await result.toolCalls)[0].input;
  }],
];

let failed = 0;
for (const [name, check] of CHECKS) {
  let result = "ok";
  try {
    Colour.parse(await check());
  } catch (error) {
    result = `FAILED: ${error}`;
  }
  failed += result !== "ok";
  const described = new URL(`node_modules/${name}/package.json`, import.meta.url);
  const { version } = JSON.parse(readFileSync(described, "utf8"));
  console.log(`${`npm ${name}`.padEnd(18)} ${version.padEnd(9)} ${check.name.padEnd(27)} ${result}`);
}
process.exit(failed > 0 ? 1 : 0);
