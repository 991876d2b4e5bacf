// The official TypeScript client logs in at a real identity provider and reads accounts.
//
// The target is told in SUITE_TARGET, as suite.py describes. Output: a line per check, then
// `N passed, N failed`.
import assert from 'node:assert/strict';

import {
  Client,
  ClientCredentialsProvider,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client';

import { login } from './login.mjs';

const TIMEOUT_MS = 60_000;
const ACCOUNT = 'DU1234567';
const REDIRECT = 'http://127.0.0.1/callback';
const READS = 'ibkr:health:read ibkr:accounts:read ibkr:positions:read';
const STEP = 'ibkr:orders:preview';
const PREVIEW = {
  name: 'ibkr_order_preview',
  arguments: {
    account_id: ACCOUNT,
    symbol: 'AAPL',
    side: 'buy',
    quantity: 1,
    order_type: 'limit',
    limit_price: 100,
  },
};
const target = JSON.parse(process.env.SUITE_TARGET);
const counts = { passed: 0, failed: 0 };

async function check(name, body) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), TIMEOUT_MS);
  });
  try {
    await Promise.race([body(), late]);
    counts.passed += 1;
    console.log(`ok    ${target.label}: ${name}`);
  } catch (error) {
    counts.failed += 1;
    const why = String(error?.message ?? error).slice(0, 2000);
    console.log(`FAIL  ${target.label}: ${name}: ${why}`);
  } finally {
    clearTimeout(timer);
  }
}

function newClient() {
  const about = { name: 'oidc-suite', version: '1.0.0' };
  return new Client(about, { versionNegotiation: { mode: 'auto' } });
}

function newTransport(authProvider) {
  return new StreamableHTTPClientTransport(new URL(target.url), { authProvider });
}

async function readAccounts(client) {
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  assert.ok(tools.includes('ibkr_accounts_list'), `listed: ${tools}`);
  assert.ok(!tools.includes('ibkr_paper_order_submit'), 'a reader sees a write tool');
  const result = await client.callTool({ name: 'ibkr_accounts_list', arguments: {} });
  assert.ok(!result.isError, JSON.stringify(result.content));
  assert.ok(JSON.stringify(result.structuredContent).includes(ACCOUNT), 'no account');
  const positions = await client.callTool({
    name: 'ibkr_positions_list',
    arguments: { account_id: ACCOUNT },
  });
  assert.ok(!positions.isError, JSON.stringify(positions.content));
  const rows = positions.structuredContent.table?.rows ?? [];
  assert.ok(rows.some((row) => row.includes('AAPL')), JSON.stringify(positions));
}

/** A client that logged in with client credentials. */
async function machineClient({ client_id, client_secret }) {
  const provider = new ClientCredentialsProvider({
    clientId: client_id,
    clientSecret: client_secret,
    expectedIssuer: target.issuer,
    scope: READS,
  });
  const client = newClient();
  await client.connect(newTransport(provider));
  return client;
}

async function asMachine(machine) {
  const client = await machineClient(machine);
  await readAccounts(client);
  await client.close();
}

async function asStranger() {
  const client = await machineClient(target.stranger);
  const result = await client.callTool({ name: 'ibkr_accounts_list', arguments: {} });
  assert.equal(result.isError, true, JSON.stringify(result));
  const [{ text }] = result.content;
  assert.equal(JSON.parse(text).code, 'SIDECAR_PAIRING_REQUIRED');
  assert.ok(!text.includes(ACCOUNT), text);
  await client.close();
}

/** An application that registers itself and remembers everything in memory. */
class Application {
  redirectUrl = REDIRECT;
  clientMetadata = {
    client_name: 'oidc-suite',
    redirect_uris: [REDIRECT],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
  };
  clientInformation() { return this.information; }
  saveClientInformation(information) { this.information = information; }
  tokens() { return this.saved; }
  saveTokens(tokens) { this.saved = tokens; }
  redirectToAuthorization(url) { this.authorizationUrl = url; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  discoveryState() { return this.discovered; }
  saveDiscoveryState(state) { this.discovered = state; }
}

/** Logs in, reads, then needs a scope that the first login didn't ask for. */
async function asPerson() {
  const application = new Application();
  const first = newTransport(application);
  await assert.rejects(newClient().connect(first), UnauthorizedError);
  const url = application.authorizationUrl;
  assert.equal(url.searchParams.get('code_challenge_method'), 'S256');
  assert.equal(url.searchParams.get('resource'), target.url);
  assert.ok(!scopesOf(url).includes(STEP), 'the first login asks for more than reads');
  await first.finishAuth(await login(url, REDIRECT));
  const client = newClient();
  const transport = newTransport(application);
  await client.connect(transport);
  await readAccounts(client);

  await assert.rejects(client.callTool(PREVIEW), UnauthorizedError);
  const more = application.authorizationUrl;
  assert.ok(scopesOf(more).includes(STEP), `the second login asks for ${scopesOf(more)}`);
  assert.ok(scopesOf(more).includes('ibkr:accounts:read'), 'the second login forgets the first');
  await transport.finishAuth(await login(more, REDIRECT));
  const preview = await client.callTool(PREVIEW);
  assert.ok(!preview.isError, JSON.stringify(preview.content));
  assert.ok(preview.structuredContent.preview_id, 'no preview');
  await client.close();
}

function scopesOf(url) {
  return url.searchParams.get('scope').split(' ');
}

/** A token straight from the provider, for cases that a well-behaved client doesn't make. */
async function token({ client_id, client_secret }, resource, scope) {
  const basic = Buffer.from(`${client_id}:${client_secret}`).toString('base64');
  const response = await fetch(`${target.issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource, scope }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const body = await response.json();
  assert.ok(body.access_token, JSON.stringify(body));
  return body.access_token;
}

async function call(bearer) {
  const response = await fetch(target.url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${bearer}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'ibkr_accounts_list', arguments: {} },
    }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  await response.body?.cancel();
  return { status: response.status, challenge: response.headers.get('www-authenticate') ?? '' };
}

for (const machine of target.machines) {
  await check(`a machine with ${machine.alg} reads accounts`, () => asMachine(machine));
}
await check('a person logs in with code and PKCE, reads, and steps up for a preview', asPerson);
const [machine] = target.machines;
await check('a token for another resource is refused', async () => {
  const other = 'http://127.0.0.1:1/mcp';
  const { status, challenge } = await call(await token(machine, other, 'ibkr:accounts:read'));
  assert.equal(status, 401);
  assert.match(challenge, /^Bearer .*error="invalid_token"/);
});
if (target.pairing) await check('a user whom no sidecar serves reads nothing', asStranger);
await check('a token without the scope is told which one it lacks', async () => {
  const { status, challenge } = await call(await token(machine, target.url, 'ibkr:health:read'));
  assert.equal(status, 403);
  assert.match(challenge, /error="insufficient_scope"/);
  assert.match(challenge, /scope="[^"]*ibkr:accounts:read/);
});
await check('a token with its signature cut off is refused', async () => {
  const signed = await token(machine, target.url, 'ibkr:accounts:read');
  const { status } = await call(`${signed.split('.').slice(0, 2).join('.')}.`);
  assert.equal(status, 401);
});
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
