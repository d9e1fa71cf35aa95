// node test/fuzz/run.mjs [--seconds N] [--seed S] [--only NAME] [--keep]: all targets in turn, until the time is over.
// Prints its seed; each find with its target; with --keep they are written to the corpus. Exit code 1 where there are any.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { corpusFolder, findName, fuzz, shownInput } from './fuzzer.ts';
import { createTargets } from './targets.ts';

const ROUNDS_AT_A_TIME = 400;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const endMs = performance.now() + Number(values.seconds) * 1000;
const targets = createTargets().filter(({ name }) => name.startsWith(values.only));
console.log(`fuzz: seed ${seed}, ${values.seconds} s, ${targets.length} targets`);
const rounds = new Map<string, number>();
let finds = 0;
for (let turn = 0; performance.now() < endMs && targets.length > 0; turn += 1) {
  for (const target of targets) {
    const report = await fuzz(target, {
      seed: seed + turn,
      rounds: Math.ceil(ROUNDS_AT_A_TIME * (target.weight ?? 1)),
      isOver: () => performance.now() > endMs,
    });
    rounds.set(target.name, (rounds.get(target.name) ?? 0) + report.rounds);
    for (const find of report.finds) {
      finds += 1;
      console.log(`FIND ${find.target} (seed ${seed + turn}): ${find.problem}\n  ${shownInput(find)}`);
      if (!values.keep) continue;
      mkdirSync(corpusFolder(find.target), { recursive: true });
      writeFileSync(join(corpusFolder(find.target), findName(find)), find.input);
    }
  }
}
for (const [name, count] of rounds) console.log(`${String(count).padStart(9)}  ${name}`);
console.log(`fuzz: ${finds} finds`);
process.exitCode = finds > 0 ? 1 : 0;
