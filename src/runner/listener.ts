// The runner's door: a Unix socket that its agent's user may open, and whose peers are asked of the kernel.
import { chmodSync, chownSync, lstatSync, mkdirSync, statSync, unlinkSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname, resolve as resolvePath } from 'node:path';
import { describeError, errnoOf, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { readText } from '../base/text-file.ts';
import type { Native } from '../native.ts';

/** One agent, its connections for files (a few for each job that is given or brings some), and some on their way. */
const CONNECTIONS_MAX = 256;
const LOG_AT_MOST_EVERY_MS = 60_000;
/** What the path of a Unix socket may be long. */
const PATH_BYTES_MAX = 107;

export interface SocketUser {
  readonly uid: number;
  readonly gid: number;
}

export interface ListenerParts {
  readonly path: string;
  /** The agent's user; null: the runner's own. */
  readonly user: SocketUser | null;
  /** Null: the socket's mode alone keeps others out. */
  readonly native: Native | null;
  readonly connected: (socket: Socket) => void;
  readonly monotonicMs: () => number;
  readonly log: Log;
}

export interface Listener {
  close(): Promise<void>;
}

/** Rejects with RUNNER_SOCKET where it cannot listen there. */
export async function listenOnSocket(parts: ListenerParts): Promise<Listener> {
  const { path, user, native, log } = parts;
  const own = process.getuid?.() ?? -1;
  const allowed = new Set([own, 0, ...(user === null ? [] : [user.uid])]);
  let refusedAtMs = Number.NEGATIVE_INFINITY;
  let refused = 0;

  const server = createServer((socket) => {
    const uid = peerOf(socket, native);
    if (uid !== null && !allowed.has(uid)) {
      socket.on('error', () => {});
      socket.destroy();
      refuse(uid);
      return;
    }
    parts.connected(socket);
  });
  server.maxConnections = CONNECTIONS_MAX;

  function refuse(uid: number): void {
    refused += 1;
    const nowMs = parts.monotonicMs();
    if (nowMs - refusedAtMs < LOG_AT_MOST_EVERY_MS) return;
    refusedAtMs = nowMs;
    log.warn({ code: 'RUNNER_PEER', uid, refused }, "a connection was refused: not the agent's user");
  }

  try {
    await makeRoom(path);
    const mask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(path, resolve);
      });
    } finally {
      process.umask(mask);
    }
    if (user !== null && own === 0) {
      chownSync(path, 0, user.gid);
      chmodSync(path, 0o660);
    }
  } catch (error) {
    server.close();
    if (error instanceof Fault) throw error;
    throw new Fault('RUNNER_SOCKET', `cannot listen on ${path}: ${describeError(error)}`, {
      field: 'runner.socket',
      remedy: 'name another with --runner PATH, in a folder that this user may write to',
      cause: error,
    });
  }
  server.on('error', (error) => log.error({}, `the runner's socket: ${describeError(error)}`));
  if (native === null) log.warn({}, "peers are told by the socket's mode alone: the native addon is missing");

  const closed = user === null ? null : closedFolder(path, user);
  if (closed !== null)
    log.warn(
      { code: 'RUNNER_FOLDER', folder: closed, uid: user?.uid },
      `the agent's user cannot enter ${closed}, where the socket lies; open it for that user (chmod o+x), or name a socket elsewhere with --runner PATH`,
    );

  return {
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

/** Its folder, and nothing in its place but a socket that nobody holds any more (the state folder is locked). */
async function makeRoom(path: string): Promise<void> {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX)
    throw new Fault(
      'RUNNER_SOCKET',
      `the path of a socket is at most ${PATH_BYTES_MAX} bytes long: ${path}`,
      {
        field: 'runner.socket',
        remedy: 'name a shorter one with --runner PATH',
      },
    );
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  try {
    if (!lstatSync(path).isSocket()) throw new Error('something that is no socket is in its place');
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

/**
 * The outermost folder on the way to the socket that this user surely cannot enter, or null. Where its group may, nobody
 * can tell from the mode alone: the user may be one of the group, or named by an access list.
 */
function closedFolder(path: string, { uid, gid }: SocketUser): string | null {
  if (uid === 0) return null;
  const folders: string[] = [];
  for (let folder = dirname(resolvePath(path)); ; folder = dirname(folder)) {
    folders.unshift(folder);
    if (folder === dirname(folder)) break;
  }
  const isClosed = (folder: string): boolean => {
    const { mode, ...owner } = statSync(folder);
    if (owner.uid === uid) return (mode & 0o100) === 0;
    return (mode & (owner.gid === gid ? 0o010 : 0o011)) === 0;
  };
  try {
    return folders.find(isClosed) ?? null;
  } catch {
    return null; // what this process cannot look at, it says nothing about
  }
}

/** User of the process at the other end; null where nobody can tell. */
function peerOf(socket: Socket, native: Native | null): number | null {
  const { fd } = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle ?? {};
  if (native === null || fd === undefined || fd < 0) return native === null ? null : -1;
  return native.peerUser(fd);
}

/** A user by name or number. Throws RUNNER_USER. */
export function findUser(name: string, passwdFile = '/etc/passwd'): SocketUser {
  for (const line of (readText(passwdFile) ?? '').split('\n')) {
    const [known, , uid, gid] = line.split(':');
    if ((known === name || uid === name) && uid !== undefined && gid !== undefined)
      return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Fault('RUNNER_USER', `this host has no user ${name}`, {
    field: 'runner.user',
    remedy: 'name the user that the agent runs as with --runner-user',
  });
}
