// `flopd exec`, `attach` and `logs` against the built program: commands beside a running job, in its walls.
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bed, createBed, type Finished, isAlive, root, until } from './bed.ts';

const INPUT_BYTES = 10 * 1024 * 1024;
const flopd = join(root, 'dist', 'flopd.js');

describe('a command beside a running job', () => {
  let bed: Bed;
  let id: string;
  beforeAll(async () => {
    bed = createBed();
    await bed.start(['up', '--node-cpus', '64']);
    const script =
      'echo mine > file; echo out; echo err >&2; while [ ! -e stop ]; do sleep 0.1; done; echo last; exit 4';
    id = (await bed.run(['run', '--detach', '--', 'sh', '-c', script])).stdout.trim();
    await until(
      'the job to have said something',
      async () => (await bed.run(['logs', id])).stdout === 'out\n',
    );
  });
  afterAll(() => bed.close());

  const exec = (...args: string[]): Promise<Finished> => bed.run(['exec', ...args]);
  const environment = () => ({
    PATH: process.env.PATH ?? '',
    HOME: bed.folder,
    FLOPD_STATE_DIR: bed.stateDir,
  });
  /** What a line of shell prints in which `flopd` is the program. */
  async function shell(line: string): Promise<string> {
    const script = `flopd() { "${process.execPath}" "${flopd}" "$@"; }\n${line}`;
    return (await promisify(execFile)('sh', ['-c', script], { env: environment(), cwd: bed.folder })).stdout;
  }

  test("sees the job's workspace, user and environment, and ends with its own code", async () => {
    const seen = await exec(id, '--', 'sh', '-c', 'cat file; id -u; echo $FLOPD_JOB_ID; echo e >&2; exit 7');
    expect([seen.code, seen.stderr]).toEqual([7, 'e\n']);
    const [file, uid, jobId] = seen.stdout.split('\n');
    expect([file, jobId]).toEqual(['mine', id]);
    // A user of its own where the agent may give one; the agent's otherwise.
    if (process.getuid?.() !== 0) expect(Number(uid)).toBe(process.getuid?.());
    expect((await exec(id, 'true')).code).toBe(0);
    expect((await exec(id, '--', 'sh', '-c', 'kill -9 $$')).code).toBe(137);
    const missing = await exec(id, '--', 'no-such-program');
    expect([missing.code, missing.stderr]).toEqual([127, expect.stringContaining('exec failed (ENOENT)')]);
  });

  test('gets and gives ten megabytes byte for byte', async () => {
    const input = join(bed.folder, 'input');
    const bytes = randomBytes(INPUT_BYTES);
    writeFileSync(input, bytes);
    const digest = createHash('sha256').update(bytes).digest('hex');
    const printed = await shell(
      `flopd exec -i ${id} -- sh -c 'cat > copy; cat copy & cat copy >&2; wait' < ${input} 2> ${input}.err | sha256sum; sha256sum < ${input}.err`,
    );
    expect(printed).toBe(`${digest}  -\n${digest}  -\n`);
  });

  test('without -i has no input, and a first Ctrl-C goes to it', async () => {
    expect((await exec(id, '--', 'cat')).code).toBe(0);
    const running = bed.spawn([
      'exec',
      id,
      '--',
      'sh',
      '-c',
      'trap "echo told; exit 3" INT; echo up; while :; do sleep 0.05; done',
    ]);
    await until('it to run', () => running.stdout() === 'up\n');
    running.kill('SIGINT');
    const ended = await running.finished();
    expect([ended.code, ended.stdout]).toEqual([3, 'up\ntold\n']);
  });

  test.skipIf(!existsSync('/usr/bin/script'))(
    'with -it gets the terminal: its size, its kind, its keys',
    async () => {
      const inside = join(bed.folder, 'inside.sh');
      const command =
        'stty size; echo $TERM; read line; echo got $line; trap "exit 5" INT; echo ready; while :; do sleep 0.05; done';
      writeFileSync(
        inside,
        `stty rows 40 cols 90; TERM=vt220 exec "${process.execPath}" "${flopd}" exec -it ${id} -- sh -c '${command}'`,
      );
      // `script` gives the client a terminal, and types what it is given.
      const typist = spawn('script', ['-qec', `sh ${inside}`, '/dev/null'], {
        env: environment(),
        cwd: bed.folder,
      });
      let text = '';
      typist.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString().replaceAll('\r', '');
      });
      const ended = new Promise((resolve) => typist.once('close', resolve));
      await until('its terminal', () => text.includes('40 90\nvt220\n'));
      typist.stdin.write('hello\n');
      await until('what was typed', () => text.includes('got hello\nready\n'));
      typist.stdin.write('\u0003');
      expect(await ended).toBe(5);
    },
  );

  test('is killed when its client goes', async () => {
    const running = bed.spawn(['exec', id, '--', 'sh', '-c', 'echo up; exec sleep 4242']);
    await until('it to run', () => running.stdout() === 'up\n');
    const count = async (): Promise<string> =>
      (
        await exec(id, '--', 'sh', '-c', 'grep -lz "^4242" /proc/[0-9]*/cmdline 2>/dev/null | wc -l')
      ).stdout.trim();
    await until('it to be seen', async () => (await count()) === '1');
    running.kill('SIGKILL');
    await until('it to be gone', async () => (await count()) === '0');
  });

  test('is refused for a job that has ended; attach saw the end from where it came in', async () => {
    const attached = bed.spawn(['attach', id]);
    const left = bed.spawn(['attach', id]);
    await until('both to be there', () => [attached, left].every((one) => one.stderr().includes('attached')));
    left.kill('SIGINT');
    const { code, stderr } = await left.finished();
    expect([code, stderr]).toEqual([130, expect.stringContaining('which goes on')]);
    await exec(id, '--', 'touch', 'stop');
    const ended = await attached.finished();
    expect([ended.code, ended.stdout]).toEqual([4, 'last\n']);
    const refused = await exec(id, '--', 'true');
    expect([refused.code, refused.stderr]).toEqual([
      125,
      expect.stringMatching(/does not run: it is FAILED/),
    ]);
    const logs = await bed.run(['logs', '--tail', '1', '--stdout', id]);
    expect(logs.stdout).toBe('last\n');
    expect((await bed.run(['logs', '--since', '1d', id])).stdout).toBe('out\nlast\n');
    expect((await bed.run(['logs', '--since', '2100-01-01', id])).stdout).toBe('');
  });
});

test('a lost link ends a command beside a job and says so; the job goes on', async () => {
  const bed = createBed();
  try {
    const scheduler = await bed.start(['scheduler']);
    const agentState = join(bed.folder, 'agent-state');
    const environment = { FLOPD_STATE_DIR: agentState };
    const joinToken = join(bed.stateDir, 'scheduler', 'join-token');
    await bed.run(['join', scheduler.endpoint.url, '--token-file', joinToken], { environment });
    const agent = await bed.start(['agent'], { environment });
    const client = {
      environment: {
        FLOPD_SCHEDULER: scheduler.endpoint.url,
        FLOPD_TOKEN_FILE: join(bed.stateDir, 'scheduler', 'token'),
      },
    };
    const id = (
      await bed.run(['run', '--detach', '--', 'sh', '-c', 'echo up; sleep 1000'], client)
    ).stdout.trim();
    await until('the job to run', async () => (await bed.run(['logs', id], client)).stdout === 'up\n');
    // Of this run alone, as others may be under way on this machine.
    const argument = `4243.${process.pid}`;
    const running = bed.spawn(['exec', id, '--', 'sh', '-c', `echo pid $$; sleep ${argument}`], client);
    await until('the command to run', () => running.stdout().startsWith('pid'));
    const sleeper = await until('its process', () => processNamed(argument));
    agent.kill('SIGKILL');
    const ended = await running.finished();
    expect([ended.code, ended.stderr]).toEqual([
      125,
      expect.stringContaining('the link to the node was lost'),
    ]);
    await until('its process to be gone', () => !isAlive(sleeper));
    await bed.start(['agent'], { environment });
    await until(
      'the node to be back',
      async () => (await bed.run(['exec', id, '--', 'true'], client)).code === 0,
    );
    expect((await bed.run(['job', id], client)).stdout).toMatch(/^RUNNING/);
  } finally {
    await bed.close();
  }
});

/** The process of this machine whose last argument is this one. */
function processNamed(argument: string): number | null {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8') === `sleep\0${argument}\0`) return Number(name);
    } catch {
      // It has ended meanwhile.
    }
  }
  return null;
}
