// Runs inside the machine of nspawn.test.ts, as root, once it has booted; writes what it saw to report.json.
// It judges nothing: nspawn.test.ts does.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const report = {};
const schedulerState = '/var/lib/flopd-scheduler';
const environment = {
  PATH: '/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin',
  HOME: '/root',
  FLOPD_STATE_DIR: schedulerState,
};

function run(command, ...args) {
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: environment,
    timeout: 60_000,
  });
  const ended = { code: status, stdout, stderr, seconds: (performance.now() - started) / 1000 };
  console.log(JSON.stringify([command, ...args]), JSON.stringify(ended));
  return ended;
}
const sh = (script) => run('sh', '-c', script);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Properties of a unit as an object. */
function show(unit) {
  const { stdout } = run(
    'systemctl',
    'show',
    unit,
    '-p',
    'ActiveState,SubState,Result,MainPID,NRestarts,StatusText,ExecMainStatus',
  );
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** Waits until `read` gives something; null after the time. */
async function until(read, deadlineMs = 30_000) {
  for (const end = performance.now() + deadlineMs; performance.now() < end; await pause(50)) {
    const value = read();
    if (value) return value;
  }
  return null;
}

/** Signals the main process and waits for another one that is active. */
async function replaced(unit, signal) {
  const before = show(unit);
  const started = performance.now();
  process.kill(Number(before.MainPID), signal);
  const after = await until(() => {
    const now = show(unit);
    return now.ActiveState === 'active' && now.MainPID !== before.MainPID && now.MainPID !== '0' ? now : null;
  }, 45_000);
  return { before, after, seconds: (performance.now() - started) / 1000 };
}

const alive = (pid) =>
  existsSync(`/proc/${pid}/stat`) && !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
const readPid = (path) => (existsSync(path) ? Number(readFileSync(path, 'utf8').trim()) : 0);

/** A job of `seconds` that writes a line every 0.2 s, tells its pid, and exits 5. */
async function startLongJob(name, seconds) {
  const count = seconds * 5;
  const pidFile = `/tmp/${name}.pid`;
  const script = `echo $$ >${pidFile}; i=0; while [ $i -lt ${count} ]; do echo line $i; i=$((i+1)); sleep 0.2; done; exit 5`;
  const { stdout } = run('flopd', 'run', '--detach', '--', 'sh', '-c', script);
  const pid = await until(() => readPid(pidFile));
  return { id: stdout.trim(), pid, count };
}

/** Restarts the agent as it is configured now, runs a job, and gives what it said and its result. */
async function walledJob() {
  run('systemctl', 'restart', 'flopd-node');
  await until(() => run('flopd', 'nodes').stdout.includes('ready'));
  const job = run('flopd', 'run', '--', 'sh', '-c', 'id -u; ls -A /home /tmp; touch here && echo mine');
  const [last] = JSON.parse(run('flopd', 'jobs', '-o', 'json').stdout).jobs;
  return { job, limits: last.result.limits, isolation: last.result.isolation };
}

/** The agent beside its runner, in place of the agent in one piece. */
async function checkSplit() {
  run('systemctl', 'stop', 'flopd-node');
  const split = {};
  split.join = sh(
    `flopd join http://127.0.0.1:7070 --state-dir /var/lib/flopd --runner-user flopd --runner-state-dir /var/lib/flopd-runner --token "$(cat ${schedulerState}/scheduler/join-token)"`,
  );
  split.start = run('systemctl', 'start', 'flopd-agent');
  split.agent = show('flopd-agent');
  split.runner = show('flopd-runner');
  split.groups = show('flopd-groups');
  split.modes = sh(
    'stat -c "%a %U %G %n" /run/flopd-runner/runner.sock /var/lib/flopd /var/lib/flopd/agent/key.pem /var/lib/flopd-runner/runner/node.json',
  ).stdout;
  await until(() => run('flopd', 'nodes').stdout.includes('ready'));
  split.job = run('flopd', 'run', '--', 'sh', '-c', 'id -u; ls -A /home /tmp; touch here && echo mine');
  const [last] = JSON.parse(run('flopd', 'jobs', '-o', 'json').stdout).jobs;
  split.result = { limits: last.result.limits, isolation: last.result.isolation };
  split.stranger = sh(
    `runuser -u flopd-scheduler -- node -e 'require("net").connect("/run/flopd-runner/runner.sock").on("error", (e) => console.log(e.code)).on("connect", () => console.log("connected"))'`,
  ).stdout;
  const pidFile = '/home/open/split.pid';
  writeFileSync('/etc/default/flopd', 'FLOPD_JOBS_WRITE_PATHS=/home/open\n');
  split.runnerRestarted = run('systemctl', 'restart', 'flopd-runner');
  await until(() => run('flopd', 'nodes').stdout.includes('ready'));
  const count = 60;
  const script = `id -u >${pidFile}; i=0; while [ $i -lt ${count} ]; do echo line $i; i=$((i+1)); sleep 0.2; done; exit 5`;
  const id = run('flopd', 'run', '--detach', '--', 'sh', '-c', script).stdout.trim();
  await until(() => existsSync(pidFile));
  split.agentKilled = await replaced('flopd-agent', 'SIGKILL');
  split.runnerKilled = await replaced('flopd-runner', 'SIGKILL');
  split.waited = run('flopd', 'wait', id);
  split.logs = run('flopd', 'logs', id).stdout;
  split.count = count;
  split.journal = run(
    'journalctl',
    '--no-pager',
    '-o',
    'cat',
    '-u',
    'flopd-agent',
    '-u',
    'flopd-runner',
  ).stdout;
  return split;
}

const leftOut = [
  ['Nice=0', 'bubblewrap'],
  ['RestrictNamespaces=yes', 'bubblewrap'],
  ['SystemCallFilter=~@mount', 'bubblewrap'],
  ['ProtectHostname=yes', 'own-hostname'],
  ['MemoryDenyWriteExecute=yes', 'just-in-time'],
  ['SystemCallFilter=~@debug', 'trace-itself'],
  ['SystemCallFilter=~@resources', 'affinity'],
  ['LockPersonality=yes', 'personality'],
  ['RestrictSUIDSGID=yes', 'setgid-folder'],
  ['RestrictAddressFamilies=AF_INET', 'netlink-socket'],
  ['ProtectHome=yes', 'write-home'],
  ['ProtectSystem=strict', 'write-tmp'],
  ['ProtectProc=invisible', 'see-others'],
];

async function check() {
  report.sysusers = run('systemd-sysusers');
  report.tmpfiles = run('systemd-tmpfiles', '--create', '/usr/lib/tmpfiles.d/flopd.conf');
  report.verify = run(
    'systemd-analyze',
    'verify',
    '/usr/lib/systemd/system/flopd-node.service',
    '/usr/lib/systemd/system/flopd-agent.service',
    '/usr/lib/systemd/system/flopd-runner.service',
    '/usr/lib/systemd/system/flopd-groups.service',
    '/usr/lib/systemd/system/flopd-jobs.slice',
    '/usr/lib/systemd/system/flopd-scheduler.service',
  );
  run('systemctl', 'daemon-reload');

  // An agent that has not joined is skipped, not restarted for ever.
  run('systemctl', 'start', 'flopd-node');
  report.notJoined = show('flopd-node');

  // Most of this is about what the unit gives to jobs and takes from them, without the walls that flopd adds.
  writeFileSync('/etc/default/flopd', 'FLOPD_JOBS_SANDBOX=off\n');
  report.startScheduler = run('systemctl', 'start', 'flopd-scheduler');
  report.scheduler = show('flopd-scheduler');
  report.stateModes = sh('stat -c "%a %U %n" /var/lib/flopd /var/lib/flopd-scheduler').stdout;
  report.join = sh(
    `runuser -u flopd -- flopd join http://127.0.0.1:7070 --state-dir /var/lib/flopd --token "$(cat ${schedulerState}/scheduler/join-token)"`,
  );
  report.startAgent = run('systemctl', 'start', 'flopd-node');
  report.agent = show('flopd-node');
  report.agentMetrics = run(
    'node',
    '--input-type=module',
    '-e',
    // READY=1 does not wait for the scheduler: a host without one must come up too.
    `let text = '';
     for (let tries = 0; tries < 100 && !text.startsWith('200 '); tries++) {
       if (tries > 0) await new Promise((resolve) => setTimeout(resolve, 100));
       const answer = await fetch('http://127.0.0.1:9471/readyz');
       text = answer.status + ' ' + (await answer.text());
     }
     console.log(text);`,
  );
  for (const unit of ['node', 'agent', 'scheduler'])
    report[`${unit}Security`] = run('systemd-analyze', 'security', '--no-pager', `flopd-${unit}.service`);

  await until(() => run('flopd', 'nodes').stdout.includes('ready'));
  report.job = run('flopd', 'run', '--', 'sh', '-c', 'id -un; umask; cat /proc/self/oom_score_adj; exit 3');
  report.tokenTheft = run('flopd', 'run', '--', 'cat', `${schedulerState}/scheduler/token`);

  // What a job may do, beside what user flopd may do outside the unit.
  report.freeInJob = run('flopd', 'run', '--', 'sh', '/opt/check/freedom.sh');
  report.freeOutside = sh('runuser -u flopd -- sh /opt/check/freedom.sh');

  // The directives that the agent's unit leaves out, each beside what it would take from jobs.
  report.leaks = leftOut.map(([directive, name]) => {
    const flags = ['--quiet', '--wait', '--pipe', '-p', 'User=flopd', '-p', directive];
    const { stdout } = run('systemd-run', ...flags, 'sh', '/opt/check/freedom.sh', name);
    return `${directive}: ${stdout.trim()}`;
  });

  // kill -9, then the watchdog, with one job running through all of it.
  const job = await startLongJob('survivor', 40);
  report.longJob = job;
  report.agentKilled = await replaced('flopd-node', 'SIGKILL');
  report.aliveAfterKill = alive(job.pid);
  report.agentHung = await replaced('flopd-node', 'SIGSTOP');
  report.aliveAfterWatchdog = alive(job.pid);
  report.schedulerKilled = await replaced('flopd-scheduler', 'SIGKILL');
  report.schedulerHung = await replaced('flopd-scheduler', 'SIGSTOP');
  report.aliveAfterScheduler = alive(job.pid);
  report.journal = run(
    'journalctl',
    '--no-pager',
    '-o',
    'cat',
    '-u',
    'flopd-node',
    '-u',
    'flopd-scheduler',
  ).stdout;
  report.waited = run('flopd', 'wait', job.id);
  report.logs = run('flopd', 'logs', job.id).stdout;

  // A stop leaves jobs alone, too.
  const second = await startLongJob('stopped', 12);
  report.stop = run('systemctl', 'stop', 'flopd-node');
  report.aliveAfterStop = alive(second.pid);
  run('systemctl', 'start', 'flopd-node');
  report.secondWaited = run('flopd', 'wait', second.id);

  // Walls: of user flopd as the unit is, then of an agent as root.
  writeFileSync('/etc/default/flopd', '');
  report.walled = await walledJob();
  const dropIns = '/etc/systemd/system/flopd-node.service.d';
  run('mkdir', '-p', dropIns);
  run('cp', '/opt/check/flopd-node-root.conf', `${dropIns}/root.conf`);
  run('systemctl', 'daemon-reload');
  report.walledByRoot = await walledJob();

  report.split = await checkSplit();
  run('systemctl', 'stop', 'flopd-agent', 'flopd-runner');
  run('systemctl', 'start', 'flopd-node');

  // A wrong configuration stops the unit instead of looping.
  writeFileSync('/etc/default/flopd', 'FLOPD_NODE_CPUS=-1\n');
  run('systemctl', 'restart', 'flopd-node');
  await pause(3000);
  report.misconfigured = show('flopd-node');
  report.leftGroups = sh('systemd-cgls --no-pager | tail -40').stdout;
}

try {
  await check();
} catch (error) {
  report.error = String(error?.stack ?? error);
}
writeFileSync('/opt/check/report.json', JSON.stringify(report));
