// A job room as a process of its own, so that it can be killed at a named fault point: orders come as JSON lines on
// standard input, facts go out as JSON lines. Arguments: state folder, shim, addon, fault point or '-', which pass of it,
// and the URL of a store of files, if there is one.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createExecutors } from '../../../src/job/executor/catalogue.ts';
import { createJobs } from '../../../src/job/supervisor.ts';
import { loadNative } from '../../../src/native.ts';
import { deviceRecord } from '../../fakes/device.ts';

const [folder = '', shimPath = '', addon = '', point = '-', pass = '1', storeUrl = ''] =
  process.argv.slice(2);
const say = (fact: object): void => void process.stdout.write(`${JSON.stringify(fact)}\n`);
const clock = createClock();
const log = createSilentLog();
let passes = 0;
const jobs = await createJobs({
  folder,
  nodeId: 'node-1',
  bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
  executors: createExecutors({ shimPath, native: loadNative(addon).native, clock, log }),
  capacity: { cpus: 1000, memoryBytes: 1e12 },
  environment: {},
  devices: {
    records: () => [deviceRecord(0), deviceRecord(1)],
    grant: (ids) => ({ environment: { VISIBLE: ids.join(',') || 'none' }, deviceNodes: [] }),
  },
  clock,
  log,
  ...(storeUrl === ''
    ? {}
    : {
        files: {
          cacheBytes: 1e9,
          access: () => ({ url: storeUrl, headers: () => ({ authorization: 'Bearer any' }) }),
        },
      }),
  events: {
    started: (jobId, epoch, pid) => say({ kind: 'started', jobId, epoch, pid }),
    progress() {},
    outputGrew: (jobId, epoch, stdoutBytes) => say({ kind: 'output', jobId, epoch, stdoutBytes }),
    ended: (result) => say({ kind: 'ended', jobId: result.jobId, epoch: result.epoch, result }),
  },
  hit(at) {
    if (at !== point) return;
    passes += 1;
    if (passes === Number(pass)) process.kill(process.pid, 'SIGKILL');
  },
});
say({ kind: 'ready', held: jobs.held() });
createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line);
  if (order.type === 'start')
    void jobs.start(order).then((answer) => say({ kind: 'answer', jobId: order.jobId, answer }));
  if (order.type === 'stop')
    void jobs.stop(order).then((answer) => say({ kind: 'stopAnswer', jobId: order.jobId, answer }));
  if (order.type === 'deviceFailed')
    jobs.deviceFailed(order.ids, { code: 'xid-79', text: 'it has fallen off the bus' });
  if (order.type === 'acknowledged') {
    jobs.acknowledged(order.jobId, order.epoch);
    jobs.delivered(order.jobId, order.epoch, order.stdoutBytes, 0);
  }
});
