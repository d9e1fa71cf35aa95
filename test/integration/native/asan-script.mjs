// Runs inside a Node with AddressSanitizer preloaded: exercises what touches memory in the addon given as argument.
// argv: addon, a folder to write in. Prints "done" at its end.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

const [addonPath, folder] = process.argv.slice(2);
const native = createRequire(import.meta.url)(addonPath);
const header = new Float64Array(8);

async function readFor(ms, options) {
  native.openReader({ periodMs: 10, ...options });
  for (const end = Date.now() + ms; Date.now() < end; await sleep(15)) {
    const columns = native.readerColumns();
    // Exactly as long as needed, so that one value too many is found.
    native.takeWindow(header, new Float64Array(columns.length * 4), new Uint8Array(columns.length));
    native.takeWindow(header, new Float64Array(3), new Uint8Array(0));
  }
  native.closeReader();
}

await readFor(300, { procRoot: '/proc', sysRoot: '/sys' });

const proc = join(folder, 'proc');
const sys = join(folder, 'sys');
mkdirSync(join(proc, 'net'), { recursive: true });
mkdirSync(join(sys, 'class/hwmon/hwmon0'), { recursive: true });
mkdirSync(join(sys, 'class/powercap/intel-rapl:0'), { recursive: true });
writeFileSync(join(sys, 'class/hwmon/hwmon0/temp1_input'), '12');
writeFileSync(join(sys, 'class/powercap/intel-rapl:0/energy_uj'), '12');
const change = (i) => {
  writeFileSync(
    join(proc, 'diskstats'),
    Array.from({ length: i * 7 }, (_, n) => `8 0 dm-${n} 1 2 3 4 5 6 7 8 9 10 11\n`).join(''),
  );
  writeFileSync(
    join(proc, 'net/dev'),
    Array.from({ length: i * 5 }, (_, n) => `e${n}:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n`).join(''),
  );
  writeFileSync(
    join(proc, 'stat'),
    `cpu ${'9'.repeat(i)} 1 1 1\n${Array.from({ length: i * 300 }, (_, n) => `cpu${n} 1 2 3 4\n`).join('')}`,
  );
  writeFileSync(join(proc, 'meminfo'), 'MemTotal: 1 kB\n'.repeat(i).slice(0, -i));
};
change(1);
let turn = 1;
const changes = setInterval(() => {
  turn = (turn % 12) + 1;
  change(turn);
}, 100);
await readFor(2500, { procRoot: proc, sysRoot: sys });
clearInterval(changes);

for (let i = 0; i < 50; i++) {
  native.spawn('/bin/true', ['true', 'x'.repeat(i * 100)], [`A=${i}`]);
  native.spawn('/nosuch', ['x'], []);
}
while (native.reap() > 0) await sleep(10);
for (const wrong of [[], [1], ['/bin/true', ['a', {}]], ['/bin/true', ['a'], ['b', 5]]]) {
  try {
    native.spawn(...wrong);
    process.exit(3);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}
const tree = join(folder, 'tree');
mkdirSync(join(tree, 'd/'.repeat(100)), { recursive: true });
for (let i = 0; i < 100; i++) writeFileSync(join(tree, 'd', `f${i}`), '');
await Promise.all([
  native.removeTree(tree),
  native.removeTree(join(folder, 'missing')),
  native.removeTree(tree).catch(() => {}),
]);
await native.removeTree(tree);
if (existsSync(tree)) process.exit(4);
await native.removeTree('/proc/self/fdinfo').then(
  () => process.exit(5),
  () => {},
);
native.notify('x'.repeat(60_000));
native.lockFile(join(folder, 'lock'));
await native.measureFlops('fp64', 3, 20);
await native.measureFlops('fp32', 2, 20);

const worker = new Worker(
  `const native = require(require('node:worker_threads').workerData);
   native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 10 });
   require('node:worker_threads').parentPort.postMessage(native.readerColumns().length);
   setTimeout(() => {}, 10_000);`,
  { eval: true, workerData: addonPath },
);
await new Promise((resolve) => worker.once('message', resolve));
await worker.terminate();
native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 10 });
console.log('done');
process.exit(0);
