// A stranger at the scheduler's port: raw bytes over TCP or TLS, WebSocket frames as one likes to write them, and what
// came back. For what no honest client sends.
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';

const DEADLINE_MS = 30_000;

export interface Door {
  readonly host: string;
  readonly port: number;
  /** Authorities, PEM; null: without TLS. */
  readonly ca: string | null;
}

/** The port of a running scheduler, with the authority of its state directory. */
export function doorOf({ url, stateDir }: { readonly url: string; readonly stateDir: string }): Door {
  const { protocol, hostname, port } = new URL(url);
  const ca = protocol === 'https:' ? readFileSync(join(stateDir, 'scheduler', 'ca.pem'), 'utf8') : null;
  return { host: hostname, port: Number(port), ca };
}

export interface Stranger {
  readonly socket: Socket;
  send(bytes: string | Uint8Array): void;
  /** What came so far. */
  received(): Buffer;
  /** Resolves when the connection is closed, by whomever; rejects after 30 s. */
  readonly closed: Promise<Buffer>;
  end(): void;
}

/** Connects; with TLS, resolves after the handshake. */
export async function openStranger(door: Door): Promise<Stranger> {
  const { host, port, ca } = door;
  const socket = ca === null ? connect({ host, port }) : connectTls({ host, port, ca });
  const chunks: Buffer[] = [];
  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A reset is one of the ways to be refused.
  socket.on('error', () => {});
  const received = (): Buffer => Buffer.concat(chunks);
  const closed = new Promise<Buffer>((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`not closed within ${DEADLINE_MS} ms; received ${received().toString('latin1')}`));
    }, DEADLINE_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(received());
    });
  });
  closed.catch(() => {});
  await new Promise<void>((resolve, reject) => {
    socket.once(ca === null ? 'connect' : 'secureConnect', () => resolve());
    socket.once('close', () => reject(new Error('the connection was not taken')));
  });
  return {
    socket,
    send: (bytes) => void socket.write(bytes),
    received,
    closed,
    end: () => void socket.destroy(),
  };
}

/** A whole HTTP request, and the status of what comes back; 0 where the connection ends without one. */
export async function ask(door: Door, request: string | Uint8Array): Promise<number> {
  const stranger = await openStranger(door);
  stranger.send(request);
  const answer = (await stranger.closed).toString('latin1');
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0);
}

/** The request that opens the link of an agent. */
export function upgradeRequest({ host, port }: Door, more: readonly string[] = []): string {
  return [
    'GET /v1/link HTTP/1.1',
    `Host: ${host}:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol: flopd.v1',
    ...more,
    '\r\n',
  ].join('\r\n');
}

/** Connects as an agent does and waits for the scheduler's challenge. */
export async function openLink(door: Door, more: readonly string[] = []): Promise<Stranger> {
  const stranger = await openStranger(door);
  stranger.send(upgradeRequest(door, more));
  await new Promise<void>((resolve, reject) => {
    const look = (): void => {
      if (!stranger.received().includes('"challenge"')) return;
      stranger.socket.off('data', look);
      resolve();
    };
    stranger.socket.on('data', look);
    stranger.closed.then(
      (bytes) => reject(new Error(`closed before the challenge: ${bytes.toString('latin1')}`)),
      reject,
    );
  });
  return stranger;
}

/** A frame as a client sends it. `first`: FIN, reserved bits and opcode; the mask is zero, so that bytes stay readable. */
export function frame(first: number, payload: Uint8Array | string = '', isMasked = true): Buffer {
  const bytes = Buffer.from(payload as Uint8Array);
  const mask = isMasked ? 0x80 : 0;
  const length =
    bytes.length < 126
      ? Buffer.from([mask | bytes.length])
      : Buffer.from([mask | 126, bytes.length >> 8, bytes.length & 0xff]);
  return Buffer.concat([Buffer.from([first]), length, Buffer.alloc(isMasked ? 4 : 0), bytes]);
}

/** A frame that declares `bytes` of payload and brings none. */
export function declared(bytes: bigint): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64BE(bytes);
  return Buffer.concat([Buffer.from([0x82, 0x80 | 127]), length, Buffer.alloc(4)]);
}

/** The code of the close frame in what a server sent; null for none. */
export function closeCodeOf(received: Buffer): number | null {
  const start = received.indexOf('\r\n\r\n');
  for (let at = start + 4; at + 2 <= received.length; ) {
    const opcode = (received[at] ?? 0) & 0x0f;
    let length = (received[at + 1] ?? 0) & 0x7f;
    at += 2;
    if (length === 126) {
      length = received.readUInt16BE(at);
      at += 2;
    } else if (length === 127) {
      length = Number(received.readBigUInt64BE(at));
      at += 8;
    }
    if (opcode === 8) return length < 2 ? null : received.readUInt16BE(at);
    at += length;
  }
  return null;
}
