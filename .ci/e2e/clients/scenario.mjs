// Runs the shared scenario against one official TypeScript client.
//
// The client comes as an adapter, so that both generations of the SDK run the same steps:
//   { name, connect(token) ->
//     { version, listTools(), callTool(name, args), readResource(uri), follow(uri, told) -> end(),
//       close() } }
// The target is told in the environment variable SUITE_TARGET, as suite.py describes. Output: a
// line per check, then `N passed, N failed`. Every check counts, and a step that can't be made
// because an earlier one failed is a failure too.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const TIMEOUT_MS = 40_000;
const AGAIN_MS = 100;
const HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
};
const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'client-suite', version: '1.0.0' },
  },
};
const run = promisify(execFile);

export const target = JSON.parse(process.env.SUITE_TARGET);
const scenario = JSON.parse(readFileSync(new URL('./scenario.json', import.meta.url), 'utf8'));

const counts = { passed: 0, failed: 0 };

async function check(name, body) {
  try {
    await body();
    counts.passed += 1;
    console.log(`ok    ${target.label}: ${name}`);
  } catch (error) {
    counts.failed += 1;
    const why = String(error?.message ?? error).slice(0, 2000);
    console.log(`FAIL  ${target.label}: ${name}: ${why}`);
  }
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer in time`)), TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Replaces $name in every string of a JSON value; an unknown name is an error. */
function fill(value, variables) {
  if (typeof value === 'string') {
    return value.replace(/\$(\w+)/g, (_, name) => {
      assert.ok(name in variables, `$${name} was never saved by an earlier step`);
      return variables[name];
    });
  }
  if (Array.isArray(value)) return value.map((item) => fill(item, variables));
  if (value === null || typeof value !== 'object') return value;
  const filled = Object.entries(value).map(([key, item]) => [key, fill(item, variables)]);
  return Object.fromEntries(filled);
}

/** A JSON pointer without escapes. */
function at(value, pointer) {
  const found = pointer.split('/').slice(1).reduce((inner, key) => inner?.[key], value);
  assert.notEqual(found ?? null, null, `the answer has no ${pointer}`);
  return found;
}

function textOf(result) {
  const text = (result.content ?? []).find((item) => item.type === 'text');
  assert.ok(text, 'the result has no text content');
  return text.text;
}

async function callStep(session, step, variables) {
  const args = fill(step.arguments, variables);
  const result = await within(session.callTool(step.tool, args), step.tool);
  const text = textOf(result);
  if (step.refused) {
    assert.equal(result.isError, true, 'the call was not refused');
    assert.equal(JSON.parse(text).code, step.refused);
    return;
  }
  if (result.isError) throw Object.assign(new Error(`refused: ${text}`), { refused: true });
  assert.ok(result.structuredContent, 'no structured content');
  assert.deepEqual(JSON.parse(text), result.structuredContent, 'text and structure differ');
  for (const [pointer, values] of Object.entries(step.expect ?? {})) {
    const found = at(result.structuredContent, pointer);
    assert.ok(fill(values, variables).includes(found), `${pointer} is ${found}, not ${values}`);
  }
  for (const part of fill(step.contains ?? [], variables)) {
    assert.ok(text.includes(part), `the answer doesn't contain ${part}`);
  }
  for (const [name, pointer] of Object.entries(step.save ?? {})) {
    variables[name] = String(at(result.structuredContent, pointer));
  }
}

/** Tries once, or until it holds where the step says so, within one time limit. */
async function eventually(step, attempt) {
  const until = Date.now() + TIMEOUT_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const again = step.eventually && !error.refused && Date.now() < until;
      if (!again) throw error;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

async function readStep(session, step, variables) {
  const uri = fill(step.resource, variables);
  const { contents } = await within(session.readResource(uri), uri);
  assert.equal(contents?.[0]?.mimeType, 'application/json', 'it holds no JSON');
  JSON.parse(contents[0].text);
  for (const part of fill(step.contains ?? [], variables)) {
    assert.ok(contents[0].text.includes(part), `the contents don't hold ${part}`);
  }
}

/** Subscribes as the protocol era wants it, and waits for an update. */
async function followStep(session, step, variables) {
  const uri = fill(step.follow, variables);
  let told;
  const update = new Promise((resolve) => {
    told = (updated) => {
      if (updated === uri) resolve();
    };
  });
  const end = await within(session.follow(uri, told), `following ${uri}`);
  await within(update, `an update of ${uri}`);
  await end();
}

/** An act of the operator: a second process, over the operator's own socket. */
async function human(words) {
  const [program, ...first] = target.operator;
  const env = { ...process.env, ...target.env };
  await run(program, [...first, ...words, '--json'], { env, timeout: TIMEOUT_MS });
}

function checkDeclaration(tool) {
  assert.ok(tool.title, 'no title');
  assert.ok(tool.description, 'no description');
  assert.equal(tool.inputSchema?.type, 'object', 'the input schema is no object');
  assert.equal(tool.outputSchema?.type, 'object', 'the output schema is no object');
  for (const hint of ['readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint']) {
    assert.equal(typeof tool.annotations?.[hint], 'boolean', `no ${hint}`);
  }
}

async function checkListing(tools) {
  for (const name of scenario.tools) {
    await check(`${name} is declared in full`, () => {
      const tool = tools.find((listed) => listed.name === name);
      assert.ok(tool, 'not listed');
      checkDeclaration(tool);
    });
  }
  await check('every generic write name stays unlisted', () => {
    const listed = tools.map((tool) => tool.name);
    assert.deepEqual(scenario.never_listed.filter((name) => listed.includes(name)), []);
  });
}

async function runSteps(session) {
  const variables = { ...scenario.variables, ...target.variables };
  for (const [index, step] of scenario.steps.entries()) {
    const when = Object.entries(step.when ?? {});
    if (when.some(([name, value]) => variables[name] !== value)) continue;
    if (step.human) {
      const name = `${index + 1} a human: ${step.human.slice(0, 2).join(' ')}`;
      await check(name, () => human(fill(step.human, variables)));
    } else if (step.resource) {
      await check(`${index + 1} reads ${step.resource}`, () => readStep(session, step, variables));
    } else if (step.follow) {
      const name = `${index + 1} follows ${step.follow}`;
      await check(name, () => followStep(session, step, variables));
    } else {
      const suffix = step.refused ? ` is refused with ${step.refused}` : '';
      const name = `${index + 1} ${step.tool}${suffix}`;
      await check(name, () => eventually(step, () => callStep(session, step, variables)));
    }
  }
}

async function runReader(adapter) {
  await check('a reader sees no write tool', async () => {
    const session = await within(adapter.connect(target.read_only_token), 'connect');
    const listed = (await within(session.listTools(), 'tools/list')).map((tool) => tool.name);
    await session.close();
    assert.ok(listed.includes('ibkr_accounts_list'), 'the reader sees no read tool either');
    assert.deepEqual(scenario.hidden_from_readers.filter((name) => listed.includes(name)), []);
  });
  await check('a made-up token is refused', async () => {
    await assert.rejects(within(adapter.connect('not-a-token'), 'connect'));
    // The clients don't tell the status, so it is asked for once more without them.
    const response = await fetch(target.url, {
      method: 'POST',
      headers: { ...HEADERS, authorization: 'Bearer not-a-token' },
      body: JSON.stringify(INITIALIZE),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    assert.equal(response.status, 401);
    const challenge = response.headers.get('www-authenticate') ?? '';
    assert.ok(challenge.startsWith('Bearer '), `the challenge is '${challenge}'`);
  });
}

export async function main(adapter) {
  let session;
  await check('connects', async () => {
    session = await within(adapter.connect(target.token), 'connect');
    assert.ok(session.version.startsWith(target.version), `negotiated ${session.version}`);
  });
  if (session) {
    let tools = [];
    await check('lists its tools', async () => {
      tools = await within(session.listTools(), 'tools/list');
    });
    await checkListing(tools);
    await runSteps(session);
    await check('closes', () => within(session.close(), 'close'));
  }
  if (target.read_only_token) await runReader(adapter);
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
}
