// What it costs that jobs are started by a runner and not by the agent itself: submit to start one job at a time, no-op
// jobs per second, CPU and memory, as ratios to an agent in one piece. Both in turns, in one run.
//
//   node test/bench/split.mjs [--jobs N] [--many N] [--rounds N] [--json]
import { join } from 'node:path';
import { numberFlag, pause, quantile, startNetwork } from './network.mjs';

const jobs = numberFlag('jobs', 60);
const many = numberFlag('many', 400);
const rounds = numberFlag('rounds', 3);
const WARM_UP = 10;
const IN_FLIGHT = 32;
const DEADLINE_MS = 120_000;

async function until(what, is) {
  for (const end = performance.now() + DEADLINE_MS; !(await is()); await pause(5))
    if (performance.now() > end) throw new Error(`waited for ${what}`);
}

async function measure(apart) {
  const network = await startNetwork({ apart });
  const ended = async () => (await network.counts()).COMPLETED ?? 0;
  try {
    await until('the node', async () => (await network.call('GET', '/v1/nodes')).nodes[0]?.state === 'ready');
    const file = join(network.folder, 'stamps');
    const startMs = [];
    for (let i = 0; i < jobs + WARM_UP; i++) {
      const before = process.hrtime.bigint();
      await network.submit([network.stamp, file]);
      await until('a start', () => network.stamps(file).length > i);
      if (i >= WARM_UP) startMs.push((network.stamps(file).at(-1) - Number(before)) / 1e6);
      await until('its end', async () => (await ended()) > i);
    }
    const before = network.cost();
    const from = performance.now();
    let left = many;
    const submitter = async () => {
      while (left-- > 0) await network.submit([network.stamp, file]);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, submitter));
    await until('all of them', async () => (await ended()) === jobs + WARM_UP + many);
    const seconds = (performance.now() - from) / 1000;
    const cpuMs = ((network.cost().cpuSeconds - before.cpuSeconds) * 1000) / many;
    const mib = (verb) => network.cost(verb).residentBytes / 2 ** 20;
    return { startMs, perSecond: many / seconds, cpuMs, agentMiB: mib('agent'), runnerMiB: mib('runner') };
  } finally {
    await network.close();
  }
}

const runs = { agent: [], runner: [] };
for (let round = 0; round < rounds; round++)
  for (const apart of ['agent', 'runner']) runs[apart].push(await measure(apart));

const summary = (all) => ({
  startP50Ms: quantile(
    all.flatMap(({ startMs }) => startMs),
    0.5,
  ),
  perSecond: quantile(
    all.map(({ perSecond }) => perSecond),
    0.5,
  ),
  cpuMsPerJob: quantile(
    all.map(({ cpuMs }) => cpuMs),
    0.5,
  ),
  agentMiB: Math.max(...all.map(({ agentMiB }) => agentMiB)),
  runnerMiB: Math.max(...all.map(({ runnerMiB }) => runnerMiB)),
});
const whole = summary(runs.agent);
const split = summary(runs.runner);
const ratio = {
  start: split.startP50Ms / whole.startP50Ms,
  perSecond: split.perSecond / whole.perSecond,
  cpu: split.cpuMsPerJob / whole.cpuMsPerJob,
  memory: (split.agentMiB + split.runnerMiB) / whole.agentMiB,
};
if (process.argv.includes('--json')) console.log(JSON.stringify({ whole, split, ratio }));
else {
  const row = (name, before, after, unit, times) =>
    console.log(
      `${name.padEnd(32)} in one piece ${before.toFixed(2)} ${unit}   split ${after.toFixed(2)} ${unit}   ratio ${times.toFixed(2)}`,
    );
  row('submit to start, p50', whole.startP50Ms, split.startP50Ms, 'ms', ratio.start);
  row('no-op jobs per second', whole.perSecond, split.perSecond, '/s', ratio.perSecond);
  row('CPU of all daemons per job', whole.cpuMsPerJob, split.cpuMsPerJob, 'ms', ratio.cpu);
  row('resident', whole.agentMiB, split.agentMiB + split.runnerMiB, 'MiB', ratio.memory);
  console.log(
    `of the split: agent ${split.agentMiB.toFixed(0)} MiB, runner ${split.runnerMiB.toFixed(0)} MiB`,
  );
}
