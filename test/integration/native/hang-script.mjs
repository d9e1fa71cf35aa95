// Runs with hang.c preloaded. argv: addon, flag file. Prints what the reader does while a read hangs, as JSON.
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

const [addonPath, flag] = process.argv.slice(2);
const native = createRequire(import.meta.url)(addonPath);
const options = { procRoot: '/proc', sysRoot: '/sys', periodMs: 20 };
const timed = (run) => {
  const start = performance.now();
  run();
  return performance.now() - start;
};
let memory = null;
const take = () => {
  const count = native.readerColumns().length;
  memory = [new Float64Array(8), new Float64Array(count * 4), new Uint8Array(count)];
  const takeMs = timed(() => native.takeWindow(...memory));
  return {
    takeMs,
    ticks: memory[0][2],
    late: [...memory[2]].filter((reason) => reason === 4).length,
    count,
    lateTicks: memory[0][6],
    numbers: memory[1].filter((value) => !Number.isNaN(value)).length,
  };
};

/** Takes windows until one is as wished, for ten seconds at most; the last one, with the ticks of all of them. */
const takeUntil = async (fits) => {
  const startedMs = performance.now();
  for (let ticks = 0, lateTicks = 0; ; await sleep(20)) {
    const taken = take();
    ticks += taken.ticks;
    lateTicks += taken.lateTicks;
    const elapsedMs = performance.now() - startedMs;
    if (fits(taken) || elapsedMs > 10_000) return { ...taken, ticks, lateTicks, elapsedMs };
  }
};

const seen = {};
native.openReader(options);
seen.before = await takeUntil(({ late, numbers }) => late === 0 && numbers > 20);
writeFileSync(flag, '');
seen.hanging = await takeUntil(({ late, count }) => late === count);
await sleep(1000);
rmSync(flag);
seen.after = await takeUntil(({ late }) => late === 0);
writeFileSync(flag, '');
await sleep(100);
seen.closeMs = timed(() => native.closeReader());
seen.reopenMs = timed(() => native.openReader(options));
seen.columnsWhileHanging = native.readerColumns().length;
rmSync(flag);
await takeUntil(({ count }) => count > 0);
seen.columnsLater = native.readerColumns().length;
writeFileSync(flag, '');
await sleep(50);
console.log(JSON.stringify(seen));
process.exit(0); // with the read still hanging
