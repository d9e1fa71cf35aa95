// Compiles one vendor's file with vendor-harness.c under AddressSanitizer and UndefinedBehaviorSanitizer, and plays a
// list of steps: scripts of the fake library, and commands (see vendor-harness.c).
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileFake, type FakeLibrary, linkFake, writeScript } from '../../fakes/vendor/build.ts';

export interface ListedDevice {
  readonly index: number;
  readonly id: string;
  readonly parent: string;
  readonly [fact: string]: unknown;
}

export interface ReadDevice {
  readonly id: string;
  readonly outcomes: readonly string[];
  readonly problem: string;
  /** Values by the names of `NUMBERS`, or why there is none. */
  readonly values: Readonly<Record<string, number | string>>;
  readonly found: readonly string[];
  readonly signals: Readonly<Record<string, number>>;
  readonly processes: string | readonly (readonly [number, number | null])[];
  readonly links: readonly (readonly [string, string, number, number])[];
}

/** The answer of a command: those of its fields that it has. */
export interface Answer {
  readonly isOpen: boolean;
  readonly missing: boolean;
  readonly library: string;
  readonly driver: string;
  readonly problem: string;
  readonly outcome: string;
  readonly code: number;
  readonly waits: number;
  readonly ms: number;
  readonly devices: readonly (ListedDevice & ReadDevice)[];
  readonly events: readonly Readonly<Record<string, string | number>>[];
}

/** A command, or the lines of a script. */
export type Step = string | readonly string[];

export interface Harness {
  /** Answers to the commands `open`, `list`, `round` and `wait`, in order. */
  play(steps: readonly Step[], without?: readonly string[], environment?: Record<string, string>): Answer[];
  readonly folder: string;
  remove(): void;
}

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const native = here('../../../native');
const answering = /^(?:open|list|round|wait)\b/;

export function createHarness(vendor: string, fake: FakeLibrary, variable: string): Harness {
  const folder = mkdtempSync(join(tmpdir(), `flopd-${vendor}-`));
  const program = join(folder, 'harness');
  const own = readdirSync(join(native, 'vendor')).filter(
    (name) => name.endsWith('.c') && (name === `${vendor}.c` || name.startsWith(`${vendor}-`)),
  );
  // The kernel's messages belong to the crew.
  const sources = own
    .filter((name) => name !== `${vendor}-xid.c`)
    .map((name) => join(native, 'vendor', name));
  execFileSync(process.env.CC ?? 'cc', [
    ...['-std=gnu11', '-D_GNU_SOURCE', '-g', '-O1', '-Wall', '-Wextra', '-Werror', '-pthread'],
    ...['-fsanitize=address,undefined', '-fno-sanitize-recover', `-DVENDOR=${vendor}_vendor`, `-I${native}`],
    ...[...sources, join(native, 'dl.c'), here('vendor-harness.c'), '-o', program, '-ldl', '-lm'],
  ]);
  const object = compileFake(fake, folder);
  const libraries = new Map<string, string>();
  let played = 0;
  return {
    folder,
    play(steps, without = [], environment = {}) {
      const kind = without.join(' ');
      let library = libraries.get(kind);
      if (library === undefined) {
        library = join(folder, `library-${libraries.size}`);
        linkFake(fake, object, library, without);
        libraries.set(kind, library);
      }
      played += 1;
      const script = join(folder, `script-${played}`);
      const commands = steps.map((step, number) => {
        if (typeof step === 'string') return step;
        writeScript(number === 0 ? script : `${script}.${number}`, step);
        return number === 0 ? '' : `script ${script}.${number}`;
      });
      const result = spawnSync(program, {
        encoding: 'utf8',
        input: `${commands.join('\n')}\n`,
        timeout: 25_000,
        env: {
          LD_LIBRARY_PATH: library,
          HARNESS_SCRIPT: script,
          [variable]: script,
          UBSAN_OPTIONS: 'print_stacktrace=1',
          ...environment,
        },
      });
      if (result.status !== 0 || result.stderr !== '')
        throw new Error(`harness: ${result.status ?? result.signal}\n${result.stderr}\n${result.stdout}`);
      const lines = result.stdout.trimEnd().split('\n');
      const asked = commands.filter((command) => command !== '');
      return lines
        .map((line) => JSON.parse(line) as Answer)
        .filter((_, number) => answering.test(asked[number] ?? ''));
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
