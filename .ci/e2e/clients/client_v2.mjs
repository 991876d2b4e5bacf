// The official TypeScript client, second generation (@modelcontextprotocol/client), with its own
// validation of structured content against the declared output schemas.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport, getDefaultEnvironment } from '@modelcontextprotocol/client/stdio';

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

await main({
  async connect(token) {
    const client = new Client(
      { name: 'client-suite-ts-v2', version: '1.0.0' },
      { versionNegotiation: { mode: target.mode } },
    );
    await client.connect(transport(token));
    return {
      version: client.getNegotiatedProtocolVersion(),
      listTools: async () => (await client.listTools()).tools,
      callTool: (name, args) => client.callTool({ name, arguments: args }),
      readResource: (uri) => client.readResource({ uri }),
      follow: async (uri, told) => {
        client.setNotificationHandler('notifications/resources/updated', ({ params }) => {
          told(params.uri);
        });
        if (target.version >= '2026') {
          const stream = await client.listen({ resourceSubscriptions: [uri] });
          return () => stream.close();
        }
        await client.subscribeResource({ uri });
        return () => client.unsubscribeResource({ uri });
      },
      close: () => client.close(),
    };
  },
});
