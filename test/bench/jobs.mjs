// No-op jobs per second through the API, queue, link, supervisor and shim of one node, first thousand against last
// thousand, beside the floor: posix_spawn and wait of the same program, one after the other.
//
//   node test/bench/jobs.mjs [--jobs N] [--in-flight N] [--json]
import { join } from 'node:path';
import { numberFlag, pause, quantile, startNetwork } from './network.mjs';

const jobs = numberFlag('jobs', 4000);
const inFlight = numberFlag('in-flight', 64);
const part = Math.min(1000, Math.floor(jobs / 2));
const END_DEADLINE_MS = 300_000;
const network = await startNetwork();
try {
  const file = join(network.folder, 'stamps');
  const before = network.cost();
  const startedMs = performance.now();
  let submitted = 0;
  const submitter = async () => {
    while (submitted < jobs) {
      submitted += 1;
      await network.submit([network.stamp, file]);
    }
  };
  const ended = async () => {
    const counts = await network.counts();
    return Object.entries(counts).reduce(
      (sum, [state, count]) => (/PENDING|STARTING|RUNNING/.test(state) ? sum : sum + count),
      0,
    );
  };
  await Promise.all(Array.from({ length: inFlight }, submitter));
  for (const end = performance.now() + END_DEADLINE_MS; (await ended()) < jobs; await pause(20))
    if (performance.now() > end) throw new Error(`only ${await ended()} of ${jobs} jobs ended`);
  const seconds = (performance.now() - startedMs) / 1000;
  const after = network.cost();
  const counts = await network.counts();
  const stamps = network.stamps(file);
  const rate = (from, to) => (to - from) / ((stamps[to] - stamps[from]) / 1e9);
  const floorStart = performance.now();
  const spawnMs = network.spawnFloor(2000).map((ns) => ns / 1e6);
  const floorPerSecond = 2000 / ((performance.now() - floorStart) / 1000);
  const first = rate(0, part - 1);
  const last = rate(stamps.length - part, stamps.length - 1);
  const figures = {
    jobs,
    started: stamps.length,
    counts,
    seconds,
    jobsPerSecond: jobs / seconds,
    goalPerSecond: 1000,
    firstPerSecond: first,
    lastPerSecond: last,
    lastToFirst: last / first,
    daemonCpuMsPerJob: ((after.cpuSeconds - before.cpuSeconds) * 1000) / jobs,
    residentMiB: after.residentBytes / 2 ** 20,
    floor: { perSecond: floorPerSecond, spawnP50Ms: quantile(spawnMs, 0.5) },
    ratio: floorPerSecond / (jobs / seconds),
  };
  if (process.argv.includes('--json')) console.log(JSON.stringify(figures));
  else {
    console.log(
      `${jobs} no-op jobs, ${inFlight} submissions in flight: ${figures.jobsPerSecond.toFixed(0)} jobs/s; goal 1000`,
    );
    console.log(
      `first ${part}: ${first.toFixed(0)}/s   last ${part}: ${last.toFixed(0)}/s   last/first ${figures.lastToFirst.toFixed(3)}; goal 0.95`,
    );
    console.log(
      `daemon: ${figures.daemonCpuMsPerJob.toFixed(3)} ms CPU per job, ${figures.residentMiB.toFixed(0)} MiB resident at the end`,
    );
    console.log(
      `floor (posix_spawn and wait): ${floorPerSecond.toFixed(0)}/s; the floor is ${figures.ratio.toFixed(2)} times as fast`,
    );
    console.log(`ended: ${JSON.stringify(counts)}; started ${stamps.length} times`);
  }
  if (stamps.length !== jobs || counts.COMPLETED !== jobs) process.exitCode = 1;
} finally {
  await network.close();
}
