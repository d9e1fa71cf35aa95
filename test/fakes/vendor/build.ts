// Builds the fake vendor libraries with the system's compiler into a folder of the test's choice, and plays them: see
// script.h for what a script says, README.md for the keys. A program finds the fake through LD_LIBRARY_PATH.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

export interface FakeLibrary {
  /** In this folder. */
  readonly source: string;
  /** The name that programs open it by. */
  readonly soname: string;
  /** How its functions begin; others are not seen from outside. */
  readonly prefix: string;
}

export const fakeNvml: FakeLibrary = { source: 'nvml.c', soname: 'libnvidia-ml.so.1', prefix: 'nvml' };
export const fakeDcmi: FakeLibrary = { source: 'dcmi.c', soname: 'libdcmi.so', prefix: 'dcmi' };

/** Path of the object, which libraries are linked from. */
export function compileFake(fake: FakeLibrary, folder: string): string {
  mkdirSync(folder, { recursive: true });
  const object = join(folder, `${fake.soname}.o`);
  execFileSync(process.env.CC ?? 'cc', [
    ...[
      '-c',
      '-fPIC',
      '-std=gnu11',
      '-D_GNU_SOURCE',
      '-O2',
      '-g1',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-pthread',
    ],
    ...[join(here, fake.source), '-o', object],
  ]);
  return object;
}

/** Path of the library; `without` names functions that this one lacks. */
export function linkFake(
  fake: FakeLibrary,
  object: string,
  folder: string,
  without: readonly string[] = [],
): string {
  mkdirSync(folder, { recursive: true });
  const library = join(folder, fake.soname);
  const versions = join(folder, `${fake.soname}.map`);
  const hidden = without.map((each) => `${each}; `).join('');
  writeFileSync(versions, `{ global: ${fake.prefix}*; local: ${hidden}*; };\n`);
  execFileSync(process.env.CC ?? 'cc', [
    ...['-shared', '-pthread', `-Wl,-soname,${fake.soname}`, `-Wl,--version-script=${versions}`],
    ...[object, '-o', library, '-lm'],
  ]);
  return library;
}

/** The whole library at once; its path. */
export function buildFake(fake: FakeLibrary, folder: string, without: readonly string[] = []): string {
  return linkFake(fake, compileFake(fake, folder), folder, without);
}

/** Replaces a script by rename, so that none is played half written. */
export function writeScript(path: string, lines: readonly string[]): void {
  writeFileSync(`${path}.new`, `${lines.join('\n')}\n`);
  renameSync(`${path}.new`, path);
}

export interface Calls {
  readonly calls: number;
  /** Calls that have not come back. */
  readonly inside: number;
  /** Most at once. */
  readonly most: number;
}

/** What the file of counts says, by function and by `device:T`. */
export function readCalls(path: string): ReadonlyMap<string, Calls> {
  const lines = readFileSync(path, 'latin1').replaceAll('\0', '').split('\n');
  return new Map(
    lines
      .filter((line) => line !== '')
      .map((line) => {
        const [name = '', calls, inside, most] = line.trim().split(' ');
        return [name, { calls: Number(calls), inside: Number(inside), most: Number(most) }];
      }),
  );
}
