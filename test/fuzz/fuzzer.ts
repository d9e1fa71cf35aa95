// The loop: known input and past finds first, then mutants of what has been read well, until rounds or time are over.
// The same seed and rounds give the same mutants.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createDice } from '../simulation/seed.ts';
import { mutate } from './mutation.ts';
import { judge } from './oracle.ts';
import { type Target, textOf } from './target.ts';

export interface Find {
  readonly target: string;
  readonly problem: string;
  readonly input: Uint8Array;
}

export interface FuzzReport {
  readonly rounds: number;
  readonly finds: readonly Find[];
}

/** Mutants that go on to be mutated themselves. */
const POOL_MAX = 64;
const FINDS_MAX = 5;

export interface FuzzOptions {
  readonly seed: number;
  readonly rounds: number;
  /** Ends earlier when this says so. */
  readonly isOver?: () => boolean;
}

export async function fuzz(target: Target, { seed, rounds, isOver }: FuzzOptions): Promise<FuzzReport> {
  const dice = createDice(seed).fork(target.name);
  const seeds = target.seeds();
  const pool = [...seeds];
  const finds: Find[] = [];
  const problems = new Set<string>();
  let done = 0;

  async function look(input: Uint8Array): Promise<boolean> {
    done += 1;
    const problem = await judge(target, input);
    if (problem === null) return true;
    // One find of a kind is enough.
    const kind = problem.replace(/\d+/g, '0').slice(0, 200);
    if (!problems.has(kind)) finds.push({ target: target.name, problem, input });
    problems.add(kind);
    return false;
  }

  for (const input of [...seeds, ...readCorpus(target.name)]) await look(input);
  while (done < rounds && finds.length < FINDS_MAX && isOver?.() !== true) {
    const base = dice.pick(dice.chance(0.5) ? seeds : pool);
    const mutant = mutate(dice, base, pool);
    const input = target.mend !== undefined && dice.chance(0.9) ? target.mend(mutant) : mutant;
    if ((await look(input)) && dice.chance(0.05)) {
      if (pool.length >= POOL_MAX + seeds.length) pool[dice.between(seeds.length, pool.length - 1)] = input;
      else pool.push(input);
    }
  }
  return { rounds: done, finds };
}

/** Folder `test`, from wherever this was bundled to. */
export function testFolder(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  return join(folder, 'test');
}

export function corpusFolder(target: string): string {
  return join(testFolder(), 'fuzz', 'corpus', target);
}

function readCorpus(target: string): Uint8Array[] {
  const folder = corpusFolder(target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name)));
}

/** A name for a find in its corpus. */
export function findName({ input }: Find): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}

/** The beginning of an input, as a line. */
export function shownInput({ input }: Find): string {
  return JSON.stringify(textOf(input.subarray(0, 400)));
}
