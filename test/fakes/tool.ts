// A stub of a vendor's command-line tool: an executable of that name in a temporary folder (put `folder` first in PATH)
// that answers by its arguments from a table, and misbehaves when it is told to, from the next call on. It is a shell
// script, so that a call takes a few milliseconds. What it plays lies in files, so that it can be changed at any time,
// by another process too: `behaviourFile` holds one word of `behaviours`.
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * answer: as the table says · hang: never · ignoreTerm: never, and no SIGTERM, SIGINT or SIGHUP ends it · flood: 5 MB
 * on stdout · floodErrors: 5 MB on stderr, then as the table says · complain: a warning on stderr, then as the table
 * says · fail: exit 9 without a word · crash: ended by SIGSEGV · cut: half of the answer, then ended by SIGKILL ·
 * holdPipe: as the table says, but a child that it leaves behind keeps its pipes open · escape: the same with a child
 * in a session of its own, which no kill of the group reaches
 */
// biome-ignore format: a list to read, not a column
export const behaviours = [
  'answer', 'hang', 'ignoreTerm', 'flood', 'floodErrors', 'complain', 'fail', 'crash', 'cut', 'holdPipe', 'escape',
] as const;
export type Behaviour = (typeof behaviours)[number];

export const FLOOD_BYTES = 5 * 1024 * 1024;
/** Exit code of a call that the table has no row for. */
export const NO_ANSWER = 64;

export interface ToolRow {
  /** All arguments with one blank between; `*` stands for any text. The first row that matches is played. */
  readonly args: string;
  readonly stdout?: string | Uint8Array;
  readonly stderr?: string | Uint8Array;
  readonly exitCode?: number;
  readonly delayMs?: number;
}

export interface FakeTool {
  readonly name: string;
  readonly path: string;
  /** The folder of the executable, for PATH. */
  readonly folder: string;
  readonly behaviourFile: string;
  /** Replaces the table; calls that run already end with the one before. */
  answer(rows: readonly ToolRow[]): void;
  behave(behaviour: Behaviour): void;
  /** Removes the executable; `restore` brings it back. */
  vanish(): void;
  /** Nobody may run it, not even root, until `restore`. */
  deny(): void;
  restore(): void;
  /** Arguments of every call so far, in order. */
  calls(): readonly string[];
  /** Those that the table had no row for. */
  unanswered(): readonly string[];
  /** Pids of its calls, and of what they left behind, that still run. */
  alive(): readonly number[];
  /** Ends what still runs of it and removes its files. */
  close(): void;
}

/** With `folder` of another stub both stand on one PATH, and closing that one removes this one as well. */
export function createFakeTool(
  name: string,
  rows: readonly ToolRow[] = [],
  options: { readonly folder?: string } = {},
): FakeTool {
  const isOwner = options.folder === undefined;
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'flopd-tool-'));
  const path = join(folder, name);
  const state = join(folder, `.${name}`);
  const file = (part: string): string => join(state, part);
  const behaviourFile = file('behaviour');
  let revision = 0;
  mkdirSync(state, { recursive: true });
  for (const part of ['calls', 'unanswered', 'processes']) appendFileSync(file(part), '');

  function replace(target: string, text: string | Uint8Array, mode = 0o644): void {
    writeFileSync(`${target}.new`, text, { mode });
    renameSync(`${target}.new`, target);
  }
  function lines(part: string): readonly string[] {
    // Nothing is known any more of a stub that was closed.
    return existsSync(state) ? readFileSync(file(part), 'utf8').split('\n').slice(0, -1) : [];
  }
  const tool: FakeTool = {
    name,
    path,
    folder,
    behaviourFile,
    answer(next) {
      revision += 1;
      const cases = next.map((row, index) => {
        const base = file(`${revision}-${index}`);
        writeFileSync(`${base}.out`, row.stdout ?? '');
        writeFileSync(`${base}.err`, row.stderr ?? '');
        const delay = row.delayMs === undefined ? '' : `sleep ${row.delayMs / 1000}; `;
        return `${pattern(row.args)}) ${delay}row=${quote(base)}; code=${row.exitCode ?? 0} ;;`;
      });
      replace(file('table'), `case "$*" in\n${cases.join('\n')}\n*) row= ;;\nesac\n`);
    },
    behave: (behaviour) => replace(behaviourFile, `${behaviour}\n`),
    vanish: () => rmSync(path, { force: true }),
    deny: () => chmodSync(path, 0o000),
    restore: () => replace(path, program(state), 0o755),
    calls: () => lines('calls'),
    unanswered: () => lines('unanswered'),
    alive: () => lines('processes').flatMap((line) => livePid(line) ?? []),
    close() {
      tool.vanish();
      for (const pid of tool.alive()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended meanwhile.
        }
      }
      rmSync(isOwner ? folder : state, { recursive: true, force: true });
    },
  };
  tool.answer(rows);
  tool.behave('answer');
  tool.restore();
  return tool;
}

/** The pid of a line of /proc/PID/stat if that process still runs; the start time tells it from a later one. */
function livePid(line: string): number | null {
  const pid = Number(/^\d+/.exec(line)?.[0]);
  try {
    const now = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, start] = [statField(now, 3), statField(now, 22)];
    return state !== 'Z' && state !== 'X' && start === statField(line, 22) ? pid : null;
  } catch {
    return null;
  }
}

/** Fields count from 1; the second, the name, may hold anything. */
const statField = (stat: string, field: number): string | undefined =>
  stat
    .slice(stat.lastIndexOf(')') + 2)
    .trimEnd()
    .split(' ')[field - 3];

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** A pattern of the shell in which `*` alone is special. */
const pattern = (args: string): string =>
  args
    .split('*')
    .map((part) => (part === '' ? '' : quote(part)))
    .join('*') || "''";

/** Short appends of several calls at once do not mix. */
function program(state: string): string {
  return `#!/bin/sh
state=${quote(state)}
note() { if read -r line <"/proc/$1/stat"; then printf '%s\\n' "$line" >>"$state/processes"; fi; }
note $$
printf '%s\\n' "$*" >>"$state/calls"
read -r behaviour <"$state/behaviour"
flood() { yes 'a line of a tool that does not stop' | head -c ${FLOOD_BYTES}; }
case $behaviour in
hang) exec sleep 1000 ;;
ignoreTerm) trap '' TERM INT HUP; sleep 1000 & note $!; while :; do wait; done ;;
flood) flood; exit 0 ;;
floodErrors) flood >&2 ;;
complain) echo 'warning: something that nobody needs to know' >&2 ;;
fail) exit 9 ;;
crash) kill -SEGV $$ ;;
holdPipe) sleep 1000 & note $! ;;
escape) setsid sleep 1000 & note $! ;;
esac
. "$state/table"
if [ -z "$row" ]; then
  printf '%s\\n' "$*" >>"$state/unanswered"
  echo "stub of a tool: no answer for: $*" >&2
  exit ${NO_ANSWER}
fi
if [ "$behaviour" = cut ]; then
  size=$(wc -c <"$row.out")
  head -c $((size / 2)) "$row.out"
  kill -KILL $$
fi
if [ -s "$row.err" ]; then cat "$row.err" >&2; fi
if [ -s "$row.out" ]; then cat "$row.out"; fi
exit "$code"
`;
}
