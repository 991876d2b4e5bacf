// A real identity provider (npm oidc-provider) on loopback, for the OAuth suite.
//
// It signs JWT access tokens (RFC 9068) for any loopback resource that ends in /mcp (RFC 8707) and
// knows one machine client per signing algorithm, and a stranger whom no sidecar serves;
// applications register themselves (RFC 7591) and log in with code and PKCE through the built-in
// login form. Keys, ids and secrets are made at start. Prints one line of JSON when it is ready,
// and serves until SIGTERM:
//   { "issuer": "...", "scopes": ["..."],
//     "machines": [{ "client_id": "...", "client_secret": "...", "alg": "..." }],
//     "stranger": { "client_id": "...", "client_secret": "...", "alg": "..." } }
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import Provider, { errors } from 'oidc-provider';

const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const SCOPES = [
  'ibkr:health:read',
  'ibkr:accounts:read',
  'ibkr:portfolio:read',
  'ibkr:positions:read',
  'ibkr:orders:preview',
];
const TOKEN_SECONDS = 600;

function signingKey(alg) {
  const make = {
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: () => generateKeyPairSync('ed25519'),
  };
  const jwk = make[alg]().privateKey.export({ format: 'jwk' });
  return { ...jwk, alg, use: 'sig', kid: randomUUID() };
}

function machineClient(name, alg) {
  const secret = randomBytes(32).toString('base64url');
  return { client_id: `machine-${name}`, client_secret: secret, alg };
}

const machines = ALGORITHMS.map((alg) => machineClient(alg.toLowerCase(), alg));
const stranger = machineClient('stranger', 'ES256');

function resourceServer(ctx, resource, client) {
  const { hostname, pathname } = new URL(resource);
  if (hostname !== '127.0.0.1' || !pathname.endsWith('/mcp')) throw new errors.InvalidTarget();
  const alg = machines.find((machine) => machine.client_id === client.clientId)?.alg ?? 'ES256';
  return {
    audience: resource,
    scope: SCOPES.join(' '),
    accessTokenFormat: 'jwt',
    accessTokenTTL: TOKEN_SECONDS,
    jwt: { sign: { alg } },
  };
}

function configuration() {
  return {
    jwks: { keys: ALGORITHMS.map(signingKey) },
    scopes: ['openid', 'offline_access', ...SCOPES],
    clients: [...machines, stranger].map(({ client_id, client_secret }) => ({
      client_id,
      client_secret,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      scope: SCOPES.join(' '),
    })),
    cookies: { keys: [randomBytes(32).toString('hex')] },
    pkce: { required: () => true },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
    // A registration that names a scope would pin the application to it for ever.
    extraClientMetadata: {
      properties: ['software_id'],
      validator(ctx, key, value, metadata) {
        if (metadata.scope) metadata.scope = ['openid', 'offline_access', ...SCOPES].join(' ');
      },
    },
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        getResourceServerInfo: resourceServer,
        useGrantedResource: async () => true,
      },
    },
  };
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration());
  provider.on('server_error', (ctx, error) => console.error(error));
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer, scopes: SCOPES, machines, stranger })}\n`);
});
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
