// A command beside a job, through the job's shim: opens a socket in the attempt's folder, has the shim connect to it,
// and speaks frames with it. One connection, one command. The frames, and what the shim does with them, are described
// in native/shim/shim.c.
import { randomBytes } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import { describeError } from '../../base/fault.ts';
import type { EnterEnd, EnterEvents, Entered, EnterRequest } from './executor.ts';
import { errorName } from './nest.ts';
import { addressOf } from './shim-link.ts';

/** The shim connects within this time, however busy the host is. */
const CONNECT_DEADLINE_MS = 20_000;
const HEADER_BYTES = 5;
/** Longest frame of either side. */
export const ENTER_FRAME_BYTES_MAX = 65_536;

const none: Entered = { input() {}, resize() {}, signal() {}, pause() {}, resume() {}, close() {} };

/**
 * Runs a command beside the job in `folder`; `tellShim` says a line to its shim and answers false where there is none.
 * Failures come through `events.ended`, never before this returns.
 */
export function enterJob(
  folder: string,
  request: EnterRequest,
  events: EnterEvents,
  tellShim: (line: string) => boolean,
  clock: Clock,
): Entered {
  const name = `enter-${randomBytes(6).toString('hex')}`;
  const path = join(folder, name);
  let socket: Socket | null = null;
  let isOver = false;
  let isPaused = false;
  /** Frames for a shim that has not connected yet: bounded by the window of input. */
  const early: Uint8Array[] = [frame('R', requestBytes(request))];

  const server = createServer({ allowHalfOpen: false });
  server.unref();
  const deadline = clock.after(CONNECT_DEADLINE_MS, () => lose('its shim did not answer'));

  function closeDoor(): void {
    deadline.cancel();
    server.close();
    try {
      unlinkSync(path);
    } catch {
      // Gone with the server.
    }
  }

  function finish(end: EnterEnd): void {
    if (isOver) return;
    isOver = true;
    closeDoor();
    socket?.destroy();
    events.ended(end);
  }

  function lose(detail: string): void {
    finish({ kind: 'lost', detail });
  }

  function send(bytes: Uint8Array): void {
    if (isOver) return;
    if (socket === null) early.push(bytes);
    else socket.write(bytes);
  }

  function take(kind: string, payload: Buffer): void {
    switch (kind) {
      case 'p':
        if (payload.length === 4) events.started(payload.readUInt32LE(0));
        return;
      case 'o':
        events.output('stdout', payload);
        return;
      case 'e':
        events.output('stderr', payload);
        return;
      case 'c':
        if (payload.length === 4) events.inputTaken(payload.readUInt32LE(0));
        return;
      case 'x':
        finish(parseEnterEnd(payload));
        return;
      default:
        // A newer shim may say more.
        return;
    }
  }

  server.on('error', (error) => lose(`no socket for its shim could be opened (${describeError(error)})`));
  server.on('connection', (connection) => {
    if (isOver || socket !== null) {
      connection.destroy();
      return;
    }
    socket = connection;
    closeDoor();
    connection.unref();
    connection.on('error', () => {});
    connection.on('close', () => lose('the job has ended, and the command with it'));
    if (isPaused) connection.pause();
    const reader = createEnterReader(take);
    connection.on('data', (bytes: Buffer) => {
      if (!reader.push(bytes)) lose('its shim sent what is no frame');
    });
    for (const bytes of early.splice(0)) connection.write(bytes);
  });
  try {
    const way = addressOf(path);
    server.listen({ path: way.address });
    server.on('listening', () => {
      way.release();
      if (!isOver && !tellShim(`enter ${name}\n`)) lose('its shim cannot be reached at the moment');
    });
  } catch (error) {
    queueMicrotask(() => lose(describeError(error)));
    return none;
  }

  return {
    input: (bytes) => send(frame('i', bytes)),
    resize(rows, columns) {
      const payload = Buffer.alloc(4);
      payload.writeUInt16LE(rows, 0);
      payload.writeUInt16LE(columns, 2);
      send(frame('w', payload));
    },
    signal: (signal) => send(frame('s', Uint8Array.of(signal))),
    pause() {
      isPaused = true;
      socket?.pause();
    },
    resume() {
      isPaused = false;
      socket?.resume();
    },
    close() {
      if (isOver) return;
      isOver = true;
      closeDoor();
      socket?.destroy();
    },
  };
}

function frame(kind: string, payload: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  bytes.write(kind, 0, 'latin1');
  bytes.writeUInt32LE(payload.length, 1);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

function requestBytes({ command, terminal, environment }: EnterRequest): Buffer {
  const entries = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const { rows, columns } = terminal ?? { rows: 0, columns: 0 };
  const strings = [
    'flopd-enter',
    '1',
    rows,
    columns,
    '',
    command.length,
    ...command,
    entries.length,
    ...entries,
  ];
  return Buffer.from(`${[...strings, 'end'].join('\0')}\0`);
}

/** Takes frames in pieces of any size; `push` answers false for what can be none, and takes no more. */
export function createEnterReader(take: (kind: string, payload: Buffer) => void): {
  push(bytes: Buffer): boolean;
} {
  let rest: Buffer = Buffer.alloc(0);
  return {
    push(bytes) {
      rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
      let at = 0;
      while (rest.length - at >= HEADER_BYTES) {
        const length = rest.readUInt32LE(at + 1);
        if (length > ENTER_FRAME_BYTES_MAX) return false;
        const end = at + HEADER_BYTES + length;
        if (rest.length < end) break;
        take(String.fromCharCode(rest[at] ?? 0), rest.subarray(at + HEADER_BYTES, end));
        at = end;
      }
      rest = rest.subarray(at);
      return true;
    },
  };
}

/** The last word of a shim about a command; one that makes no sense is a loss. */
export function parseEnterEnd(payload: Buffer): EnterEnd {
  const value = payload.length >= 5 ? payload.readUInt32LE(1) : -1;
  if (payload[0] === 0 && value >= 0 && value <= 255) return { kind: 'exited', exitCode: value };
  if (payload[0] === 1 && value >= 1 && value <= 64) return { kind: 'signalled', signal: value };
  if (payload[0] === 2 && value >= 0)
    return {
      kind: 'failedToStart',
      step: payload.subarray(5).toString('latin1').slice(0, 64),
      errno: errorName(value),
    };
  return { kind: 'lost', detail: 'its shim told an end that this agent does not understand' };
}
