// The official TypeScript client, first generation (@modelcontextprotocol/sdk), which most
// installed applications still use; it validates structured content against the declared output
// schemas.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import {
  StdioClientTransport,
  getDefaultEnvironment,
} from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { main, target } from './scenario.mjs';

function transport(token) {
  if (target.url) {
    const headers = { Authorization: `Bearer ${token}` };
    return new StreamableHTTPClientTransport(new URL(target.url), { requestInit: { headers } });
  }
  const [command, ...args] = target.command;
  const env = { ...getDefaultEnvironment(), ...target.env };
  return new StdioClientTransport({ command, args, env });
}

/** This generation tells the negotiated version to its transport only. */
function recordVersion(inner) {
  const seen = {};
  const tell = inner.setProtocolVersion?.bind(inner);
  inner.setProtocolVersion = (version) => {
    seen.version = version;
    tell?.(version);
  };
  return seen;
}

await main({
  async connect(token) {
    const client = new Client({ name: 'client-suite-ts-v1', version: '1.0.0' });
    const inner = transport(token);
    const seen = recordVersion(inner);
    await client.connect(inner);
    return {
      version: seen.version,
      listTools: async () => (await client.listTools()).tools,
      callTool: (name, args) => client.callTool({ name, arguments: args }),
      readResource: (uri) => client.readResource({ uri }),
      follow: async (uri, told) => {
        client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
          told(params.uri);
        });
        await client.subscribeResource({ uri });
        return () => client.unsubscribeResource({ uri });
      },
      close: () => client.close(),
    };
  },
});
