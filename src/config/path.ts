// Paths in the configuration: relative ones start where they are written, and `~` is the user's home.
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import type { Environment, ParseContext } from './keys.ts';
import { parseText, ValueProblem } from './value.ts';

/** The user's home; `/` for the rare process that has none, where the later write fails with a clear line. */
export function homeFolder(environment: Environment): string {
  const home = environment.HOME;
  if (home !== undefined && isAbsolute(home)) return home;
  try {
    return homedir();
  } catch {
    return '/';
  }
}

export function parsePath(value: unknown, { folder, environment }: ParseContext): string {
  const path = parseText(value, 'a path', 4096);
  if (typeof value !== 'string') throw new ValueProblem('a number where a path is expected', 'write a path');
  if (path === '~' || path.startsWith('~/')) return join(homeFolder(environment), path.slice(1));
  return resolve(folder, path);
}
