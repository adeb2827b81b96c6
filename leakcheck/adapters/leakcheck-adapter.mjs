// Lets elkyn-leakcheck measure functions of a program for Node.js, plain or async. In an executable file:
//
//     #!/usr/bin/env -S node --expose-gc
//     import { serve } from "./leakcheck-adapter.mjs";
//
//     serve({ parse() { ... }, async connect() { ... } });
//
// Then: elkyn-leakcheck run ./leaks.mjs
//
// Each function is a scenario, and a call of it is one iteration. It answers List, Open, Run and Close of the protocol
// (docs/protocol.md). `serve(steps, { count: [Session] })` also counts the objects of a class, exactly.
import { readdirSync, readSync, writeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { queryObjects } from "node:v8";

const VERSION = 11; // of the protocol
const FLOOR = 512 * 1024; // bytes: twice what V8's heap moves by from reading to reading, though nothing grows
const COLLECTIONS = 4; // what a finaliser lets go is freed by the next one
const [commands, replies] = process.argv.slice(2, 4).map(Number);

function* requests() {
  const part = Buffer.alloc(65536);
  for (let pending = "", length; (length = readSync(commands, part)) > 0; ) {
    const lines = (pending + part.toString("utf8", 0, length)).split("\n");
    pending = lines.pop();
    yield* lines.map((line) => JSON.parse(line));
  }
}

function failed(error, during) {
  const stack = String(error?.stack).replaceAll(`file://${process.cwd()}/`, "").split("\n");
  const frames = stack.filter((line) => line.startsWith("    at ") && !line.includes(import.meta.url));
  const kind = error?.name ?? typeof error;
  const said = error instanceof Refusal ? error.message : (frames[0] ?? kind).trim(); // without values of the program
  return [kind, String(error?.message ?? error), stack.join("\n"), null, during, said, frames.join("\n")];
}

class Refusal extends Error {
  name = "ProtocolError";
}

function refuse(why) {
  throw new Refusal(why);
}

async function settle() {
  for (let left = COLLECTIONS; left > 0; --left) {
    await turn();
    globalThis.gc();
  }
}

function heap() {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

export async function serve(steps, { count = [] } = {}) {
  if (!(commands > 2 && replies > 2)) {
    console.error(`This is a leakcheck-adapter: measure it by elkyn-leakcheck run ${process.argv[1]}`);
    process.exit(2);
  }
  const meters = [["heap.bytes", "B", heap], ["fds", "fds", () => readdirSync("/proc/self/fd").length]];
  for (const kind of count) meters.push([kind.name, "objects", () => queryObjects(kind, { format: "count" })]);
  const numbers = new Float64Array(5 + meters.length);
  let step;
  const answers = {
    List: () => [Object.keys(steps).map((name) => [name, "", 0, process.argv[1]])],
    Open: (_, name) => {
      step = Object.hasOwn(steps, name) ? steps[name] : refuse("the program has no step of that name");
      globalThis.gc ?? refuse("the program cannot collect garbage: let its first line start node with --expose-gc");
      numbers[0] = 0;
      const shown = meters.map(([meter, unit]) => [meter, unit]);
      return [shown, {}, process.version, null, [[], [], []], [], false, false, { "heap.bytes": FLOOR }];
    },
    Run: async (iterations) => {
      const began = performance.now();
      let raised = null;
      try {
        for (let left = Number(iterations); left > 0; --left, ++numbers[0]) await step();
      } catch (error) {
        raised = failed(error, "step");
      }
      numbers[1] = (performance.now() - began) / 1000;
      await settle();
      meters.forEach(([, , read], index) => (numbers[5 + index] = read()));
      numbers[2] = (performance.now() - began) / 1000;
      numbers[4] = NaN;
      return [Buffer.from(numbers.buffer).toString("hex"), raised];
    },
    Close: () => ((step = undefined), []),
  };
  for (const [name, ...fields] of requests()) {
    if (name === "Hello" && fields[0] === VERSION) continue; // no answer to that
    let answer;
    try {
      if (name === "Hello")
        refuse("the program speaks another version of the protocol than the tool; give it the adapter of this tool");
      if (!Object.hasOwn(answers, name) || (["Run", "Close"].includes(name) && !step))
        refuse("the program does not answer that");
      answer = await answers[name](...fields);
    } catch (error) {
      answer = { failed: failed(error, name) };
    }
    writeSync(replies, `${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}
