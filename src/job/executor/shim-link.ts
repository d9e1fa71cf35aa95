// The conversation with shims over Unix sockets: the door at which new shims announce themselves, the way to the
// door of one that runs, and the lines both say (native/shim/shim.c). Knows nothing of jobs.
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';

/** Longest path that a socket address carries, with its terminator. */
const ADDRESS_BYTES_MAX = 107;
/** A shim's line is far shorter; a peer that sends more without a line end is none. */
const LINE_BYTES_MAX = 4096;
/** Shims that may wait at the door; the kernel caps it at net.core.somaxconn, and a shim tries again. */
const BACKLOG = 4096;

export type ShimLine =
  | { readonly kind: 'hello'; readonly name: string; readonly shimPid: number }
  | { readonly kind: 'started'; readonly pid: number; readonly startedAtMs: number }
  | { readonly kind: 'output'; readonly stdoutBytes: number; readonly stderrBytes: number }
  | { readonly kind: 'offered'; readonly path: string }
  | { readonly kind: 'ended' }
  | { readonly kind: 'refused'; readonly name: string; readonly errno: number };

const HELLO = /^hello (\S+) (\d+)$/;
const STARTED = /^started pid=(\d+) wall=(\d+)$/;
const OFFERED = /^offered pid=([1-9]\d*) fd=(\d+)$/;
const REFUSED = /^refused (\S+) (\d+)$/;
const OUTPUT = /^output stdout=(\d+) stderr=(\d+)$/;

/** Null for a line that this build does not know: a newer shim may say more. */
export function parseShimLine(line: string): ShimLine | null {
  if (line === 'ended') return { kind: 'ended' };
  const output = OUTPUT.exec(line);
  if (output !== null)
    return { kind: 'output', stdoutBytes: Number(output[1]), stderrBytes: Number(output[2]) };
  const started = STARTED.exec(line);
  if (started !== null) return { kind: 'started', pid: Number(started[1]), startedAtMs: Number(started[2]) };
  const hello = HELLO.exec(line);
  if (hello !== null) return { kind: 'hello', name: hello[1] ?? '', shimPid: Number(hello[2]) };
  const offered = OFFERED.exec(line);
  if (offered !== null) return { kind: 'offered', path: `/proc/${offered[1]}/fd/${offered[2]}` };
  const refused = REFUSED.exec(line);
  if (refused !== null) return { kind: 'refused', name: refused[1] ?? '', errno: Number(refused[2]) };
  return null;
}

/** Calls `onLine` for each line of the socket; a peer that sends none within LINE_BYTES_MAX is cut off. */
export function readLines(socket: Socket, onLine: (line: ShimLine) => void): void {
  let rest = '';
  socket.on('data', (chunk: Buffer) => {
    const text = rest + chunk.toString('latin1');
    let from = 0;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', from)) {
      const line = parseShimLine(text.slice(from, at));
      from = at + 1;
      if (line !== null) onLine(line);
    }
    rest = text.slice(from);
    if (rest.length > LINE_BYTES_MAX) socket.destroy();
  });
}

/** A path that fits into a socket address: the path itself, or by way of a descriptor of its folder. */
export function addressOf(path: string): { address: string; release: () => void } {
  if (Buffer.byteLength(path) <= ADDRESS_BYTES_MAX) return { address: path, release() {} };
  const fd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  return { address: `/proc/self/fd/${fd}/${basename(path)}`, release: () => closeSync(fd) };
}

/** Connects to a running shim. `onFailed` gets the errno name; neither is called before this returns. */
export function connectToShim(
  folder: string,
  onConnected: (socket: Socket) => void,
  onFailed: (errno: string) => void,
): void {
  let way: ReturnType<typeof addressOf>;
  try {
    way = addressOf(join(folder, 'control'));
  } catch (error) {
    queueMicrotask(() => onFailed(errnoOf(error) ?? 'EIO'));
    return;
  }
  const socket = netConnect(way.address);
  socket.unref();
  const failed = (error: Error): void => {
    way.release();
    onFailed(errnoOf(error) ?? 'EIO');
  };
  socket.once('error', failed);
  socket.once('connect', () => {
    way.release();
    socket.off('error', failed);
    onConnected(socket);
  });
}

export interface Door {
  close(): void;
}

/** Opens the socket `path` (0600) at which shims announce themselves. Throws the system's error. */
export function openDoor(path: string, onShim: (socket: Socket) => void, log: Log): Door {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const way = addressOf(path);
  const server: Server = createServer({ allowHalfOpen: false }, (socket) => {
    socket.unref();
    onShim(socket);
  });
  server.on('error', (error) => {
    log.error({ err: error, path }, 'the socket for shims failed');
  });
  server.listen({ path: way.address, backlog: BACKLOG });
  server.unref();
  return {
    close() {
      server.close();
      way.release();
    },
  };
}
