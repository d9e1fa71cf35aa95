// The agent's end of a command beside a job (native/shim/shim.c), as far as tests of the shim need it.
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

export interface EnterRequest {
  readonly argv: readonly string[];
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly rows?: number;
  readonly columns?: number;
}

export interface Ended {
  readonly how: number;
  readonly value: number;
  readonly step: string;
}

export interface Entered {
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly pid: Promise<number>;
  /** Null when the connection closed without a last word. */
  readonly ended: Promise<Ended | null>;
  readonly credited: () => number;
  say(kind: string, payload: Buffer): void;
  hangUp(): void;
}

export function frame(kind: string, payload: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(kind, 0, 'latin1');
  head.writeUInt32LE(payload.length, 1);
  return Buffer.concat([head, payload]);
}

export function requestOf({ argv, env = [], cwd = '', rows = 0, columns = 0 }: EnterRequest): Buffer {
  const fields = ['flopd-enter', '1', String(rows), String(columns), cwd, String(argv.length), ...argv];
  return Buffer.from([...fields, String(env.length), ...env, 'end', ''].join('\0'));
}

let entries = 0;

/** Has the shim of `folder` run a command beside its job. */
export function enter(folder: string, request: Buffer): Entered {
  const name = `enter-${++entries}`;
  const output: Record<string, Buffer[]> = { o: [], e: [] };
  let credited = 0;
  let agent: Socket | null = null;
  let tellPid: (pid: number) => void = () => {};
  let tellEnd: (end: Ended | null) => void = () => {};
  const pid = new Promise<number>((resolve) => {
    tellPid = resolve;
  });
  const ended = new Promise<Ended | null>((resolve) => {
    tellEnd = resolve;
  });
  const waiting: Buffer[] = [frame('R', request)];
  const server: Server = createServer((socket) => {
    server.close();
    agent = socket;
    for (const bytes of waiting) socket.write(bytes);
    let rest = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32LE(1)) {
        const kind = rest.toString('latin1', 0, 1);
        const payload = rest.subarray(5, 5 + rest.readUInt32LE(1));
        rest = rest.subarray(5 + payload.length);
        if (kind === 'o' || kind === 'e') output[kind]?.push(payload);
        if (kind === 'c') credited += payload.readUInt32LE(0);
        if (kind === 'p') tellPid(payload.readUInt32LE(0));
        if (kind === 'x')
          tellEnd({
            how: payload[0] ?? -1,
            value: payload.readInt32LE(1),
            step: payload.toString('latin1', 5),
          });
      }
    });
    socket.on('error', () => {});
    socket.on('close', () => tellEnd(null));
  });
  server.listen(join(folder, name), () => {
    const control = connect(join(folder, 'control'), () => control.end(`enter ${name}\n`));
    control.on('error', () => tellEnd(null));
    control.resume();
  });
  const text = (kind: string) => Buffer.concat(output[kind] ?? []).toString('latin1');
  return {
    stdout: () => text('o'),
    stderr: () => text('e'),
    pid,
    ended,
    credited: () => credited,
    say(kind, payload) {
      if (agent === null) waiting.push(frame(kind, payload));
      else agent.write(frame(kind, payload));
    },
    hangUp: () => agent?.destroy(),
  };
}
