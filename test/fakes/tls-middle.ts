// Somebody in the middle of a TLS connection who has a certificate that the agent believes: ends its TLS, begins one of his
// own to the scheduler, and passes on every byte, or what `change` makes of it.

import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';

export interface TlsMiddle {
  readonly port: number;
  /** What came from the agent, each connection of its own. */
  readonly heard: Buffer[][];
  close(): Promise<void>;
}

export async function startTlsMiddle(options: {
  readonly certificate: string;
  readonly key: string;
  readonly authority: string;
  readonly schedulerPort: number;
}): Promise<TlsMiddle> {
  const { certificate, key, authority, schedulerPort } = options;
  const open = new Set<TLSSocket>();
  const heard: Buffer[][] = [];
  const server = createServer({ cert: certificate, key, minVersion: 'TLSv1.3' }, (agent) => {
    const said: Buffer[] = [];
    heard.push(said);
    const scheduler = connect({
      host: '127.0.0.1',
      port: schedulerPort,
      ca: authority,
      servername: 'localhost',
    });
    for (const [from, to] of [
      [agent, scheduler],
      [scheduler, agent],
    ] as const) {
      open.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        open.delete(from);
        to.end();
      });
    }
    agent.on('data', (bytes) => {
      said.push(bytes);
      scheduler.write(bytes);
    });
    scheduler.on('data', (bytes) => agent.write(bytes));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    heard,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
