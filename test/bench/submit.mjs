// Time from the API call that submits a job to the first instruction of its process, one job at a time, beside the
// floor: posix_spawn of the same program plus the two syncs that no order may go without (the scheduler's record
// of the job, the agent's record of its intent).
//
//   node test/bench/submit.mjs [--jobs N] [--json]
import { join } from 'node:path';
import { numberFlag, pause, quantile, startNetwork } from './network.mjs';

const jobs = numberFlag('jobs', 300);
const WARM_UP = 20;
const START_DEADLINE_MS = 10_000;
const network = await startNetwork();
try {
  const file = join(network.folder, 'stamps');
  const startMs = [];
  const answerMs = [];
  for (let i = 0; i < jobs + WARM_UP; i++) {
    const before = process.hrtime.bigint();
    const { id } = await network.submit([network.stamp, file]);
    const answered = process.hrtime.bigint();
    for (const end = performance.now() + START_DEADLINE_MS; network.stamps(file).length <= i; await pause(1))
      if (performance.now() > end) throw new Error(`job ${id} did not start`);
    const started = network.stamps(file).at(-1);
    // One at a time: the next is submitted when this one is over and done with.
    while ((await network.call('GET', `/v1/jobs/${id}`)).result === null) await pause(2);
    if (i < WARM_UP) continue;
    startMs.push((started - Number(before)) / 1e6);
    answerMs.push(Number(answered - before) / 1e6);
  }
  const spawnMs = network.spawnFloor(jobs).map((ns) => ns / 1e6);
  const syncMs = network.syncFloor(jobs).map((ns) => ns / 1e6);
  const floorP50 = quantile(spawnMs, 0.5) + 2 * quantile(syncMs, 0.5);
  const figures = {
    jobs,
    submitToStartMs: { p50: quantile(startMs, 0.5), p99: quantile(startMs, 0.99), goal: { p50: 2, p99: 10 } },
    submitToAnswerMs: { p50: quantile(answerMs, 0.5), p99: quantile(answerMs, 0.99) },
    floorMs: {
      spawn: { p50: quantile(spawnMs, 0.5), p99: quantile(spawnMs, 0.99) },
      fdatasync: { p50: quantile(syncMs, 0.5), p99: quantile(syncMs, 0.99) },
      p50: floorP50,
    },
    ratioP50: quantile(startMs, 0.5) / floorP50,
  };
  if (process.argv.includes('--json')) console.log(JSON.stringify(figures));
  else {
    const row = (name, { p50, p99 }) =>
      console.log(`${name.padEnd(34)} p50 ${p50.toFixed(3)} ms   p99 ${p99.toFixed(3)} ms`);
    row(`submit to start, ${jobs} jobs`, figures.submitToStartMs);
    row('submit to answer (on disk)', figures.submitToAnswerMs);
    row('floor: posix_spawn of the same', figures.floorMs.spawn);
    row('floor: append and fdatasync', figures.floorMs.fdatasync);
    console.log(
      `ratio to the floor (spawn + 2 syncs): ${figures.ratioP50.toFixed(2)}; goal: p50 2 ms, p99 10 ms`,
    );
  }
} finally {
  await network.close();
}
