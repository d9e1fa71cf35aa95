// A scheduler as a process of its own, so that it can be killed at a named fault point. Arguments: state folder, port,
// fault point or '-'. Says `ready` when it answers.
import { createClock } from '../../../src/base/clock.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { startScheduler } from '../../../src/scheduler/scheduler.ts';

const [stateDir = '', port = '0', point = '-'] = process.argv.slice(2);
await startScheduler({
  stateDir,
  listen: { host: '127.0.0.1', port: Number(port) },
  clock: createClock(),
  log: createSilentLog(),
  version: '0.1.0',
  dashboardFolder: null,
  hit(at) {
    if (at === point) process.kill(process.pid, 'SIGKILL');
  },
});
process.stdout.write('ready\n');
