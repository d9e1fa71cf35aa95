// The units in a real systemd: start and notification, hardening that does not leak into jobs, kill -9, watchdog.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bed, createBed, root } from './bed.ts';
import { bootMachine, layMachine, machineProblem } from './machine.ts';

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}
type Unit = Readonly<Record<string, string>>;
interface Replaced {
  readonly before: Unit;
  readonly after: Unit | null;
  readonly seconds: number;
}
interface Walled {
  readonly job: Ended;
  readonly limits: Unit;
  readonly isolation: Unit;
}
interface Report {
  readonly error?: string;
  readonly sysusers: Ended;
  readonly tmpfiles: Ended;
  readonly verify: Ended;
  readonly notJoined: Unit;
  readonly startScheduler: Ended;
  readonly scheduler: Unit;
  readonly stateModes: string;
  readonly join: Ended;
  readonly startAgent: Ended;
  readonly agent: Unit;
  readonly agentMetrics: Ended;
  readonly nodeSecurity: Ended;
  readonly agentSecurity: Ended;
  readonly schedulerSecurity: Ended;
  readonly job: Ended;
  readonly tokenTheft: Ended;
  readonly freeInJob: Ended;
  readonly freeOutside: Ended;
  readonly leaks: readonly string[];
  readonly longJob: { readonly id: string; readonly pid: number; readonly count: number };
  readonly agentKilled: Replaced;
  readonly agentHung: Replaced;
  readonly schedulerKilled: Replaced;
  readonly schedulerHung: Replaced;
  readonly aliveAfterKill: boolean;
  readonly aliveAfterWatchdog: boolean;
  readonly aliveAfterScheduler: boolean;
  readonly journal: string;
  readonly waited: Ended;
  readonly logs: string;
  readonly stop: Ended;
  readonly aliveAfterStop: boolean;
  readonly secondWaited: Ended;
  readonly walled: Walled;
  readonly walledByRoot: Walled;
  readonly split: {
    readonly join: Ended;
    readonly start: Ended;
    readonly agent: Unit;
    readonly runner: Unit;
    readonly groups: Unit;
    readonly modes: string;
    readonly job: Ended;
    readonly result: Pick<Walled, 'limits' | 'isolation'>;
    readonly stranger: string;
    readonly agentKilled: Replaced;
    readonly runnerKilled: Replaced;
    readonly waited: Ended;
    readonly logs: string;
    readonly count: number;
  };
  readonly misconfigured: Unit;
}

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const logFolder = join(root, 'test', '.cache', 'log');
const problem = machineProblem();
/** Another run's machine may be waited for. */
const MACHINE_DEADLINE_MS = 600_000;
/** Making the root file system, when it is not cached, and the machine itself. */
const WHOLE_DEADLINE_MS = 900_000;

describe.skipIf(problem !== null)('under a real systemd', () => {
  let bed: Bed;
  let report: Report;

  beforeAll(async () => {
    bed = createBed();
    const folder = join(bed.folder, 'machine');
    layMachine(folder, here('machine-check.mjs'));
    cpSync(here('freedom.sh'), join(folder, 'opt/check/freedom.sh'));
    cpSync(join(root, 'systemd/flopd-node-root.conf'), join(folder, 'opt/check/flopd-node-root.conf'));
    mkdirSync(join(folder, 'home/open'), { recursive: true });
    chmodSync(join(folder, 'home/open'), 0o1777);
    const ended = await bootMachine(folder, MACHINE_DEADLINE_MS);
    report = ended.report as Report;
    // To be read when a test of this file fails.
    mkdirSync(logFolder, { recursive: true });
    writeFileSync(join(logFolder, 'machine.json'), JSON.stringify(report, null, 2));
    writeFileSync(join(logFolder, 'machine.log'), ended.log);
  }, WHOLE_DEADLINE_MS);
  afterAll(async () => {
    await bed.close();
  });

  test('the whole script ran', () => {
    expect(report.error).toBeUndefined();
  });

  test('users, folders and units are sound', () => {
    expect(report.sysusers).toMatchObject({ code: 0 });
    expect(report.tmpfiles).toMatchObject({ code: 0, stderr: '' });
    expect(report.verify).toMatchObject({ code: 0, stderr: '', stdout: '' });
    expect(report.stateModes.trim().split('\n')).toEqual([
      '700 flopd /var/lib/flopd',
      '700 flopd-scheduler /var/lib/flopd-scheduler',
    ]);
  });

  test('an agent that has not joined is skipped', () => {
    expect(report.notJoined).toMatchObject({ ActiveState: 'inactive', NRestarts: '0' });
  });

  test('both start, and systemd waits for their word', () => {
    expect(report.startScheduler).toMatchObject({ code: 0 });
    expect(report.scheduler).toMatchObject({ ActiveState: 'active', SubState: 'running', NRestarts: '0' });
    expect(report.join, report.join.stderr).toMatchObject({ code: 0 });
    expect(report.startAgent).toMatchObject({ code: 0 });
    expect(report.agent).toMatchObject({ ActiveState: 'active', SubState: 'running', NRestarts: '0' });
    expect(report.startAgent.seconds).toBeLessThan(30);
    expect(report.agentMetrics.stdout).toMatch(/^200 /);
  });

  test('agent and scheduler score at most 2.0 in systemd-analyze security, an agent in one piece at most 5.0', () => {
    const score = ({ stdout }: Ended): number =>
      Number(/Overall exposure level[^:]*: (?<score>[\d.]+)/.exec(stdout)?.groups?.score);
    expect(score(report.nodeSecurity)).toBeLessThanOrEqual(5.0);
    expect(score(report.agentSecurity)).toBeLessThanOrEqual(2.0);
    expect(score(report.schedulerSecurity)).toBeLessThanOrEqual(2.0);
  });

  test('a job runs as user flopd, with ordinary umask and OOM score, and cannot read the token', () => {
    expect(report.job).toMatchObject({ code: 3, stdout: 'flopd\n0022\n0\n' });
    expect(report.tokenTheft.code).not.toBe(0);
    expect(report.tokenTheft.stdout).toBe('');
  });

  test('the hardening of the unit leaks nothing into jobs', () => {
    const lines = (text: string): string[] => text.trim().split('\n');
    expect(lines(report.freeInJob.stdout)).toEqual(lines(report.freeOutside.stdout));
    for (const name of [
      'user-namespace',
      'mount-in-namespace',
      'bubblewrap',
      'just-in-time',
      'trace-itself',
      'netlink-socket',
      'personality',
      'setgid-folder',
      'write-tmp',
      'write-home',
      'write-shm',
    ])
      expect(lines(report.freeInJob.stdout)).toContain(`${name} yes`);
    for (const name of ['write-usr', 'write-etc', 'realtime'])
      expect(lines(report.freeInJob.stdout)).toContain(`${name} no`);
  });

  test('each directive that the unit leaves out would take something from jobs, as its comment says', () => {
    const [control, ...leaks] = report.leaks;
    expect(control).toBe('Nice=0: bubblewrap yes');
    expect(leaks.length).toBeGreaterThan(10);
    for (const leak of leaks) expect(leak).toMatch(/: [a-z-]+ no$/);
  });

  test('a mount over a part of /proc, as ProtectKernelLogs makes one, keeps user namespaces from a /proc of their own', () => {
    // Not inside the machine: nspawn leaves a whole /proc beside the one that it masks.
    const ownProc =
      'setpriv --reuid 65534 --regid 65534 --clear-groups unshare --user --map-root-user --mount --pid --fork --mount-proc true';
    const within = (script: string) =>
      spawnSync('unshare', ['--mount', 'sh', '-c', script], { encoding: 'utf8' }).status;
    expect(within(ownProc)).toBe(0);
    expect(within(`mount --bind /dev/null /proc/kmsg && ! ${ownProc}`)).toBe(0);
  });

  test('kill -9 of the agent: started anew, the job lives on', () => {
    expect(report.agentKilled.after).toMatchObject({ ActiveState: 'active' });
    expect(report.agentKilled.seconds).toBeLessThan(30);
    expect(report.aliveAfterKill).toBe(true);
  });

  test('an agent that hangs is ended by its watchdog, the job lives on', () => {
    expect(report.agentHung.after).toMatchObject({ ActiveState: 'active' });
    expect(report.agentHung.seconds).toBeGreaterThan(4);
    expect(report.agentHung.seconds).toBeLessThan(60);
    expect(report.journal).toMatch(/Watchdog timeout/);
    expect(report.aliveAfterWatchdog).toBe(true);
  });

  test('the scheduler is started anew after kill -9 and by its watchdog', () => {
    expect(report.schedulerKilled.after).toMatchObject({ ActiveState: 'active' });
    expect(report.schedulerHung.after).toMatchObject({ ActiveState: 'active' });
    expect(report.schedulerHung.seconds).toBeLessThan(60);
    expect(report.aliveAfterScheduler).toBe(true);
  });

  test('the job that lived through all of it has its whole output and its own exit code', () => {
    expect(report.waited.code, report.waited.stderr).toBe(5);
    expect(report.logs).toBe(Array.from({ length: report.longJob.count }, (_, i) => `line ${i}\n`).join(''));
  });

  test('systemctl stop leaves jobs alone, and the next agent collects their result', () => {
    expect(report.stop.code).toBe(0);
    expect(report.stop.seconds).toBeLessThan(30);
    expect(report.aliveAfterStop).toBe(true);
    expect(report.secondWaited.code).toBe(5);
  });

  test('with the walls on, a job of user flopd is in a sandbox', () => {
    const { job, isolation } = report.walled;
    expect(job, job.stderr).toMatchObject({ code: 0 });
    expect(job.stdout).toMatch(/^\d+\n\/home:\n\n\/tmp:\nmine\n$/);
    expect(isolation).toMatchObject({ sandbox: 'bubblewrap', processes: 'own process namespace' });
    expect(isolation.user).toContain('not root');
  });

  test('with the drop-in for root each job is a user of its own besides', () => {
    const { job, isolation } = report.walledByRoot;
    expect(job, job.stderr).toMatchObject({ code: 0 });
    expect(job.stdout).toMatch(/^2\d{9}\n\/home:\n\n\/tmp:\nmine\n$/);
    expect(isolation).toMatchObject({ sandbox: 'bubblewrap', user: `uid ${job.stdout.split('\n')[0]}` });
  });

  test('an agent beside its runner: both start, each with files of its own, and strangers are kept out', () => {
    const { join: joined, start, agent, runner, groups, modes, stranger } = report.split;
    expect(joined, joined.stderr).toMatchObject({ code: 0 });
    expect(start).toMatchObject({ code: 0 });
    for (const unit of [agent, runner, groups])
      expect(unit).toMatchObject({ ActiveState: 'active', SubState: 'running', NRestarts: '0' });
    expect(modes.trim().split('\n')).toEqual([
      '660 root flopd /run/flopd-runner/runner.sock',
      '700 flopd flopd /var/lib/flopd',
      '600 flopd flopd /var/lib/flopd/agent/key.pem',
      '600 root root /var/lib/flopd-runner/runner/node.json',
    ]);
    expect(stranger).toBe('EACCES\n');
  });

  test('its jobs are users of their own in a sandbox', () => {
    const { job, result } = report.split;
    expect(job, job.stderr).toMatchObject({ code: 0 });
    expect(job.stdout).toMatch(/^2\d{9}\n\/home:\n\n\/tmp:\nmine\n$/);
    expect(result.isolation).toMatchObject({
      sandbox: 'bubblewrap',
      user: `uid ${job.stdout.split('\n')[0]}`,
    });
  });

  test('its jobs live through kill -9 of the agent and of the runner', () => {
    const { agentKilled, runnerKilled, waited, logs, count } = report.split;
    expect(agentKilled.after).toMatchObject({ ActiveState: 'active' });
    expect(runnerKilled.after).toMatchObject({ ActiveState: 'active' });
    expect(waited.code, waited.stderr).toBe(5);
    expect(logs).toBe(Array.from({ length: count }, (_, i) => `line ${i}\n`).join(''));
  });

  test('a wrong configuration fails the unit instead of restarting it for ever', () => {
    expect(report.misconfigured).toMatchObject({ ActiveState: 'failed', ExecMainStatus: '2' });
  });
});
