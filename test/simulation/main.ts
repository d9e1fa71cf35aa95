// The simulation from the command line; run.mjs builds it. Prints one line per broken seed and a summary; with one
// seed, its whole history.
import { parseArgs } from 'node:util';
import { createSilentLog, type Log } from '../../src/base/log.ts';
import { lineOf } from '../campaign/history.ts';
import { playClone } from './clone.ts';
import { makeKeys } from './keys.ts';
import { playSeed } from './world.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '2000' },
    log: { type: 'boolean', default: false },
    clone: { type: 'boolean', default: false },
    keep: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

function logTo(who: string): Log {
  const write = (level: string) => (fields: object, message: string) =>
    console.log(`      ${level} ${who}: ${message} ${JSON.stringify(fields)}`);
  const log: Log = {
    ...createSilentLog(),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  };
  return log;
}

const keys = makeKeys();
const kept = values.keep === undefined ? {} : { keepMs: Number(values.keep) };
const play = (seed: number, logs: boolean) =>
  values.clone
    ? playClone(seed, keys, logs ? logTo : undefined)
    : playSeed(seed, keys, { ...(logs ? { log: logTo } : {}), ...kept });
if (values.help)
  console.log('node test/simulation/run.mjs [--clone] [--keep MS] [--seeds N] [--from N] | --seed N [--log]');
else if (values.seed !== undefined) {
  const outcome = await play(Number(values.seed), values.log);
  for (const fact of outcome.facts) console.log(lineOf(fact));
  for (const { invariant, what } of outcome.violations) console.log(`${invariant}  ${what}`);
  console.log(
    `seed ${outcome.seed}: ${outcome.jobs} jobs, ${outcome.events} events, at rest after ${outcome.restMs / 1000} s, ${outcome.violations.length} violations`,
  );
  process.exitCode = outcome.violations.length === 0 ? 0 : 1;
} else {
  const startedMs = performance.now();
  let broken = 0;
  let jobs = 0;
  let facts = 0;
  let starts = 0;
  const from = Number(values.from);
  for (let seed = from; seed < from + Number(values.seeds); seed += 1) {
    const outcome = await play(seed, false);
    jobs += outcome.jobs;
    facts += outcome.facts.length;
    starts += outcome.facts.filter(({ kind }) => kind === 'start').length;
    if (outcome.violations.length === 0) continue;
    broken += 1;
    for (const { invariant, what } of outcome.violations.slice(0, 3))
      console.log(`seed ${seed}: ${invariant} ${what}`);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(
    `seeds ${from} to ${from + Number(values.seeds) - 1}: ${jobs} jobs, ${starts} starts, ${facts} facts, ${broken} broken, ${seconds.toFixed(1)} s`,
  );
  process.exitCode = broken === 0 ? 0 : 1;
}
