// A scheduler's store of files alone, for tests of the job room: the real routes over a real socket, with a key that
// opens everything, and a door that can be shut or made slow.
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import type { FileStore } from '../../../src/files/store.ts';
import type { TransferAccess } from '../../../src/files/transfer.ts';
import { createFileRoutes } from '../../../src/scheduler/file-routes.ts';
import { createFileTickets } from '../../../src/scheduler/file-tickets.ts';
import { createHttpServer } from '../../../src/scheduler/http.ts';
import { createStore, digestOf, pieces } from '../../unit/files/parts.ts';

export interface StoreServer {
  readonly store: FileStore & { readonly folder: string };
  readonly access: TransferAccess;
  /** Requests so far, as `METHOD /path`. */
  readonly requests: string[];
  /** What the next requests do instead of being answered: nothing, or a cut after so many bytes; null: answered. */
  trouble: 'silent' | 'refused' | number | null;
  has(text: string): Promise<void>;
}

export async function startStoreServer(): Promise<StoreServer> {
  const store = createStore();
  const log = createSilentLog();
  const routes = createFileRoutes({
    store,
    tickets: createFileTickets(),
    access: { authenticate: () => ({ user: 'mei', role: 'submitter', tokenId: null }) },
    queue: { job: () => null },
  });
  const requests: string[] = [];
  const handlers = {
    async handle(...[request, response]: Parameters<Parameters<typeof createHttpServer>[0]['handle']>) {
      const [path = '', query] = (request.url ?? '').split('?');
      requests.push(`${request.method} ${path}`);
      const { trouble } = result;
      if (trouble === 'silent') return;
      if (trouble === 'refused') {
        response.destroy();
        return;
      }
      if (trouble !== null) {
        let left = trouble;
        const write = response.write.bind(response) as (bytes: Uint8Array) => boolean;
        response.write = ((bytes: Uint8Array) => {
          const sent = write(bytes.subarray(0, left));
          left -= bytes.length;
          if (left <= 0) response.destroy();
          return sent;
        }) as typeof response.write;
      }
      await routes.handle(request, response, path, new URLSearchParams(query));
    },
    upgrade() {},
    answered() {},
    clock: createClock(),
    log,
    refusals: { refused() {} },
    tls: null,
  };
  const server: Server = createHttpServer(handlers);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const result: StoreServer = {
    store,
    access: {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      headers: () => ({ authorization: 'Bearer any' }),
    },
    requests,
    trouble: null,
    async has(text) {
      await store.put(digestOf(text), { offset: 0, sizeBytes: Buffer.byteLength(text) }, pieces(text));
    },
  };
  return result;
}
