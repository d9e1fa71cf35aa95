// The agent's side of native/shim/nest.c: the sockets at which shims announce themselves, and the nest that forks
// them. One per folder of attempts. A nest that dies is replaced at the next start; its shims do not notice.
import { spawn as nodeSpawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Clock, Timer } from '../../base/clock.ts';
import { every } from '../../base/clock.ts';
import { errnoOf } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import type { Native } from '../../native.ts';
import { type Door, openDoor, readLines, type ShimLine } from './shim-link.ts';

/** A visitor at the door says who it is within this time. */
const SILENCE_MS = 5000;
/** A nest that has not come to the door after this time is replaced. */
const HATCH_MS = 5000;
const REAP_PERIOD_MS = 1000;
/** Name of the first socket beside the folders of the attempts; nest.c knows it. */
const DOOR = 'announce';
/** libuv lets in one visitor a socket and turn of the loop: with one door, shims would wait in line at a busy agent. */
const DOORS = 8;
const NEST = 'nest';

export interface NestOptions {
  /** Folder of the attempts' folders. */
  readonly folder: string;
  readonly shimPath: string;
  readonly native: Native | null;
  readonly clock: Clock;
  readonly log: Log;
  /** A shim has said whose it is; returns who hears its next lines, or null to send it away. */
  readonly onShim: (name: string, socket: Socket) => ((line: ShimLine) => void) | null;
  /** A nest was started: shims will be its children. */
  readonly onHatched?: (pid: number) => void;
  /** No shim could be started for this attempt. */
  readonly onRefused: (name: string, errno: string) => void;
}

export interface Nest {
  /** Starts a shim for the attempt's folder of this name. Whether it comes is seen at the door. */
  start(name: string, bootId: string): void;
  close(): void;
}

const nameOfDoor = (at: number): string => (at === 0 ? DOOR : `${DOOR}.${at}`);

/** Name of the socket at which the shim of an attempt announces itself: always the same for the same attempt. */
export function doorOf(name: string): string {
  let sum = 0;
  for (let at = 0; at < name.length; at++) sum += name.charCodeAt(at);
  return nameOfDoor(sum % DOORS);
}

/** Opens the doors. Throws the system's error. */
export function createNest(options: NestOptions): Nest {
  const { folder, shimPath, native, clock, log } = options;
  /** Visitors that have not said who they are, and since when (monotonic ms). */
  const strangers = new Map<Socket, number>();
  /** Orders for a nest that is still to come. */
  const waiting = new Map<string, string>();
  let nest: Socket | null = null;
  let hatchingSinceMs: number | null = null;
  let unreaped = false;
  let unsaid = '';
  const doors: Door[] = [];
  try {
    for (let at = 0; at < DOORS; at++) doors.push(openDoor(join(folder, nameOfDoor(at)), welcome, log));
  } catch (error) {
    for (const door of doors) door.close();
    throw error;
  }
  const watch: Timer = every(clock, REAP_PERIOD_MS, look);

  function welcome(socket: Socket): void {
    strangers.set(socket, clock.monotonicMs());
    const forget = (): void => {
      strangers.delete(socket);
    };
    socket.on('error', forget);
    socket.on('close', forget);
    let hear: ((line: ShimLine) => void) | null = null;
    readLines(socket, (line) => {
      if (hear !== null) {
        hear(line);
        return;
      }
      forget();
      if (line.kind === 'hello')
        hear = line.name === NEST ? adoptNest(socket) : options.onShim(line.name, socket);
      if (hear === null) socket.destroy();
    });
  }

  function adoptNest(socket: Socket): (line: ShimLine) => void {
    nest?.destroy();
    nest = socket;
    hatchingSinceMs = null;
    socket.on('close', () => {
      unreaped = true;
      if (nest === socket) nest = null;
    });
    const orders = [...waiting];
    waiting.clear();
    for (const [name, bootId] of orders) say(socket, name, bootId);
    return (line) => {
      if (line.kind === 'refused') options.onRefused(line.name, errorName(line.errno));
    };
  }

  /** One write for all the starts of a turn: each write wakes the nest, which costs more than the text. */
  function say(socket: Socket, name: string, bootId: string): void {
    if (unsaid === '')
      queueMicrotask(() => {
        socket.write(unsaid);
        unsaid = '';
      });
    unsaid += `start ${name} ${bootId}\n`;
  }

  function hatch(): void {
    hatchingSinceMs = clock.monotonicMs();
    if (native !== null) {
      const pid = native.spawn(shimPath, [shimPath, '--nest', folder], []);
      if (pid < 0) queueMicrotask(() => refuseAll(errorName(-pid)));
      else options.onHatched?.(pid);
      return;
    }
    const child = nodeSpawn(shimPath, ['--nest', folder], {
      detached: true,
      stdio: 'ignore',
      env: {},
      cwd: '/',
    });
    child.on('error', (error) => refuseAll(errnoOf(error) ?? 'EIO'));
    child.unref();
    if (child.pid !== undefined) options.onHatched?.(child.pid);
  }

  function refuseAll(errno: string): void {
    hatchingSinceMs = null;
    const names = [...waiting.keys()];
    waiting.clear();
    for (const name of names) options.onRefused(name, errno);
  }

  function look(): void {
    const nowMs = clock.monotonicMs();
    for (const [socket, sinceMs] of strangers) if (nowMs - sinceMs > SILENCE_MS) socket.destroy();
    if (hatchingSinceMs !== null && nowMs - hatchingSinceMs > HATCH_MS) {
      log.warn({ folder }, 'the nest of job shims does not answer; it is replaced');
      unreaped = true;
      if (waiting.size > 0) hatch();
      else hatchingSinceMs = null;
    }
    if (unreaped && native !== null) unreaped = native.reap() > (nest === null ? 0 : 1);
  }

  return {
    start(name, bootId) {
      if (nest !== null) {
        say(nest, name, bootId);
        return;
      }
      waiting.set(name, bootId);
      if (hatchingSinceMs === null) hatch();
    },
    close() {
      watch.cancel();
      for (const door of doors) door.close();
      nest?.destroy();
      for (const socket of strangers.keys()) socket.destroy();
    },
  };
}

/** `ENOENT` for 2. Not by getSystemErrorName, which knows only what libuv can meet. */
export function errorName(errno: number): string {
  for (const [name, number] of Object.entries(constants.errno)) if (number === errno) return name;
  return `errno ${errno}`;
}
